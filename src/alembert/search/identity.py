"""What a search folder is about: its teacher and its texts, which another search may not change."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.io.files import read_json, write_json
from alembert.models.loading import model_folder
from alembert.search.trials import HOME


@contextmanager
def held(out: Path, teacher: str, files: Files, settings: dict[str, Any]) -> Iterator[None]:
    """A folder that is checked; refused before anything is trained, a search leaves nothing."""
    check(out, teacher, files, settings)
    try:
        yield
    except UserError:
        if not any((out / HOME / name).exists() for name in ("trials", "full")):
            shutil.rmtree(out / HOME)
        raise


def check(out: Path, teacher: str, files: Files, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds something else, or a search of another teacher or texts."""
    at = out / HOME / "identity.json"
    named = {name: value for name, value in asdict(files).items() if value is not None}
    found = {"teacher": _digest(Path(model_folder(teacher)))} | {
        name: [value, _digest(Path(value))] for name, value in named.items()
    }
    found |= settings
    if not at.is_file():
        strangers = sorted(p.name for p in out.iterdir() if p.name not in (".lock", HOME))
        if strangers:
            raise UserError(
                f"{out}: holds {strangers[0]} and no search: choose an empty or new folder"
            )
        write_json(at, found)
        return
    there = read_json(at)
    for key in there | found:
        if there.get(key) != found.get(key):
            option = {"evaluation": "eval"}.get(key, key.replace("_", "-"))
            raise UserError(
                f"{out}: holds a search with another --{option}: choose another --out, or delete "
                "the folder"
            )


def _digest(path: Path) -> str:
    """Of a file's bytes, of a model's weights and words, of a folder's files; "" of a hub id."""
    state = hashlib.sha256()
    if not path.exists():
        return ""
    parts = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    if (path / "config.json").is_file():
        words = [each for each in parts if each.name.startswith(("tokenizer", "vocab"))]
        parts = [*sorted(path.glob("*.safetensors")), path / "config.json", *words]
    for part in parts:
        with part.open("rb") as content:
            state.update(hashlib.file_digest(content, "sha256").digest())
    return state.hexdigest()[:32]
