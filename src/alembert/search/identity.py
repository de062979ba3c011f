"""The identity of a search folder: digests of its teacher and its texts."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.io.files import read_json, write_json
from alembert.models.loading import model_path
from alembert.search.trials import HOME


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
    at = out / HOME / "identity.json"
    named = {name: value for name, value in files.arguments.items() if value is not None}
    identity = {"teacher": _digest(Path(model_path(teacher)))} | {
        name: [value, _digest(Path(value))] for name, value in named.items()
    }
    identity |= settings
    if not at.is_file():
        others = sorted(p.name for p in out.iterdir() if p.name not in (".lock", HOME))
        if others:
            raise UserError(
                f"{out}: holds {others[0]} and no search: choose an empty or new folder"
            )
        write_json(at, identity)
        return
    earlier = read_json(at)
    for key in earlier | identity:
        if earlier.get(key) != identity.get(key):
            option = {"evaluation": "eval"}.get(key, key.replace("_", "-"))
            raise UserError(
                f"{out}: holds a search with another --{option}: choose another --out, or delete "
                "the folder"
            )


def _digest(path: Path) -> str:
    """Return a digest of a file, of a model's weights and vocabulary, or of a folder's files.

    It is empty for a hub id.
    """
    state = hashlib.sha256()
    if not path.exists():
        return ""
    parts = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    if (path / "config.json").is_file():
        tokenizer = [each for each in parts if each.name.startswith(("tokenizer", "vocab"))]
        parts = [*sorted(path.glob("*.safetensors")), path / "config.json", *tokenizer]
    for part in parts:
        with part.open("rb") as content:
            state.update(hashlib.file_digest(content, "sha256").digest())
    return state.hexdigest()[:32]
