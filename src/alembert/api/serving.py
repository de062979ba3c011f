"""Answers over HTTP, until a signal arrives."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from alembert.api.given import plain
from alembert.io.environment import missing
from alembert.io.errors import UserError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@plain
def serve(
    models: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    backend: str | None = None,
    threads: int = 0,
    batch_tokens: int = 512,
    max_requests: int = 512,
    max_wait: float = 2.0,
    max_inputs: int = 32,
    max_body: int = 2_000_000,
    engine: str = "local",
    replicas: str = "1",
    api_key: str | None = None,
    api_keys: Path | str | None = None,
    rate: int | None = None,
    open_metrics: bool = True,
    grace: float = 8.0,
    cors: Sequence[str] = (),
) -> None:
    """Serve exported models, each FOLDER or NAME=FOLDER, over HTTP until a signal arrives.

    threads=0 uses one for each core. engine is "local", or "ray" with replicas such as "1-8" on
    several machines. api_keys is a file of NAME KEY, or NAME KEY RATE, lines; rate is how many
    requests a minute each key has. Raises UserError for a model or a setting that cannot be served.
    """
    try:
        from alembert.serving import server
        from alembert.serving.keys import Keys
        from alembert.serving.served_model import load_model
        from alembert.serving.service import Limits
    except ModuleNotFoundError as error:
        raise UserError(missing(error.name, "serve")) from error
    limits = Limits(
        threads=threads or os.cpu_count() or 1,
        tokens=batch_tokens,
        requests=max_requests,
        inputs=max_inputs,
        wait=max_wait,
        body=max_body,
        grace=grace,
    )
    named = [(name, folder, backend) for name, folder in _named(models).items()]
    for _, folder, _ in named:
        _check(folder, backend)
    if rate is not None and api_key is None and api_keys is None:
        raise UserError(f"--rate {rate}: is for each key: give --api-key or --api-keys")
    protected = api_key is not None or api_keys is not None
    keys = partial(Keys, api_key, None if api_keys is None else Path(api_keys), rate)
    made = keys() if protected else None
    if engine == "ray":
        from alembert.serving import ray as ray_serve

        count = _replicas(replicas)
        each = keys if protected else lambda: None
        ray_serve.serve(named, limits, host, port, count, each, cors, open_metrics)
    elif engine == "local":
        openers = [partial(load_model, *each) for each in named]
        server.serve(openers, limits, host, port, made, cors, open_metrics)
    else:
        raise UserError(f"--engine {engine}: choose local or ray")


def check_port(port: int) -> None:
    """Raise UserError before hours are spent on a student that could not be served."""
    try:
        from alembert.serving.server import bound
    except ModuleNotFoundError as error:
        raise UserError(missing(error.name, "serve")) from error
    if not 0 <= port < 65536:
        raise UserError(f"--serve {port}: a port, 0 to 65535; 0 takes a free one")
    bound("127.0.0.1", port).close()


def name_for(folder: Path) -> str:
    """Return a name that a URL may have for the model in this folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("._-") or "student"


def _replicas(text: str) -> tuple[int, int]:
    """Return (2, 2) for "2", and (1, 8) for "1-8"."""
    fewest, _, most = text.partition("-")
    if not fewest.isdecimal() or not (most or fewest).isdecimal():
        raise UserError(f"--replicas {text}: write a number, or two as 1-8")
    count = int(fewest), int(most or fewest)
    if not 1 <= count[0] <= count[1]:
        raise UserError(f"--replicas {text}: at least 1, and the smaller number first")
    return count


def _named(models: Sequence[str]) -> dict[str, Path]:
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
