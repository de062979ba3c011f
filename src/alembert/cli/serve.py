"""The verb that answers over HTTP. Nothing heavy is imported before it is called."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.api import serve as answer
from alembert.cli.lines import Requests
from alembert.cli.news import News
from alembert.cli.options import option


def _at_least(least: float, name: str, text: str) -> Any:
    return typer.Option(name, help=text, min=least)


def serve(
    models: Annotated[list[str], typer.Argument(help="exported: FOLDER or NAME=FOLDER each")],
    host: Annotated[str, option("--host", "address to listen at")] = "127.0.0.1",
    port: Annotated[int, _at_least(0, "--port", "port to listen at; 0 takes a free one")] = 8000,
    backend: Annotated[str | None, option("--backend", "backend: onnx, int8, openvino ...")] = None,
    threads: Annotated[int, _at_least(0, "--threads", "compute threads; 0: one for each core")] = 0,
    batch_tokens: Annotated[int, _at_least(1, "--batch-tokens", "most tokens of a batch")] = 512,
    max_requests: Annotated[
        int, _at_least(1, "--max-requests", "most requests at once; more are answered 429")
    ] = 512,
    max_wait: Annotated[
        float, _at_least(0.001, "--max-wait", "most seconds in the queue; later it is answered 429")
    ] = 2.0,
    max_inputs: Annotated[int, _at_least(1, "--max-inputs", "most texts of a request")] = 32,
    max_body: Annotated[int, _at_least(1, "--max-body", "most bytes of a request")] = 2_000_000,
    engine: Annotated[
        str, option("--engine", "what runs the models: local, or ray for several machines")
    ] = "local",
    replicas: Annotated[str, option("--replicas", "replicas in ray: 2, or 1-8 as needed")] = "1",
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="ALEMBERT_API_KEY", help="key that requests have to carry"
        ),
    ] = None,
    api_keys: Annotated[
        Path | None, option("--api-keys", "file of lines NAME KEY [RATE], read when it changes")
    ] = None,
    rate: Annotated[
        int | None,
        _at_least(1, "--rate", "most requests a minute of each key; more are answered 429"),
    ] = None,
    open_metrics: Annotated[
        bool,
        typer.Option(
            "--open-metrics/--closed-metrics",
            help="answer /metrics without a key, or only with one",
        ),
    ] = True,
    grace: Annotated[
        float, _at_least(0.1, "--grace", "most seconds between being told to stop and the end")
    ] = 8.0,
    cors: Annotated[
        list[str] | None, option("--cors", "origin whose pages may send requests")
    ] = None,
    access_log: Annotated[
        bool,
        typer.Option("--access-log/--no-access-log", help="log one line of JSON for each request"),
    ] = True,
) -> None:
    """Serve models over HTTP, with a playground at /, until stopped."""
    with _logged(access_log):
        answer(
            models, host=host, port=port, backend=backend, threads=threads,
            batch_tokens=batch_tokens, max_requests=max_requests, max_wait=max_wait,
            max_inputs=max_inputs, max_body=max_body, engine=engine, replicas=replicas,
            api_key=api_key, api_keys=api_keys, rate=rate, open_metrics=open_metrics, grace=grace,
            cors=cors or (),
        )  # fmt: skip


@contextmanager
def _logged(wanted: bool) -> Iterator[None]:
    """Prints a line of JSON a request on stdout meanwhile, or none; no line stops the server."""
    for each in logging.getLogger("alembert").handlers:
        if isinstance(each, News):
            each.serves = True
    handler = Requests(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("alembert.access")
    log.addHandler(handler)
    log.setLevel(logging.INFO if wanted else logging.WARNING)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
