"""Locks a path for one of several processes; the lock of a process that dies is released."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import FIX, naming

log = logging.getLogger(__name__)


@contextmanager
def waited_for(path: Path, waiting: str = "", fix: str = FIX) -> Iterator[None]:
    """Holds the lock file at `path`; while another process holds it, logs `waiting` and waits.

    Raises UserError, which ends with `fix`, when the file cannot be written.
    """
    lock = FileLock(path)
    with naming(path, fix):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting:
                log.warning(waiting)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes and locks the folder `out` for this process.

    Raises UserError when another process holds it or it cannot be written. If the folder has no
    recipe.yaml at the end, the run was refused: folders made here are removed if empty.
    """
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    lock = FileLock(out / ".lock")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{out}: another process is running in this folder") from error
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}): choose another --out"
        ) from error
    try:
        yield
    finally:
        if not (out / "recipe.yaml").is_file():
            _leave(out, created)
        lock.release()


def _leave(out: Path, created: list[Path]) -> None:
    """Removes the lock, and those of the folder and its parents that were made and are empty."""
    (out / ".lock").unlink(missing_ok=True)
    if out in created:
        for name in ("environment.json", checksums.FILE):
            (out / name).unlink(missing_ok=True)
    for folder in created:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
