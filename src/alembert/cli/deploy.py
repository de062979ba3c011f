"""The verbs that put a model to work on CPU. Nothing heavy is imported before one is called."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.cli import options as o
from alembert.cli.options import option
from alembert.io.errors import UserError


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders; several are compared")],
    out: Annotated[
        Path | None, option("--out", "output file; default: report.html in the run, or here")
    ] = None,
) -> None:
    """Write an HTML report of one run or several, and model cards."""
    from alembert.report import model_card
    from alembert.report.page import make

    made = make(runs, out)
    paths = dict.fromkeys(runs)  # "run" and "run/" are one path
    cards = [str(card) for run in paths if (card := model_card.write(run)) is not None]
    typer.echo(": made, ".join([str(made), *cards]) + ": made")


def bench(
    models: Annotated[list[str], typer.Argument(help="saved models or run folders")],
    backends: Annotated[
        str | None, option("--backends", "backends to time: torch,onnx ...; default: all")
    ] = None,
    threads: Annotated[
        str | None, option("--threads", "thread counts to time: 1,2 ...; default: 1 and all")
    ] = None,
    batch: Annotated[int, option("--batch", "texts in a batch")] = 1,
    length: Annotated[int, option("--length", "tokens of a text; with --data, the most")] = 128,
    data: Annotated[str | None, option("--data", "texts to time; default: random ones")] = None,
    text: o.Text = None,
    text_pair: o.Pair = None,
    baseline: Annotated[
        list[str] | None, option("--baseline", "MODEL:BACKEND to compare with")
    ] = None,
    seconds: Annotated[float, option("--seconds", "most seconds of timing a row")] = 3.0,
    json_: Annotated[Path | None, option("--json", "output file of the rows (JSON)")] = None,
    chart: Annotated[Path | None, option("--chart", "bar chart to write: .svg or .png")] = None,
) -> None:
    """Compare size, speed and memory of models and backends."""
    from rich.console import Console

    from alembert.bench import bench as benchmark
    from alembert.bench import show

    if chart is not None:
        show.check_chart(chart)
    texts = benchmark.texts_of(data, text, text_pair) if data is not None else []
    rows = benchmark.bench(
        models, backends.split(",") if backends else [], _threads(threads), batch, length, texts,
        seconds, baseline or [],
    )  # fmt: skip
    Console(markup=False).print(*show.tables(rows), show.legend(rows), sep="\n", highlight=False)
    if json_ is not None:
        settings = {"batch": batch, "length": length, "data": data, "seconds": seconds}
        show.write(rows, settings, json_)
    if chart is not None:
        show.chart(rows, chart)
    made = ", ".join(f"{path}: made" for path in (json_, chart) if path is not None)
    typer.echo(made or f"timed {len(rows)} rows; --json FILE and --chart FILE keep them")


def predict(
    model: Annotated[str, typer.Argument(help="a saved model or a run folder")],
    texts: Annotated[
        list[str], typer.Argument(help="texts; - reads standard input, a text a line")
    ],
    pair: Annotated[
        bool, option("--pair", "read pairs: two TEXTs each, or lines with one tab")
    ] = False,
    backend: Annotated[
        str | None, option("--backend", "torch, onnx, int8 ...; default: the export's choice")
    ] = None,
    threads: Annotated[int, option("--threads", "threads that the model runs on")] = 1,
    long: Annotated[str, option("--long", "how long texts are read: cut or window")] = "cut",
    max_length: Annotated[
        int | None, option("--max-length", "most tokens of a text; default: the model's most")
    ] = None,
    top: Annotated[int, option("--top", "predictions for each mask")] = 5,
    json_: Annotated[bool, option("--json", "print JSON, one line for each text")] = False,
) -> None:
    """Predict labels, scores, tags, masked words or vectors of texts."""
    from alembert.cli import show as lines
    from alembert.inference import manifest
    from alembert.inference.session import Session

    if backend == "torch" or not (
        backend or (manifest.exported_folder(model) / manifest.FILE).is_file()
    ):
        from alembert.export.torch_session import torch_session

        if backend is None:
            typer.echo(f"{model} is not exported: torch runs it, which starts slowly", err=True)
        session = torch_session(model, threads, long, max_length)
    else:
        session = Session(model, backend, threads, long, max_length)
    methods: dict[str, Any] = {
        "encoder": session.embed,
        "tokens": session.tag,
        "words": lambda texts: session.fill_mask(texts, top),
    }
    predict_texts = methods.get(session.kind, session.predict)
    show = lines.json_line if json_ else lines.line
    done = 0
    for batch in _inputs(texts, pair):
        try:
            answers = predict_texts(batch)
        except UserError as error:  # its number counts within the batch
            match = re.fullmatch(r"text (\d+)( .*)", str(error), re.S)
            raise UserError(f"text {done + int(match[1])}{match[2]}") if match else error from error
        for text, answer in zip(batch, answers, strict=True):
            typer.echo(show(text, answer))
        done += len(batch)


def _inputs(texts: list[str], pair: bool) -> Iterator[list[Any]]:
    """Yield batches of texts or pairs, of standard input one at a time on a terminal."""
    if texts != ["-"]:
        if pair and len(texts) % 2:
            raise UserError(f"--pair: {len(texts)} texts are no pairs; give two for each")
        yield list(zip(texts[::2], texts[1::2], strict=True)) if pair else texts
        return
    rows = _lines(sys.stdin.buffer, pair)
    while batch := list(islice(rows, 1 if sys.stdin.isatty() else 1000)):
        yield batch


def _lines(source: Iterable[bytes], pair: bool) -> Iterator[Any]:
    for number, line in enumerate(source, start=1):
        where = f"standard input, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: byte {error.start + 1} is no UTF-8: convert it") from error
        parts = text.split("\t") if pair else [text]
        if pair and len(parts) != 2:
            raise UserError(f"{where}: --pair needs two texts with one tab between them")
        if not all(part.strip() for part in parts):
            raise UserError(f"{where}: is empty; fill it or drop it")
        yield tuple(parts) if pair else text


def _threads(counts: str | None) -> list[int]:
    """Return [1, 2] for "1,2", and one and all cores for None."""
    if counts is None:
        return [1, os.cpu_count() or 1]
    try:
        return [int(each) for each in counts.split(",")]
    except ValueError as error:
        raise UserError(f"--threads {counts}: give numbers, such as 1,2") from error


def export(
    model: Annotated[str, typer.Argument(help="a saved model or a run folder")],
    int8: Annotated[bool, option("--int8", "also export int8 for onnxruntime")] = False,
    openvino: Annotated[bool, option("--openvino", "also export OpenVINO's variants")] = False,
    attentions: Annotated[
        bool, option("--attentions", "also export a graph that returns attentions")
    ] = False,
    auto: Annotated[bool, option("--auto", "export all variants and choose one by --data")] = False,
    data: Annotated[str | None, option("--data", "real texts, but not the test texts")] = None,
    keep: Annotated[
        float | None, option("--keep", "least share of the metric for --auto; default 0.99")
    ] = None,
    max_length: Annotated[int, option("--max-length", "most tokens of a text of --data")] = 128,
    text: o.Text = None,
    text_pair: o.Pair = None,
    label: o.Label = None,
) -> None:
    """Export a model to ONNX, int8 or OpenVINO, to run without torch."""
    from alembert.data.splits import Files
    from alembert.models.loading import model_path

    if not auto and (keep is not None or label is not None):
        name = "--label" if keep is None else "--keep"
        raise UserError(f"{name} is for choosing among variants: it needs --auto")
    files = Files(data, text=text, text_pair=text_pair, label=label) if data else None
    if auto:
        if files is None:
            raise UserError("--auto needs --data F: the texts that the variants are measured on")
        from alembert.export.choose import choose

        facts = choose(model, files, 0.99 if keep is None else keep, attentions, max_length)
    else:
        from alembert.export.export import backends_of
        from alembert.export.export import export as export_to

        backends = backends_of(int8, openvino, attentions, files is not None)
        facts = export_to(model, backends, files, max_length)
    made = ", ".join(variant.backend for variant in facts.variants)
    typer.echo(
        f"{model_path(model)}: exported, {made}; {facts.chosen} is used unless another is named"
    )
