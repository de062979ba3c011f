"""What is written is put in place at once, whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from alembert.io.errors import UserError

FIX = "free some space or mend the folder: the same command goes on where it stopped"
CACHE_FIX = "free some space, or name another folder in XDG_CACHE_HOME"


def cache(name: str) -> Path:
    """The folder of things that can be made again: $XDG_CACHE_HOME/alembert/NAME."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return user / "alembert" / name


@contextmanager
def naming(path: Path, fix: str = FIX) -> Iterator[None]:
    """A disk that is full or closed becomes a UserError that names the path."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        reason = " ".join((said or str(error)).split())
        raise UserError(f"{path}: cannot be written ({reason}): {fix}") from error


def fsync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def atomic(path: Path, fix: str = FIX) -> Iterator[Path]:
    """A temporary name beside a file or folder, that gets its name when all is written.

    When the block fails, the temporary is gone and what was at `path` before is still there. A
    folder takes the place of a folder only, a file that of a file. fix: ends the UserError of a
    disk that is full or closed.
    """
    partial = path.with_name(path.name + ".partial")
    with naming(path, fix):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        try:
            yield partial
            if path.is_dir() and not partial.is_dir():
                raise UserError(f"{path}: is a folder: name a file in it")
            for each in (*partial.rglob("*"), partial):
                fsync(each)  # on disk before its name is, should the power fail
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


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}): delete the folder, or choose another --out"
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Put a JSON file in place at once."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Put a text file in place at once."""
    with atomic(path) as partial:
        partial.write_text(content, encoding="utf-8")
