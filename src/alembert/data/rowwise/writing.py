"""Writes blocks of rows to a CSV, JSONL or Parquet file, which appears when it is complete."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from alembert.data.rowwise.reading import Table
from alembert.io.errors import UserError
from alembert.io.files import atomic

Write = Callable[[Table], None]


def check_out(out: Path) -> None:
    """Raise UserError for a file of another kind, and for one that is there already."""
    if out.suffix not in WRITERS:
        raise UserError(f"--out {out}: unknown kind of file; write one of {' '.join(WRITERS)}")
    if out.exists():
        raise UserError(f"--out {out}: is there already; delete it or name another")


@contextmanager
def writer(out: Path) -> Iterator[Write]:
    """Yield what writes a block of rows; the file is there when all are written, or not at all.

    A list or an object is a cell of JSON in a CSV file. Raises UserError.
    """
    check_out(out)
    fix = "free some space, or name another --out"
    with atomic(out, fix) as partial, WRITERS[out.suffix](partial) as write:
        yield write


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows, headed = csv.writer(file, lineterminator="\n"), False

        def write(columns: Table) -> None:
            nonlocal headed
            if not headed:
                rows.writerow(columns)
                headed = True
            cells = ([_cell(each) for each in column] for column in columns.values())
            rows.writerows(zip(*cells, strict=True))

        yield write


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, list | tuple | dict) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # dates of Parquet are texts


@contextmanager
def _jsonl(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda columns: _write_lines(file, columns)


def _write_lines(file: TextIO, columns: Table) -> None:
    for row in zip(*columns.values(), strict=True):
        file.write(_json(dict(zip(columns, row, strict=True))) + "\n")


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    file: pq.ParquetWriter | None = None
    out = path.name.removesuffix(".partial")

    def write(columns: Table) -> None:
        nonlocal file
        try:
            if file is None:
                table = _with_texts(pa.table(columns))
                file = pq.ParquetWriter(path, table.schema)
            else:
                table = pa.Table.from_pydict(columns, schema=file.schema)
        except (pa.ArrowException, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"--out {out}: a column mixes types ({reason}): write .jsonl or .csv"
            ) from error
        file.write_table(table)

    try:
        yield write
    finally:
        if file is not None:
            file.close()


def _with_texts(table: pa.Table) -> pa.Table:
    """The table, whose columns without any value are of texts, as later blocks may have some."""
    fields = [
        pa.field(field.name, pa.string()) if pa.types.is_null(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


WRITERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
