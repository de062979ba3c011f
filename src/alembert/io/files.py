"""Writes files atomically, with their checksums if they are to be kept, and reads JSON."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

SEEDS = "seeds.json"  # of a folder with a run for each of several seeds
CACHE_FIX = "free some space, or name another folder in XDG_CACHE_HOME"
FIX = "free some space or fix the folder: the same command goes on where it stopped"
_caches: ContextVar[Path | None] = ContextVar("caches", default=None)


def cache(name: str) -> Path:
    """The folder of a cache: $XDG_CACHE_HOME/alembert/NAME, or one of `caching_in`."""
    if (elsewhere := _caches.get()) is not None:
        return elsewhere / name
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return user / "alembert" / name


@contextmanager
def caching_in(folder: Path) -> Iterator[None]:
    """Has all caches in this folder meanwhile, in place of the user's."""
    before = _caches.set(folder)
    try:
        yield
    finally:
        _caches.reset(before)


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
def atomic(path: Path, fix: str = FIX) -> Iterator[Path]:
    """Yields a temporary path beside a file or folder, which replaces `path` at the block's end.

    When the block fails, the temporary is removed and `path` is unchanged. A folder replaces a
    folder only, and a file a file. fix: ends the UserError of a full or closed disk.
    """
    partial = path.with_name(path.name + ".partial")
    with naming(path, fix):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
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
            remove(partial)


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def model_folder(folder: str | Path, file: str = "config.json") -> Path:
    """The folder of a model: `folder` itself, or student/ of a run folder, if that has `file`.

    Of a training with several seeds it is that of the best one.
    """
    folder = best_of_seeds(folder)
    student = Path(folder) / "student"
    inside = (student / file).is_file() and not (Path(folder) / "config.json").is_file()
    return student if inside else Path(folder)


def best_of_seeds(folder: str | Path) -> Path:
    """The run folder of the best seed where `folder` has seeds.json, else `folder` itself."""
    at = Path(folder) / SEEDS
    if not at.is_file():
        return Path(folder)
    content = read_json(at, "delete it, and the same command makes it again")
    check_fields(at, content, {"best": str})
    return inside(Path(folder), content["best"])


def read_json(path: Path, fix: str = "delete the folder, or choose another --out") -> Any:
    """The content of a JSON file. Raises UserError, which `fix` ends, when it cannot be read.

    One that is not as the checksums.json beside it says raises UserError too.
    """
    checksums.check(path)
    try:
        return json_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): {fix}") from error


def check_fields(path: Path, fields: Any, needed: Mapping[str, type]) -> None:
    """Raises UserError for what a file holds that is no object with these fields of these types."""
    for name, kind in needed.items():
        if not isinstance(fields, dict) or not isinstance(fields.get(name), kind):
            raise UserError(f"{path}: cannot be read (no {name!r} in it): fix or delete it")


def inside(folder: Path, name: str) -> Path:
    """The path of a file that a folder's own files name.

    Raises UserError for one outside the folder, by its name or by a link. (The hub's cache links
    its snapshots to files of the same repository.)
    """
    home = folder.resolve()
    home = home.parent.parent if home.parent.name == "snapshots" else home
    if "\0" in name or not (folder / name).resolve().is_relative_to(home):
        raise UserError(f"{folder}: names a file outside the folder, {name!r}: fix that name")
    return folder / name


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, _as_json(content))


def write_text(path: Path, content: str) -> None:
    """Writes a text file atomically. Raises UserError for characters that UTF-8 has not."""
    try:
        encoded = content.encode()
    except UnicodeEncodeError as error:
        near = content[max(error.start - 20, 0) : error.end]
        raise UserError(
            f"{path}: cannot be written ({near!a} is no UTF-8): rename what has this name"
        ) from error
    with atomic(path) as partial:
        partial.write_bytes(encoded)


def keep_json(path: Path, content: Any) -> None:
    """As `keep_text`, of a JSON file."""
    keep_text(path, _as_json(content))


def keep_text(path: Path, content: str) -> None:
    """Writes a text file atomically, after its checksum.

    When killed between the two, the file that is there counts as damaged.
    """
    keep_checksums(path.parent, {path.name: checksums.sha256_of_text(content)})
    write_text(path, content)


def keep(folder: Path, names: Iterable[str]) -> None:
    """Adds the checksums of these finished files to the folder's checksums.json."""
    keep_checksums(folder, {name: checksums.sha256_of(folder / name) for name in names})


def keep_checksums(folder: Path, new: Mapping[str, str]) -> None:
    """Adds checksums by file's name to the folder's checksums.json."""
    write_text(folder / checksums.FILE, checksums.content(checksums.recorded(folder) | dict(new)))


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
