"""Files whose content is not what their suffix says, by their first bytes."""

import json
from pathlib import Path
from typing import BinaryIO

from alembert.io.errors import UserError

_HEAD = 4096  # bytes
_TEXTS = (".csv", ".tsv", ".txt")
_FOUND = (  # (first bytes, content, what to do)
    (b"version https://git-lfs", "is a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"PAR1", "holds Parquet", "rename it to .parquet"),
    (b"ARROW1", "holds Arrow", "rename it to .arrow"),
    (b"\x1f\x8b", "is packed by gzip", "rename it to end in .gz"),
    (b"\x28\xb5\x2f\xfd", "is packed by Zstandard", "rename it to end in .zst"),
    (b"BZh", "is packed by bzip2", "unpack it"),
    (b"\xd0\xcf\x11\xe0", "is an older spreadsheet", "save it as .csv"),
    (b"%PDF-", "is a PDF", "give a table"),
    (b"#FORMAT=WebAnno", "is of WebAnno (INCEpTION)", "export words and tags as CoNLL"),
)


def check(file: BinaryIO, path: Path, kind: str) -> None:
    """Raises UserError for a file whose first bytes are not of the kind that its suffix says.

    The open file is at its start, before and afterwards.
    """
    head = file.read(_HEAD)
    file.seek(0)
    found = [(which, mend) for mark, which, mend in _FOUND if head.startswith(mark)]
    if head.startswith(b"PK\x03\x04") and kind != ".xlsx":
        sheet = b"xl/" in head or b"[Content_Types]" in head
        found = [("is a spreadsheet", "rename it to .xlsx") if sheet else ("is a zip", "unpack it")]
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        found = [("is a web page", "fetch the file itself, perhaps after signing in")]
    if kind in _TEXTS and _is_object(head.lstrip(b"\xef\xbb\xbf \r\n").partition(b"\n")[0]):
        found = [("holds JSON lines", "rename it to .jsonl")]
    for which, mend in found:
        raise UserError(f"{path}: {which}, and not what its name {kind} says: {mend}")


def _is_object(line: bytes) -> bool:
    if line[:1] != b"{":
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
