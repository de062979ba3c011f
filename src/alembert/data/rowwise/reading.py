"""The rows of a file in blocks of a thousand, each with its texts, in constant memory."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from alembert.data.files import columnar, disguised
from alembert.data.files.unpacking import check_bytes, check_rows
from alembert.data.formats import PACKED, READERS, columns_of, dataset, kind
from alembert.data.labels import TEXT_NAMES, WORDS, Columns, find_columns
from alembert.io.answers import Text
from alembert.io.errors import UserError

ROWS = 1000  # of a block
STREAMED = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".parquet")
DECODED = 1 << 20  # bytes of a file that are decoded at a time

Table = dict[str, list[Any]]  # the cells of each column


@dataclass(frozen=True)
class Block:
    """Rows of a file; `position` tells how many of its `size` bytes are read after them."""

    columns: Table
    texts: list[Text | None]  # None for a row without a text
    position: int
    size: int


def blocks(
    path: str,
    text: str | None = None,
    text_pair: str | None = None,
    recorded: Sequence[str | None] = (),
) -> Iterator[Block]:
    """Yield the rows of a file, a folder or a hub id with the texts in the named columns.

    Without a name those `recorded` are taken where the file has them, as the model was trained.

    CSV, TSV, JSONL, plain text and Parquet in UTF-8 are read as they are needed; other data is read
    as a whole. Raises UserError that names the file, and where there is one the line.
    """
    found: Columns | None = None
    names: list[str] = []
    for columns, position, size in _tables(path):
        if found is None:
            names = list(columns)
            known = [name for name in recorded if name is not None]
            if text is None and known and set(known) <= set(names):
                text, text_pair = (*known, None)[:2]
            only = _only_text(columns) if text is None else None
            found = only or find_columns(
                dataset(columns, path), path, text, text_pair, labelled=False
            )
        if odd := sorted(set(columns) ^ set(names)):
            state = "is missing" if odd[0] in names else "is not in the rows above"
            raise UserError(f"{path}: key {odd[0]!r} {state}; give all rows the same keys")
        cells = [columns[name] for name in found.texts]
        texts = [_text_of(row) for row in zip(*cells, strict=True)]
        yield Block({name: columns[name] for name in names}, texts, position, size)
    if found is None:
        raise UserError(f"{path}: no rows; give a file with at least one")


def _only_text(columns: Table) -> Columns | None:
    """The one column of texts by its name, as `find_columns` would find it in a data set.

    None where several names could be meant. To make a data set takes a second of imports.
    """
    names = [name for name in columns if name.strip().casefold() in (*TEXT_NAMES, *WORDS)]
    if len(names) == 1 and all(isinstance(cell, str) for cell in columns[names[0]]):
        return Columns(names[0], None, None)
    return None


def _text_of(cells: tuple[Any, ...]) -> Text | None:
    """The text, the pair or the words in a row's cells; None where one of them is empty."""
    if any(not cell or (isinstance(cell, str) and cell.isspace()) for cell in cells):
        return None
    first = cells[0]
    if isinstance(first, list):
        return [str(word) for word in first]
    return str(first) if len(cells) == 1 else tuple(map(str, cells))


def _tables(path: str) -> Iterator[tuple[Table, int, int]]:
    """The columns of each block, the bytes that are read, and those there are."""
    file = Path(path).expanduser()
    streamed = file.is_file() and kind(file) in STREAMED
    if streamed and (kind(file) == ".parquet" or _is_utf8(file)):
        size = file.stat().st_size
        with file.open("rb") as opened:
            tables = _parquet if kind(file) == ".parquet" else _rows
            for columns in tables(opened, file):
                yield columns, size if opened.closed else opened.tell(), size
        return
    from alembert.data.sources import read

    data = read(path)
    for end, columns in enumerate(data.iter(ROWS), start=1):
        yield dict(columns), min(end * ROWS, len(data)), len(data)


def _rows(file: BinaryIO, path: Path) -> Iterator[Table]:
    if path.suffix.lower() not in PACKED:
        disguised.check(file, path, kind(path))
    rows = READERS[kind(path)](file, path)
    while columns := columns_of(islice(rows, ROWS), path):
        yield columns


def _parquet(file: BinaryIO, path: Path) -> Iterator[Table]:
    with columnar.readable(path):
        table, size = columnar.open_parquet(path, file), 0
        check_rows(path, table.metadata.num_rows)
        for rows in columnar.batches(table, path, table.schema_arrow.names):
            size += sum(map(columnar.size_of, rows.columns))
            check_bytes(path, size)
            yield rows.to_pydict()


def _is_utf8(path: Path) -> bool:
    """Whether a file is UTF-8, or packed; another one is read as a whole, which converts it."""
    if path.suffix.lower() in PACKED:
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while part := file.read(DECODED):
                decoder.decode(part)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True
