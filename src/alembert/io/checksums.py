"""SHA-256 of a folder's finished files, in its checksums.json, and which file is damaged.

Files beside them that checksums.json does not name may be added, changed and removed.
"""

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from alembert.io.errors import UserError
from alembert.io.parsing import json_of

FILE = "checksums.json"
FIX = (
    "run the same command again, which makes it anew; a file that you changed yourself is taken "
    f"as it is without the {FILE} beside it"
)
MODEL = ("config.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model",
)  # fmt: skip


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """The SHA-256 of the file that `files.write_text` makes of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def content(checksums: Mapping[str, str]) -> str:
    """The content of a checksums.json; `own` is the checksum of the others."""
    return json.dumps({"own": _own(checksums), "sha256": dict(checksums)}, indent=1) + "\n"


def recorded(folder: Path) -> dict[str, str]:
    """The checksum of each file that the folder's checksums.json names; none without it.

    Raises UserError when checksums.json is damaged itself.
    """
    at = folder / FILE
    if not at.is_file():
        return {}
    try:
        whole = json_of(at.read_text(encoding="utf-8"))
        checksums = {str(name): str(checksum) for name, checksum in whole["sha256"].items()}
        own = whole["own"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        checksums, own = {}, None
    if own != _own(checksums):
        raise UserError(
            f"{at}: is damaged, and with it the checksums of the files beside it: delete it, or "
            "make the folder anew"
        )
    return checksums


def damaged(folder: Path, patterns: Iterable[str] = ("*",)) -> list[str]:
    """The names of the files that match a pattern and whose content is not what was written.

    They are files of checksums.json that exist; it alone where it is damaged itself.
    """
    try:
        checksums = recorded(folder)
    except UserError:
        return [FILE]
    there = [name for name in _matching(checksums, patterns) if (folder / name).is_file()]
    return [name for name in there if sha256_of(folder / name) != checksums[name]]


def missing(folder: Path, patterns: Iterable[str]) -> list[str]:
    """The names of files of checksums.json that match a pattern and are gone."""
    return [name for name in _matching(recorded(folder), patterns) if not (folder / name).is_file()]


def check(path: Path, fix: str = FIX) -> None:
    """Raises UserError, which `fix` ends, for a file whose content is not what was written."""
    checksum = recorded(path.parent).get(path.name)
    if checksum is not None and path.is_file() and sha256_of(path) != checksum:
        raise UserError(_line(path, fix))


def check_folder(folder: Path, patterns: Iterable[str] = ("*",), fix: str = FIX) -> None:
    """As `check`, of all files of a folder that match a pattern."""
    recorded(folder)
    for name in damaged(folder, patterns):
        raise UserError(_line(folder / name, fix))


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]


def _line(path: Path, fix: str) -> str:
    return f"{path}: is damaged: its content is not what was written: {fix}"


def _own(checksums: Mapping[str, str]) -> str:
    return sha256_of_text(json.dumps(dict(checksums)))
