"""Of several processes one at a time makes what lies at a path; a process that dies lets go."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from alembert.io.errors import UserError
from alembert.io.files import FIX, naming

log = logging.getLogger(__name__)


@contextmanager
def waited_for(path: Path, waiting: str = "", fix: str = FIX) -> Iterator[None]:
    """Hold the lock file at `path`. Where another process holds it, log `waiting`, and wait.

    Raises UserError, which `fix` ends, where the file cannot be written.
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
    """Hold the folder `out`, made if need be, for this process alone.

    Raises UserError where another process holds it or it cannot be written. A folder that has no
    recipe.yaml at the end is left as it was found: it was refused before anything was begun.
    """
    made = [place for place in (out, *out.parents) if not place.exists()]
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
            _leave(out, made)
        lock.release()


def _leave(out: Path, made: list[Path]) -> None:
    """Remove the lock, and of the folder and its parents those that were made and are empty."""
    (out / ".lock").unlink(missing_ok=True)
    if out in made:
        (out / "environment.json").unlink(missing_ok=True)
    for place in made:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
