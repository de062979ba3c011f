"""The verb that answers over HTTP. Nothing heavy is imported before it is called."""

import logging
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.cli.options import option
from alembert.io.errors import UserError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


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
        int, _at_least(1, "--max-requests", "requests at once, then 429")
    ] = 512,
    max_wait: Annotated[float, _at_least(0.001, "--max-wait", "seconds in queue, then 429")] = 2.0,
    max_inputs: Annotated[int, _at_least(1, "--max-inputs", "most texts of a request")] = 32,
    max_body: Annotated[int, _at_least(1, "--max-body", "most bytes of a request")] = 2_000_000,
    engine: Annotated[str, option("--engine", "local, or ray for several machines")] = "local",
    replicas: Annotated[str, option("--replicas", "replicas in ray: 2, or 1-8 as needed")] = "1",
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="ALEMBERT_API_KEY", help="key that requests have to carry"
        ),
    ] = None,
    cors: Annotated[
        list[str] | None, option("--cors", "origin whose pages may send requests")
    ] = None,
    access_log: Annotated[
        bool,
        typer.Option("--access-log/--no-access-log", help="log one line of JSON for each request"),
    ] = True,
) -> None:
    """Serve models over HTTP, with a playground at /, until stopped."""
    try:
        from alembert.serving import server
        from alembert.serving.served_model import load_model
        from alembert.serving.service import Limits
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'alembert[serve]'") from error
    limits = Limits(
        threads=threads or os.cpu_count() or 1,
        tokens=batch_tokens,
        requests=max_requests,
        inputs=max_inputs,
        wait=max_wait,
        body=max_body,
    )
    named = [(name, folder, backend) for name, folder in _named(models).items()]
    for _, folder, _ in named:
        _check(folder, backend)
    if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable()):
        raise UserError("--api-key: give printable ASCII")
    _log_requests(access_log)
    if engine == "ray":
        from alembert.serving import ray as ray_serve

        count = _replicas(replicas)
        ray_serve.serve(named, limits, host, port, count, api_key, cors or ())
    elif engine == "local":
        openers = [partial(load_model, *each) for each in named]
        server.serve(openers, limits, host, port, api_key, cors or ())
    else:
        raise UserError(f"--engine {engine}: choose local or ray")


def _replicas(text: str) -> tuple[int, int]:
    """Return (2, 2) for "2", and (1, 8) for "1-8"."""
    fewest, _, most = text.partition("-")
    if not fewest.isdecimal() or not (most or fewest).isdecimal():
        raise UserError(f"--replicas {text}: write a number, or two as 1-8")
    count = int(fewest), int(most or fewest)
    if not 1 <= count[0] <= count[1]:
        raise UserError(f"--replicas {text}: at least 1, and the smaller number first")
    return count


def _named(models: list[str]) -> dict[str, Path]:
    """Return folders by name, for NAME=FOLDER or FOLDER; a run's student has the run's name."""
    named: dict[str, Path] = {}
    for model in models:
        name, equals, path = model.partition("=")
        if not equals or not re.fullmatch(NAME, name):
            path = model
            folder = Path(model).resolve()
            in_run = folder.name == "student" and not (folder / "student").is_dir()
            name = folder.parent.name if in_run else folder.name
        if not re.fullmatch(NAME, name):
            raise UserError(f"{model}: no name for a URL: write NAME={model}")
        if name in named:
            raise UserError(f"{model}: a second model {name}: write NAME={model}")
        named[name] = Path(path)
    return named


def _check(folder: Path, backend: str | None) -> None:
    """Raise UserError at once where a model is not exported."""
    from alembert.inference import manifest

    exported = manifest.exported_folder(folder)
    manifest.read_manifest(exported).variant(backend, exported)


def _log_requests(wanted: bool) -> None:
    """Prints a line of JSON a request on stdout, or none."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("alembert.access")
    log.addHandler(handler)
    log.setLevel(logging.INFO if wanted else logging.WARNING)
    log.propagate = False
