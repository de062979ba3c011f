"""Streams the rows of one file, by a reader for each suffix, and makes a data set of them."""

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from alembert.data.unpacking import unpacking
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

# A number with leading zeros is a name (a zip code, an id) and stays a string.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|nan|NaN|NAN")

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]  # each with its position as messages name it: "line 3"
Reader = Callable[[BinaryIO, Path], Rows]
Cells = Callable[[BinaryIO, Path], Iterator[tuple[int, list[str]]]]  # (line, cells)
SHORT = 20  # characters
PACKED = {".zst": "zstd", ".gz": "gzip"}


def dataset(columns: dict[str, list[Any]], path: Path) -> Dataset:
    """A Dataset of columns of equal length. Raises UserError for a column of mixed types."""
    arrays = {}
    for name, values in columns.items():
        if "\0" in name:
            raise UserError(f"{path}: the name of column {name!r} holds a NUL; rename it")
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise UserError(
                f"{path}: column {name!r} mixes types ({str(error).splitlines()[0]}); "
                "give every row the same type"
            ) from None
    return Dataset(InMemoryTable(pa.table(arrays)))


def read_file(path: Path) -> Dataset:
    """The rows of a file of a known format. Raises UserError that names the file and the line."""
    if kind(path) == ".parquet":  # has types of its own
        with parquet(path):
            return Dataset(InMemoryTable(pq.read_table(path)))
    with path.open("rb") as file:
        columns = _columns(READERS[kind(path)](file, path), path)
    if kind(path) in (".csv", ".tsv"):
        columns = {name: typed(cells) for name, cells in columns.items()}
    return dataset(columns, path)


def _columns(rows: Rows, path: Path) -> dict[str, list[Any]]:
    """The columns of rows, whose names are the keys of the first row."""
    columns: dict[str, list[Any]] = {}
    shared: dict[str, str] = {}
    for where, row in rows:
        columns = columns or {key: [] for key in row}
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


def typed(cells: list[str]) -> list[Any]:
    """A column as int or float, with None for empty cells, if every filled cell is a number."""
    filled = [cell for cell in cells if cell]
    for pattern, number in ((_INTEGER, int), (_FLOAT, float)):
        if filled and all(pattern.fullmatch(cell) for cell in filled):
            return [number(cell) if cell else None for cell in cells]
    return cells


