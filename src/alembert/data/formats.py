"""One file -> a `datasets.Dataset`: a reader for each kind of file, chosen by suffix."""

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

from alembert.errors import UserError

# A number with leading zeros is a name (a zip code, an id): it stays a string.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|nan|NaN|NAN")

Reader = Callable[[Path], Dataset]


def _text(path: Path) -> str:
    """The file as text, with or without a byte order mark; says where the UTF-8 breaks."""
    raw = path.read_bytes()
    if not raw.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"{path}: the file is empty; give a file with at least one row")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of the lines; blank ones are there too."""
    # str.splitlines would also split at form feeds and U+2028, which texts contain
    for number, line in enumerate(_text(path).split("\n"), start=1):
        yield number, line.removesuffix("\r")


def dataset(columns: dict[str, list[Any]], path: Path) -> Dataset:
    """Columns of equal length -> a Dataset; UserError names a column that mixes types."""
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise UserError(
                f"{path}: column {name!r} mixes types ({str(error).splitlines()[0]}); "
                "give every row the same type"
            ) from None
    return Dataset(InMemoryTable(pa.table(arrays)))


def _typed(cells: list[str]) -> list[Any]:
    """Cells as int or float where every filled cell is one (an empty cell is None), else as is."""
    filled = [cell for cell in cells if cell]
    for pattern, number in ((_INTEGER, int), (_FLOAT, float)):
        if filled and all(pattern.fullmatch(cell) for cell in filled):
            return [number(cell) if cell else None for cell in cells]
    return cells


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows; a quoted cell may hold commas and lines."""
    csv.field_size_limit(sys.maxsize)  # the default refuses fields over 128 KB
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    while True:
        line = rows.line_num + 1  # where the row begins; line_num is where the last one ended
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {line}: {error}; mend the quotes of this row") from None
        if row:
            yield line, row


def tsv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Without quoting: GLUE's files hold single quotation marks that belong to the text."""
    return ((number, line.split("\t")) for number, line in _lines(path) if line)


def _delimited(rows: Callable[[Path], Iterator[tuple[int, list[str]]]]) -> Reader:
    """A reader of rows of cells whose first row names the columns."""

    def reader(path: Path) -> Dataset:
        found = rows(path)
        _, header = next(found)
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise UserError(f"{path}, line 1: column {repeated[0]!r} is there twice; rename one")
        body = []
        for line, row in found:
            if len(row) != len(header):
                raise UserError(
                    f"{path}, line {line}: {len(row)} fields where the header has {len(header)}; "
                    "mend the row (in CSV, quote a text that holds a comma)"
                )
            body.append(row)
        if not body:
            raise UserError(f"{path}: no rows below the header; give a file with at least one")
        cells = zip(*body, strict=True)
        return dataset({n: _typed(list(c)) for n, c in zip(header, cells, strict=True)}, path)

    return reader


def _records(path: Path, rows: Iterable[tuple[str, Any]]) -> Dataset:
    """(where, object) pairs -> columns; the first object says which keys there are."""
    columns: dict[str, list[Any]] = {}
    for where, row in rows:
        if not isinstance(row, dict) or not row:
            raise UserError(f"{path}, {where}: not an object of columns; write {{...}} a row")
        columns = columns or {key: [] for key in row}
        if row.keys() != columns.keys():
            odd = sorted(row.keys() ^ columns.keys())[0]
            state = "is missing" if odd in columns else "is not in the rows above"
            raise UserError(f"{path}, {where}: key {odd!r} {state}; give all rows the same keys")
        for key, value in row.items():
            columns[key].append(value)
            first = columns[key][0]
            if _kind(value) != _kind(first) and None not in (value, first):
                raise UserError(
                    f"{path}, {where}: {key!r} is {_kind(value)}, above it is {_kind(first)}; "
                    "give every row the same type"
                )
    return dataset(columns, path)


def _kind(value: Any) -> str:
    """The type of a JSON value, in words; 1 and 1.0 are of one kind."""
    kinds = {bool: "true/false", int: "a number", float: "a number", str: "a string"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")


def _loads(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise UserError(f"{where}: not JSON ({error.msg}); mend the line") from None


def _jsonl(path: Path) -> Dataset:
    lines = ((number, line) for number, line in _lines(path) if line.strip())
    return _records(path, ((f"line {n}", _loads(path, line, n)) for n, line in lines))


def _json(path: Path) -> Dataset:
    found = _loads(path, _text(path), 1)
    inner = found.get("data") if isinstance(found, dict) else None
    if isinstance(inner, list) and all(isinstance(row, dict) for row in inner):
        found = inner
    if isinstance(found, dict) and found and all(isinstance(v, list) for v in found.values()):
        if len({len(values) for values in found.values()}) > 1:
            counts = ", ".join(f"{key}: {len(values)}" for key, values in found.items())
            raise UserError(f"{path}: columns of different length ({counts}); mend the file")
        return dataset(found, path)
    if not isinstance(found, list):
        raise UserError(f"{path}: neither a list of objects nor an object of lists")
    return _records(path, ((f"row {n}", row) for n, row in enumerate(found, start=1)))


def _parquet(path: Path) -> Dataset:
    try:
        return Dataset(InMemoryTable(pq.read_table(path)))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not readable as Parquet ({reason})") from None


def _plain(path: Path) -> Dataset:
    return dataset({"text": [line for _, line in _lines(path) if line.strip()]}, path)


def _conll(path: Path) -> Dataset:
    """Sentences apart by blank lines; a word first and its tag last on every line."""
    sentences: list[tuple[list[str], list[str]]] = [([], [])]
    for number, line in _lines(path):
        if line.startswith("-DOCSTART-"):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            sentences.append(([], []))
        elif len(cells) < 2 or not cells[0].strip() or not cells[-1].strip():
            raise UserError(f"{path}, line {number}: a word without a tag; write 'word TAG'")
        else:
            sentences[-1][0].append(cells[0])
            sentences[-1][1].append(cells[-1])
    kept = [pair for pair in sentences if pair[0]]
    return dataset({"tokens": [words for words, _ in kept], "tags": [t for _, t in kept]}, path)


READERS: dict[str, Reader] = {
    ".csv": _delimited(_csv_rows),
    ".tsv": _delimited(tsv_rows),
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".txt": _plain,
    ".conll": _conll,
    ".bio": _conll,
    ".iob": _conll,
}
