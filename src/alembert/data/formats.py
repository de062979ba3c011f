"""Streams the rows of one file, by a reader for each suffix, and makes a data set of them."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TextIO

import pyarrow as pa

from alembert.data.files import (
    columnar,
    conll,
    delimited,
    disguised,
    documents,
    encodings,
    plain,
    sheets,
)
from alembert.data.files.skipped import BadRow, refuse
from alembert.data.files.unpacking import check_columns, check_keys, unpacking
from alembert.data.labels import LABELS, TEXT_NAMES
from alembert.io.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

# A number with leading zeros is a name (a zip code, an id) and stays a string.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|nan|NaN|NAN")
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]  # each with its position as messages name it: "line 3"
SHORT = 20  # characters
NAMES = (*TEXT_NAMES, *LABELS)  # of columns
PACKED = {".zst": "zstd", ".gz": "gzip"}
TABLES = (".csv", ".tsv", ".xlsx")  # whose cells are texts, and columns of numbers are found

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Streams the rows of an open file; `bad` takes those that cannot be read.

    `split` is the one to read of a document that holds several.
    """

    def __call__(
        self, file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train"
    ) -> Rows: ...


class NotUtf8Error(UserError):
    """A file that is not UTF-8."""


def dataset(columns: dict[str, list[Any]], path: Path | str) -> Dataset:
    """A Dataset of columns of equal length. Raises UserError for a column of mixed types."""
    arrays = {}
    for name, values in columns.items():
        if "\0" in name:
            raise UserError(f"{path}: the name of column {name!r} holds a NUL; rename it")
        if _HALF.search(name):
            raise UserError(f"{path}: column {name!a} holds half of a surrogate pair; rename it")
        check_keys(path, name, values)
        try:
            arrays[name] = pa.array(values)
        except UnicodeEncodeError as error:
            row, half = documents.half_pair(values)
            raise UserError(
                f"{path}, row {row}: {name!r} holds {half}, which is half of a surrogate pair, "
                "such as half an emoji; give the whole character"
            ) from error
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            mixed = [
                v[0] for v in values if isinstance(v, list) and isinstance((v or [0])[0], list)
            ]
            if mixed:
                raise UserError(
                    f"{path}: column {name!r} holds lists such as {mixed[0]}; spans of characters "
                    "are not read: write words and their tags (CoNLL), or drop the column"
                ) from None
            raise UserError(
                f"{path}: column {name!r} mixes types ({str(error).splitlines()[0]}); "
                "give every row the same type"
            ) from None
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(pa.table(arrays)))


def read_file(path: Path, split: str = "train", bad: BadRow = refuse) -> Dataset:
    """The rows of a file of a known format. Raises UserError that names the file and the line.

    `split` is the one to read of a document that holds several, and `bad` takes rows that cannot
    be read.
    """
    if kind(path) == ".parquet":  # has types of its own
        return _of_table(columnar.read_parquet(path), path)
    if kind(path) in ARROW:
        return _of_table(columnar.read_arrow(path), path)
    reader = READERS[kind(path)]
    with path.open("rb") as file:
        if path.suffix.lower() not in PACKED:
            disguised.check(file, path, kind(path))
        try:
            columns = columns_of(reader(file, path, bad, split), path)
        except NotUtf8Error:
            again = _western(path)
            if again is None:
                raise
            columns = columns_of(reader(again, path, bad, split), path)
    if kind(path) in TABLES or (kind(path) == ".txt" and len(columns) > 1):
        columns = delimited.without_unnamed(columns, path)
        columns = {name: typed(cells) for name, cells in columns.items()}
    return dataset(columns, path)


def _of_table(table: pa.Table, path: Path) -> Dataset:
    from datasets import Dataset
    from datasets.table import InMemoryTable

    with columnar.readable(path):  # datasets may have no word for a type
        return Dataset(InMemoryTable(table))


def columns_of(rows: Rows, path: Path | str) -> dict[str, list[Any]]:
    """The columns of rows, whose names are the keys of the first row."""
    columns: dict[str, list[Any]] = {}
    shared: dict[str, str] = {}
    for where, row in rows:
        if not columns:
            check_columns(path, len(row))
            columns = {key: [] for key in row}
        if row.keys() != columns.keys():
            odd = sorted(row.keys() ^ columns.keys())[0]
            state = "is missing" if odd in columns else "is not in the rows above"
            raise UserError(f"{path}, {where}: key {odd!r} {state}; give all rows the same keys")
        for key, value in row.items():
            if type(value) is str and len(value) < SHORT:  # a label: one object for all its rows
                value = shared.setdefault(value, value)
            columns[key].append(value)
            first = columns[key][0]
            if type(value) is type(first) or None in (value, first):
                continue
            if _kind(value) != _kind(first):
                raise UserError(
                    f"{path}, {where}: {key!r} is {_kind(value)}, above it is {_kind(first)}; "
                    "give every row the same type"
                )
    return columns