def _csv_cells(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row of a CSV file; a quoted cell may hold commas and line breaks."""
    csv.field_size_limit(sys.maxsize)  # the default refuses fields over 128 KB
    with unpacked(file, path, newline="") as text:
        rows, line = csv.reader(text, strict=True), 1
        try:
            for row in rows:
                if row:
                    yield line, row
                line = rows.line_num + 1  # the next row's first line; line_num is this row's last
        except csv.Error as error:
            raise UserError(f"{path}, line {line}: {error}; fix the quotes of this row") from None


def tsv_cells(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row of a TSV file; quotation marks belong to the text, as in GLUE."""
    return ((number, line.split("\t")) for number, line in lines(file, path) if line)


def _delimited(cells: Cells, file: BinaryIO, path: Path) -> Rows:
    """Rows of cells under a header of names. Raises UserError for a row of another width."""
    numbered = cells(file, path)
    _, header = next(numbered, (0, None))
    if header is None:
        raise UserError(f"{path}: the file is empty; give a file with at least one row")
    repeated = sorted(name for name, times in Counter(header).items() if times > 1)
    if repeated:
        raise UserError(f"{path}, line 1: column {repeated[0]!r} is there twice; rename one")
    line = 0
    for line, row in numbered:
        if len(row) != len(header):
            raise UserError(
                f"{path}, line {line}: {len(row)} fields where the header has {len(header)}; "
                "fix the row (in CSV, quote a text that holds a comma)"
            )
        yield f"line {line}", dict(zip(header, row, strict=True))
    if not line:
        raise UserError(f"{path}: no rows below the header; give a file with at least one")


def _loads(path: Path, text: str, line: int) -> Any:
    try:
        return json_of(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise UserError(f"{where}: not JSON ({error.msg}); fix the line") from None
    except ValueError as error:  # JSON with a value that cannot be kept
        where = f"{path}, line {line}" if kind(path) == ".jsonl" else str(path)
        raise UserError(f"{where}: {error}; fix it") from None


def _objects(values: Iterable[tuple[str, Any]], path: Path) -> Rows:
    for where, row in values:
        if not isinstance(row, dict) or not row:
            raise UserError(f"{path}, {where}: not an object of columns; write {{...}} a row")
        yield where, row


def _jsonl(file: BinaryIO, path: Path) -> Rows:
    filled = ((number, line) for number, line in lines(file, path) if line.strip())
    return _objects(((f"line {n}", _loads(path, line, n)) for n, line in filled), path)


def _json(file: BinaryIO, path: Path) -> Rows:
    content = _loads(path, "\n".join(line for _, line in lines(file, path)), 1)
    inner = content.get("data") if isinstance(content, dict) else None
    if isinstance(inner, list) and all(isinstance(row, dict) for row in inner):
        content = inner
    if isinstance(content, dict) and content and all(isinstance(v, list) for v in content.values()):
        if len({len(values) for values in content.values()}) > 1:
            counts = ", ".join(f"{key}: {len(values)}" for key, values in content.items())
            raise UserError(f"{path}: columns of different length ({counts}); fix the file")
        cells = zip(*content.values(), strict=True)
        content = [dict(zip(content, row, strict=True)) for row in cells]
    if not isinstance(content, list):
        raise UserError(f"{path}: neither a list of objects nor an object of lists")
    return _objects(((f"row {n}", row) for n, row in enumerate(content, start=1)), path)


@contextmanager
def parquet(path: Path) -> Iterator[None]:
    """Raises UserError for a file that is no Parquet, or has a type that datasets lacks."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not readable as Parquet ({reason})") from None


def _text(file: BinaryIO, path: Path) -> Rows:
    return ((f"line {n}", {"text": line}) for n, line in lines(file, path) if line.strip())


def _conll(file: BinaryIO, path: Path) -> Rows:
    """Reads sentences separated by blank lines, with a word first and its tag last on each line."""
    words, tags = list[str](), list[str]()
    for number, line in chain(lines(file, path), [(0, "")]):
        if line.startswith("-DOCSTART-"):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            if words:
                yield f"line {number}", {"tokens": words, "tags": tags}
            words, tags = [], []
        elif len(cells) < 2 or not cells[0].strip() or not cells[-1].strip():
            raise UserError(f"{path}, line {number}: a word without a tag; write 'word TAG'")
        else:
            words.append(cells[0])
            tags.append(cells[-1])


READERS: dict[str, Reader] = {
    ".csv": partial(_delimited, _csv_cells),
    ".tsv": partial(_delimited, tsv_cells),
    ".json": _json,
    ".jsonl": _jsonl,
    ".txt": _text,
    ".conll": _conll,
    ".bio": _conll,
    ".iob": _conll,
}
FORMATS = (*READERS, ".parquet")


def kind(path: Path) -> str:
    """The suffix of a file's format, without that of compression: .jsonl for texts.jsonl.zst."""
    named = Path(path.stem) if path.suffix.lower() in PACKED else path
    return named.suffix.lower()


@contextmanager
def unpacked(file: BinaryIO, path: Path, newline: str = "\n") -> Iterator[TextIO]:
    """The decompressed text of an open file, without a byte order mark; `newline` as for `open`.

    The position of `file` tells how far reading is. Raises UserError that names the line and byte
    where the UTF-8 is invalid.
    """
    try:
        with io.TextIOWrapper(_bytes(file, path), "utf-8-sig", newline=newline) as text:
            yield text
    except UnicodeDecodeError:
        raise UserError(_decoding_error(path)) from None
    except pa.ArrowException as error:
        raise UserError(f"{path}: {error}; unpack the file or fetch it again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{path}: cannot be unpacked ({error}); fetch it again") from None


def _bytes(file: BinaryIO, path: Path) -> BinaryIO:
    packing = PACKED.get(path.suffix.lower())
    if packing is None:
        return file
    return unpacking(file, path, packing)


def _decoding_error(path: Path) -> str:
    """The message that locates invalid UTF-8 in a file, which is read once more."""
    before = 0
    with path.open("rb") as file:
        for number, line in enumerate(_bytes(file, path), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"{path}, line {number}: byte {before + error.start} is not UTF-8; "
                    "save the file as UTF-8"
                )
            before += len(line)
    return f"{path}: changed while it was read; start again"


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
