"""The text of a corpus: a file or another data set -> paragraphs of documents."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembert.data.columns import find_columns, is_list
from alembert.data.formats import READERS
from alembert.data.sources import read
from alembert.errors import UserError


@dataclass(frozen=True)
class Documents:
    """A text file to stream (`rows` is None), or the documents of another data set."""

    path: Path
    rows: tuple[str, ...] | None

    def size(self) -> int:
        """Bytes of the file, or characters of the rows."""
        return self.path.stat().st_size if self.rows is None else sum(map(len, self.rows))

    def digest(self) -> bytes:
        """A hash of the content."""
        if self.rows is not None:
            return hashlib.sha256(json.dumps(self.rows).encode()).digest()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()


def open_documents(path: str) -> Documents:
    file = Path(path).expanduser()
    if file.is_file() and (file.suffix == ".txt" or file.suffix.lower() not in READERS):
        return Documents(file, None)
    data = read(path)
    column = find_columns(data, path, labelled=False).text
    if is_list(data, column):
        raise UserError(f"{path}: {column!r} holds lists of words; a corpus needs text")
    return Documents(file, tuple(str(row) for row in data[column][:] if row is not None))


def paragraphs(source: Documents, bar: Any) -> Iterator[str]:
    """Paragraphs without their line ends; an empty one ends a document."""
    if source.rows is not None:
        for row in source.rows:
            yield from (line.strip() for line in row.split("\n") if line.strip())
            yield ""
            bar.update(len(row))
        return
    with source.path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            bar.update(len(line))
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise UserError(
                    f"{source.path}, line {number}: not UTF-8; save the file as UTF-8"
                ) from None
    yield ""
