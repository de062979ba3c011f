"""Folders with a folder of texts for each class, as 20 Newsgroups and IMDB are distributed."""

import logging
from pathlib import Path

from alembert.data.files.documents import SPLIT_NAMES
from alembert.data.files.encodings import not_utf8, western_as_utf8
from alembert.io.errors import UserError

UNLABELLED = {"unsup", "unlabelled", "unlabeled"}  # folders beside the classes without a label

log = logging.getLogger(__name__)


def split_of(path: Path, split: str) -> Path:
    """The folder of a split in a folder that has one for each; else the folder itself."""
    inner = [each for each in _visible(path) if each.is_dir()]
    known = {name for names in SPLIT_NAMES.values() for name in names}
    if not inner or not all(each.name.casefold() in known for each in inner):
        return path
    return next((each for each in inner if each.name.casefold() in SPLIT_NAMES[split]), path)


def texts_of(path: Path) -> dict[str, list[str]] | None:
    """Texts and labels of a folder of class folders, a file each; None for another folder.

    Folders without a label, and files beside the class folders, are reported and left out. Raises
    UserError that names a file that holds no text.
    """
    inner = _visible(path)
    beside = [each.name for each in inner if not each.is_dir() or each.name in UNLABELLED]
    classes = {each: _visible(each) for each in inner if each.name not in beside}
    if len(classes) < 2 or not all(map(_are_texts, classes.values())):
        return None
    if beside:
        log.warning(f"{path}: left out, since they are no classes: {', '.join(beside)}")
    log.info(f"{path}: each of {len(classes)} folders is read as a class, and a file as a text")
    rows = [(_text(file), folder.name) for folder, files in classes.items() for file in files]
    return {"text": [text for text, _ in rows], "label": [name for _, name in rows]}


def contents(path: Path, most: int = 5) -> str:
    """The first names in a folder, for messages."""
    names = [each.name for each in _visible(path)]
    return ", ".join(names[:most]) + ", ..." * (len(names) > most) or "nothing"


def _visible(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if not each.name.startswith("."))


def _are_texts(files: list[Path]) -> bool:
    """Whether these are files named .txt, or without a suffix of letters as mails are."""
    return bool(files) and all(
        file.is_file() and (file.suffix == ".txt" or not file.suffix.strip(".0123456789_"))
        for file in files
    )


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        western = western_as_utf8(content, file)
        if western is None:
            raise UserError(not_utf8(content.splitlines(keepends=True), file)) from None
        return western.decode()
