"""Streams the text of a corpus, from files or data sets, as blocks of paragraphs."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from alembert.data.files import columnar
from alembert.data.files.unpacking import check_bytes, check_rows
from alembert.data.formats import FORMATS, READERS, dataset, kind, unpacked
from alembert.data.labels import find_columns, is_list
from alembert.data.sources import read
from alembert.io.errors import UserError

PIECE = 100_000  # characters of a paragraph; a longer one is cut at white space
BLOCK = 1_000_000  # characters that are tokenised at a time
ROWS = 1000  # rows of a table that are read at a time


@dataclass(frozen=True)
class Source:
    """A file to stream (`data` is None), or a data set of another kind."""

    path: Path
    data: Dataset | None = None

    def size(self) -> int:
        """The size in bytes."""
        return int(self.path.stat().st_size if self.data is None else self.data.data.nbytes)

    def digest(self) -> bytes:
        """A hash of the content."""
        if self.data is None:
            with self.path.open("rb") as file:
                return kind(self.path).encode() + hashlib.file_digest(file, "sha256").digest()
        digest = hashlib.sha256()
        for rows in self.data.iter(ROWS):
            digest.update(json.dumps(rows, default=str).encode())
        return digest.digest()

    def blocks(self) -> Iterator[tuple[list[str], int]]:
        """(stripped paragraphs, bytes read so far); an empty paragraph ends a document."""
        if self.data is None:
            with self.path.open("rb") as file:
                paragraphs = STREAMS.get(kind(self.path), _text)(file, self.path)
                yield from _blocks(paragraphs, file.tell, self.size())
            return
        read, share = 0, self.size() / len(self.data)

        def cells(data: Dataset) -> Iterator[Any]:
            nonlocal read
            for rows in data.iter(ROWS):
                (column,) = rows.values()
                yield from column
                read += len(column)

        yield from _blocks(_of_cells(cells(self.data)), lambda: int(read * share), self.size())


def open_source(path: str) -> Source:
    file = Path(path).expanduser()
    if file.is_file() and (kind(file) in STREAMS or kind(file) not in FORMATS):
        return Source(file)
    data = read(path)
    return Source(file, data.select_columns([_column(data, path)]))


def _column(data: Dataset, path: str | Path) -> str:
    column = find_columns(data, str(path), labelled=False).text
    if is_list(data, column):
        raise UserError(f"{path}: {column!r} holds lists of words; a corpus needs text")
    return column


def _blocks(
    paragraphs: Iterable[str], position: Callable[[], int], end: int
) -> Iterator[tuple[list[str], int]]:
    block: list[str] = []
    size = 0
    for paragraph in paragraphs:
        block.append(paragraph)
        size += len(paragraph) + 1  # a file of empty lines has blocks too
        if size > BLOCK:
            yield block, position()
            block, size = [], 0
    yield block, end


def _text(file: BinaryIO, path: Path) -> Iterator[str]:
    """Paragraphs of a text: one a line, with an empty line between documents."""
    with unpacked(file, path) as text:
        yield from _lines(text)
    yield ""


def _lines(text: TextIO) -> Iterator[str]:
    """The stripped lines of a text, a long one in pieces; no more than a piece is held."""
    rest, in_pieces = "", False
    while block := text.read(PIECE):
        *lines, rest = (rest + block).split("\n")
        for line in lines:
            pieces = list(_pieces(line))
            yield from pieces or [""] * (not in_pieces)  # an empty one would end the document
            in_pieces = False
        *pieces, rest = _cut(rest)
        pieces = [piece.strip() for piece in pieces if not piece.isspace()]
        in_pieces = in_pieces or bool(pieces)
        yield from pieces
    yield from _pieces(rest)


def _pieces(paragraph: str) -> Iterator[str]:
    """A paragraph in stripped pieces of at most PIECE characters; none of an empty one."""
    yield from filter(None, map(str.strip, _cut(paragraph)))


def _cut(text: str) -> list[str]:
    """A text in pieces of at most PIECE characters, cut at white space unless a word is longer."""
    pieces = []
    while len(text) > PIECE:
        head = text[:PIECE]
        if not (head[-1].isspace() or text[PIECE].isspace()):
            word = head.rsplit(None, 1)[-1]
            head = head[: -len(word)] or head
        pieces.append(head)
        text = text[len(head) :]
    return [*pieces, text]


def _of_cells(cells: Iterable[Any]) -> Iterator[str]:
    """Paragraphs of cells: every cell is a document, every filled line a paragraph."""
    for cell in cells:
        if cell is not None:
            for line in str(cell).split("\n"):
                yield from _pieces(line)
            yield ""


def _rows(file: BinaryIO, path: Path) -> Iterator[str]:
    """Paragraphs of rows, which need the text's column and may differ in others."""
    column = ""
    for where, row in READERS[kind(path)](file, path):
        column = column or _column(dataset({k: [v] for k, v in row.items()}, path), path)
        if column not in row:
            raise UserError(f"{path}, {where}: key {column!r} is missing; give every row one")
        if not isinstance(row[column], str | None):
            raise UserError(f"{path}, {where}: {column!r} is no string; fix the row")
        yield from _of_cells([row[column]])


def _parquet(file: BinaryIO, path: Path) -> Iterator[str]:
    """Paragraphs of a Parquet file, read a few rows of the text column at a time."""
    with columnar.readable(path):
        table, size = columnar.open_parquet(path, file), 0
        check_rows(path, table.metadata.num_rows)
        column = _column(Dataset(InMemoryTable(pq.read_schema(path).empty_table())), path)
        for rows in columnar.batches(table, path, [column]):
            size += columnar.size_of(rows.column(0))
            check_bytes(path, size)
            yield from _of_cells(cell.as_py() for cell in rows.column(0))


STREAMS: dict[str, Callable[[BinaryIO, Path], Iterator[str]]] = {
    ".txt": _text,
    ".csv": _rows,
    ".tsv": _rows,
    ".jsonl": _rows,
    ".parquet": _parquet,
}
