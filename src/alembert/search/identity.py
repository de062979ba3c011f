"""The inputs and settings of a search, which its folder keeps and compares with a command's."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.io.files import cache, keep_json, read_json
from alembert.runs.folder import TEACHER
from alembert.runs.folder.identity import Identity, digests_of, flat
from alembert.search.trials import HOME

FILE = "identity.json"


@contextmanager
def checked(out: Path, teacher: str, files: Files, settings: dict[str, Any]) -> Iterator[None]:
    """Check the folder; a search that fails before its first training leaves nothing in it."""
    check(out, teacher, files, settings)
    try:
        yield
    except UserError:
        if not any((out / HOME / name).exists() for name in ("trials", "full")):
            shutil.rmtree(out / HOME)
        raise


def check(out: Path, teacher: str, files: Files, settings: dict[str, Any]) -> None:
    """Raise UserError for a folder of other content, or of a search of other inputs."""
    at = out / HOME / FILE
    own = {".lock", HOME} | ({TEACHER} if teacher == str(out / TEACHER) else set())
    others = sorted(p.name for p in out.iterdir() if p.name not in own)
    if others and not at.is_file():
        raise UserError(f"{out}: holds {others[0]} and no search: choose an empty or new folder")
    arguments = {"teacher": teacher, "files": files.arguments, **settings}
    here = _identity(arguments, teacher, files)
    if at.is_file():
        _recorded(at, here).check(out, "search", here)
    else:
        keep_json(at, {"arguments": arguments, "digests": here.digests})


def cached_folder(teacher: str, files: Files, settings: dict[str, Any]) -> Path:
    """Return the folder in the user's cache of a search that was given none; see runs.folder."""
    arguments = {"teacher": teacher, "files": files.arguments, **settings}
    return cache("runs") / f"search-{_identity(arguments, teacher, files).name}"


def _identity(arguments: dict[str, Any], teacher: str, files: Files) -> Identity:
    fields = flat(json.loads(json.dumps(arguments)))
    return Identity(fields, digests_of({"teacher": teacher}, files))


def _recorded(at: Path, given: Identity) -> Identity:
    """Return the identity in a file; of 0.1.0, which had one digest beside each path, by name.

    The teacher is then as given, for its path is not there.
    """
    content = read_json(at)
    if "digests" in content:
        return Identity(flat(content["arguments"]), content["digests"])
    fields = dict.fromkeys(given.fields) | {"teacher": given.fields["teacher"]}
    for name, value in content.items():
        if isinstance(value, list):
            fields[f"files.{name}"] = value[0]
        elif name != "teacher":
            fields[name] = value
    return Identity(fields, None)


def searched(files: Files | None) -> Files:
    """Return the files of a search. Raises UserError without any."""
    if files is None:
        raise UserError("a search needs texts to learn from: give --train")
    return files
