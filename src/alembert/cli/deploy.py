"""The verbs that put a model to work on CPU. Nothing heavy is imported before one is called."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.api import bench as run_bench
from alembert.api import clean as run_clean
from alembert.api import export as run_export
from alembert.api import open_session, predict_file, predictor
from alembert.api import report as run_report
from alembert.cli import options as o
from alembert.cli.options import option
from alembert.io.errors import UserError
from alembert.io.files import model_folder

LONGEST = 255  # characters of a text that may be the name of a file


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders; several are compared")],
    out: Annotated[
        Path | None, option("--out", "output file; default: report.html in the run, or here")
    ] = None,
) -> None:
    """Write an HTML report of one run or several, and model cards."""
    typer.echo(": made, ".join(map(str, run_report(runs, out))) + ": made")


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

    from alembert.bench import show

    rows = run_bench(
        models, backends=backends.split(",") if backends else [], threads=_threads(threads),
        batch=batch, length=length, data=data, text=text, text_pair=text_pair,
        baseline=baseline or [], seconds=seconds, json=json_, chart=chart,
    )  # fmt: skip
    Console(markup=False).print(*show.tables(rows), show.legend(rows), sep="\n", highlight=False)
    made = ", ".join(f"{path}: made" for path in (json_, chart) if path is not None)
    typer.echo(made or f"timed {len(rows)} rows; --json FILE and --chart FILE keep them")


def predict(
    model: Annotated[str, typer.Argument(help="a saved model or a run folder")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="texts; - reads standard input, a text a line")
    ] = None,
    data: Annotated[
        str | None, option("--data", "texts to predict: file, folder or hub id; it needs --out")
    ] = None,
    out: Annotated[
        Path | None, option("--out", "file of the rows and answers: .csv .jsonl .parquet")
    ] = None,
    text: o.Text = None,
    text_pair: o.Pair = None,
    scores: Annotated[
        bool, option("--scores", "with --out: a column with the score of each label")
    ] = False,
    pair: Annotated[
        bool, option("--pair", "texts are pairs: two TEXTs each, or lines with one tab")
    ] = False,
    backend: Annotated[
        str | None,
        option("--backend", "backend: torch, onnx, int8 ...; default: the export's choice"),
    ] = None,
    threads: Annotated[int, option("--threads", "threads that the model runs on")] = 1,
    long: Annotated[
        str | None,
        option("--long", "how long texts are read: cut or window; default: as they were learnt"),
    ] = None,
    max_length: Annotated[
        int | None, option("--max-length", "most tokens of a text; default: the model's most")
    ] = None,
    top: Annotated[int, option("--top", "number of predictions for each mask")] = 5,
    json_: Annotated[bool, option("--json", "print JSON, one line for each text")] = False,
) -> None:
    """Predict labels, scores, tags, masked words or vectors of texts."""
    from alembert.cli import show as lines
    from alembert.io.environment import recorded_files

    if data is not None and out is not None and not texts and not pair and not json_:
        answered = predict_file(
            model, data, out, text=text, text_pair=text_pair, scores=scores, top=top,
            backend=backend, threads=threads, long=long, max_length=max_length,
        )  # fmt: skip
        empty = f", {answered.empty:,} without a text and without an answer" * bool(answered.empty)
        typer.echo(f"{out}: made, {answered.rows:,} rows{empty}")
        return
    of_file = {"--text": text, "--text-pair": text_pair, "--scores": scores}
    _check_texts(texts, data, out, [name for name, value in of_file.items() if value])
    assert texts
    if not pair and "text_pair" in recorded_files(model):
        typer.echo(f"{model} was trained on pairs: texts are read as with --pair", err=True)
        pair = True
    session = open_session(model, backend, threads, long, max_length)
    predict_texts = predictor(session, top)
    show = lines.json_line if json_ else lines.line
    done = 0
    for batch in _inputs(texts, pair):
        for text, answer in zip(batch, predict_texts(batch, first=done), strict=True):
            typer.echo(show(text, answer))
        done += len(batch)


def _check_texts(
    texts: list[str] | None, data: str | None, out: Path | None, of_file: list[str]
) -> None:
    """Raise UserError unless texts alone are given; warn of one that is the name of a file."""
    if (data is None) != (out is None):
        raise UserError("--data and --out belong together: give both, or texts and neither")
    if data is not None:
        raise UserError(
            f"--data {data}: is answered in --out: leave out the texts, --pair (--text-pair names "
            "the second column) and --json (an --out that ends in .jsonl)"
        )
    if of_file:
        raise UserError(f"{of_file[0]}: is about the columns of --data: leave it out")
    if not texts:
        raise UserError("nothing to predict: give texts, - for standard input, or --data and --out")
    for text in texts:
        if text != "-" and len(text) < LONGEST and Path(text).is_file():
            typer.echo(
                f"{text}: is the name of a file, and is predicted as a text: for the texts in it "
                f"give --data {text} --out answers.csv",
                err=True,
            )


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
    """Return [1, 2] for "1,2", and none for None."""
    if counts is None:
        return []
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
    facts = run_export(
        model, int8=int8, openvino=openvino, attentions=attentions, auto=auto, data=data,
        keep=keep, max_length=max_length, text=text, text_pair=text_pair, label=label,
    )  # fmt: skip
    made = ", ".join(variant.backend for variant in facts.variants)
    typer.echo(
        f"{model_folder(model)}: exported, {made}; {facts.chosen} is used unless another is named"
    )


def clean(
    run: Annotated[Path, typer.Argument(help="a run folder, or a folder with several")],
) -> None:
    """Remove what only resuming needs from finished runs; results stay."""
    cleaned = run_clean(run)
    runs = "1 finished run" if cleaned.runs == 1 else f"{cleaned.runs:,} finished runs"
    typer.echo(f"{run}: {cleaned.size / 1e6:,.1f} MB of {runs} are removed")
