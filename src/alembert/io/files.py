"""Writes files atomically, and locks folders."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from alembert.io.errors import UserError

FIX = "free some space or fix the folder: the same command goes on where it stopped"


def cache(name: str) -> Path:
    """The folder of a cache: $XDG_CACHE_HOME/alembert/NAME."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return user / "alembert" / name


@contextmanager
def naming(path: Path, fix: str = FIX) -> Iterator[None]:
    """Turns an error of the disk, such as a full one, into a UserError that names the path."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        message = error.strerror if isinstance(error, OSError) else None
        reason = " ".join((message or str(error)).split())
        raise UserError(f"{path}: cannot be written ({reason}): {fix}") from error


def fsync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside a file or folder, which replaces `path` at the block's end.

    When the block fails, the temporary is removed and `path` is unchanged. A folder replaces a
    folder only, and a file a file.
    """
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        try:
            yield partial
            if path.is_dir() and not partial.is_dir():
                raise UserError(f"{path}: is a folder: name a file in it")
            for each in (*partial.rglob("*"), partial):
                fsync(each)  # content must reach the disk before the name
            if path.is_dir():
                shutil.rmtree(path)
            partial.replace(path)
            fsync(path.parent)
        finally:
            _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """The folder, made if need be and held by this process alone."""
    made = [place for place in (out, *out.parents) if not place.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}): choose another --out"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{out}: another process is running in this folder") from error
        try:
            yield
        finally:
            if not (out / "recipe.yaml").is_file():  # refused before anything was begun
                _leave(out, made)


def _leave(out: Path, made: list[Path]) -> None:
    """The folder as it was found, and what was made of it and its parents gone."""
    (out / ".lock").unlink(missing_ok=True)
    if out in made:
        (out / "environment.json").unlink(missing_ok=True)
    for place in made:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}): delete the folder, or choose another --out"
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Writes a text file atomically."""
    with atomic(path) as partial:
        partial.write_text(content, encoding="utf-8")