def _kind(value: Any) -> str:
    """The type of a JSON value as messages name it; 1 and 1.0 are of one kind."""
    kinds = {bool: "true/false", int: "a number", float: "a number", str: "a string"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")


def typed(cells: list[Any]) -> list[Any]:
    """A column as int or float, with None for empty cells, if every filled cell is a number."""
    filled = [cell for cell in cells if cell]
    for pattern, number in ((_INTEGER, int), (_FLOAT, float)):
        if filled and all(isinstance(v, str) and pattern.fullmatch(v.strip()) for v in filled):
            return [number(cell) if cell else None for cell in cells]
    return cells


def _csv(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    """Rows of a CSV file; a quoted cell may hold separators and line breaks."""
    with unpacked(file, path, newline="") as text:
        sample = list(islice(text, delimited.SAMPLE))
        numbered = ((n, line.rstrip("\r\n")) for n, line in enumerate(chain(sample, text), start=1))
        if conll.looks_tagged([(n, line.rstrip("\r\n")) for n, line in enumerate(sample, start=1)]):
            yield from _tagged(numbered, path, bad)
        else:
            yield from delimited.quoted(chain(sample, text), ",", path, bad)


def _tsv(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    """Rows of a TSV file; quotation marks belong to the text, as in GLUE."""
    numbered = lines(file, path)
    sample = list(islice(numbered, delimited.SAMPLE))
    if conll.looks_tagged(sample):
        return _tagged(chain(sample, numbered), path, bad)
    text = (line + "\n" for _, line in chain(sample, numbered))
    each, all_lines, first = delimited.separated(text, "\t", path)
    if each != "\t":
        cells = delimited.csv_rows(all_lines, each, path, first)
    else:
        ended = (line.removesuffix("\n") for line in all_lines)
        cells = delimited.tab_rows(enumerate(ended, first), path)
    return delimited.rows_of(cells, path, bad)


def tsv_cells(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row of a TSV file; quotation marks belong to the text, as in GLUE."""
    return _tab_cells(lines(file, path))


def _tab_cells(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, line.split("\t")) for number, line in numbered if line)


def _xlsx(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    rows = ((n, cells) for n, cells in sheets.sheet_rows(file, path) if any(cells))
    return delimited.rows_of(rows, path, bad)


def _jsonl(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    return documents.of_lines(lines(file, path), path, bad, split, NAMES)


def _json(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    return documents.of_text(list(lines(file, path)), path, bad, split, NAMES)


def _text(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    numbered = lines(file, path)
    sample = list(islice(numbered, delimited.SAMPLE))
    if conll.looks_tagged(sample):
        return _tagged(chain(sample, numbered), path, bad)
    each = delimited.table_in([line for _, line in sample if line.strip()], TEXT_NAMES, LABELS)
    if each:
        log.info(f"{path}: read as a table, since its first line names columns")
        text = (line + "\n" for _, line in chain(sample, numbered))
        return delimited.quoted(text, each, path, bad)
    return plain.rows_of(sample, numbered, path, bad)


def _tagged(numbered: Iterable[tuple[int, str]], path: Path, bad: BadRow) -> Rows:
    log.info(f"{path}: read as words and tags, since each line ends with a tag")
    return conll.sentences(numbered, path, bad)


def _conll(file: BinaryIO, path: Path, bad: BadRow = refuse, split: str = "train") -> Rows:
    return conll.sentences(lines(file, path), path, bad)


READERS: dict[str, Reader] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".txt": _text,
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2", ".bioes", ".bilou", ".conllu"), _conll),
    ".xlsx": _xlsx,
}
ARROW = (".arrow", ".feather")
FORMATS = (*READERS, ".parquet", *ARROW)


def kind(path: Path) -> str:
    """The suffix of a file's format, without that of compression: .jsonl for texts.jsonl.zst."""
    named = Path(path.stem) if path.suffix.lower() in PACKED else path
    suffix = named.suffix.lower()
    return ".conll" if suffix.endswith("_conll") else suffix  # OntoNotes has .v4_gold_conll


@contextmanager
def unpacked(file: BinaryIO, path: Path, newline: str = "\n") -> Iterator[TextIO]:
    """The decompressed text of an open file, without a byte order mark; `newline` as for `open`.

    The position of `file` tells how far reading is. Raises UserError that names the line and byte
    where the UTF-8 is invalid.
    """
    encoding = "utf-8-sig"
    try:
        raw = _bytes(file, path)
        if isinstance(raw, io.BufferedReader):
            encoding = encodings.encoding_of(raw.peek(4)[:4], path)
        with io.TextIOWrapper(raw, encoding, newline=newline) as text:
            yield text
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise UserError(f"{path}: not readable as {encoding} ({error.reason})") from None
        with path.open("rb") as again:
            raise NotUtf8Error(encodings.not_utf8(_bytes(again, path), path)) from None
    except pa.ArrowException as error:
        raise UserError(f"{path}: {error}; unpack the file or fetch it again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{path}: cannot be unpacked ({error}); fetch it again") from None


def _western(path: Path) -> BinaryIO | None:
    """A file in Windows-1252 as if it were UTF-8; None for a packed file or another encoding."""
    if path.suffix.lower() in PACKED:
        return None
    content = encodings.western_as_utf8(path.read_bytes(), path)
    return None if content is None else io.BytesIO(content)


def _bytes(file: BinaryIO, path: Path) -> BinaryIO:
    packing = PACKED.get(path.suffix.lower())
    if packing is None:
        return file
    return unpacking(file, path, packing)


def lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of each line, blank ones included. Raises UserError when all are."""
    filled = False
    # str.splitlines would also split at form feeds and U+2028, which texts contain
    with unpacked(file, path) as text:
        for number, line in enumerate(text, start=1):
            filled = filled or bool(line.strip())
            yield number, line.removesuffix("\n").removesuffix("\r")
    if not filled:
        raise UserError(f"{path}: the file is empty; give a file with at least one row")
