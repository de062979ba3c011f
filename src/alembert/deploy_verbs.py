"""The verbs that put a model to work on CPU. Nothing heavy is imported before one is called."""

import os
from pathlib import Path
from typing import Annotated

import typer

from alembert.errors import UserError
from alembert.options import Pair, Text, option


def bench(
    models: Annotated[list[str], typer.Argument(help="saved models or run folders")],
    backends: Annotated[
        str | None, option("--backends", text="torch,onnx,int8 ...; default: all there are")
    ] = None,
    threads: Annotated[str | None, option("--threads", text="1,2 ...; default: 1 and all")] = None,
    batch: Annotated[int, option("--batch", text="texts a batch")] = 1,
    length: Annotated[int, option("--length", text="tokens a text; with --data, at most")] = 128,
    data: Annotated[str | None, option("--data", text="real texts; default: made-up ones")] = None,
    text: Text = None,
    text_pair: Pair = None,
    baseline: Annotated[
        list[str] | None, option("--baseline", text="MODEL:BACKEND to compare with")
    ] = None,
    seconds: Annotated[float, option("--seconds", text="that a row is timed, at most")] = 3.0,
    json_: Annotated[Path | None, option("--json", text="file for the rows")] = None,
    chart: Annotated[Path | None, option("--chart", text="file for bars: .svg or .png")] = None,
) -> None:
    """Compare size, latency, throughput and memory of models and backends, side by side."""
    from rich.console import Console

    from alembert import bench as benchmark
    from alembert.bench import show

    if chart is not None:
        show.check_chart(chart)
    texts = benchmark.texts_of(data, text, text_pair) if data is not None else []
    rows = benchmark.bench(
        models, backends.split(",") if backends else [], _threads(threads), batch, length, texts,
        seconds, baseline or [], lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    Console().print(*show.tables(rows), show.legend(rows), sep="\n", highlight=False)
    if json_ is not None:
        settings = {"batch": batch, "length": length, "data": data, "seconds": seconds}
        show.write(rows, settings, json_)
    if chart is not None:
        show.chart(rows, chart)
    made = ", ".join(f"{path}: made" for path in (json_, chart) if path is not None)
    typer.echo(made or f"timed {len(rows)} rows; --json FILE and --chart FILE keep them")


def _threads(given: str | None) -> list[int]:
    """ "1,2" -> [1, 2]; nothing -> one and all."""
    if given is None:
        return [1, os.cpu_count() or 1]
    try:
        return [int(each) for each in given.split(",")]
    except ValueError as error:
        raise UserError(f"--threads {given}: give numbers, such as 1,2") from error
