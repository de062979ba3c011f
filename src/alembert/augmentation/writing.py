"""Writes augmented rows to a file that keeps the values of every column as they are."""

import csv
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alembert.data.formats import typed
from alembert.io.errors import UserError


def check_out(rows: pa.Table, source: str, out: Path) -> None:
    """Raise UserError for an existing file, and for a format that would change a column."""
    if out.suffix not in WRITERS:
        raise UserError(f"{out}: unknown kind of file; write one of {' '.join(WRITERS)}")
    if out.resolve() == Path(source).expanduser().resolve():
        raise UserError(f"--out {out}: is the file to augment itself; name another")
    check_free(out)
    for name in rows.column_names if out.suffix != ".parquet" else ():
        last = name == rows.column_names[-1]
        keeps = _json_keeps if out.suffix == ".jsonl" else partial(_cells_keep, out.suffix, last)
        if not keeps([name, *rows[name].to_pylist()]):
            raise UserError(
                f"{out}: this kind of file cannot hold column {name!r} unchanged; "
                "write .jsonl or .parquet"
            )


def _json_keeps(values: list[Any]) -> bool:
    """Whether values are read from JSON as they are written, integers in 64 bits with a sign."""
    too_large = any(isinstance(value, int) and value >= 2**63 for value in values)
    return not too_large and repr(json.loads(json.dumps(values, default=str))) == repr(values)


def _cells_keep(suffix: str, last: bool, values: list[Any]) -> bool:
    """Whether a column, its name first, is read from .csv or .tsv as it is written."""
    cells = ["" if value is None else str(value) for value in values]
    # csv quotes no cell for a carriage return alone, and .tsv none at all
    broken = {".csv": r'[^,"\n]*\r[^,"\n]*', ".tsv": r".*[\t\n].*" + r"|.*\r" * last}[suffix]
    whole = not any(re.fullmatch(broken, cell, re.DOTALL) for cell in cells)
    return whole and repr(typed(cells[1:])) == repr(values[1:])


def check_free(out: Path) -> None:
    """Raise UserError for a file that is there."""
    if out.exists():
        raise UserError(f"{out}: is there already; delete it or name another with --out")


def _csv(path: Path, schema: pa.Schema, parts: Iterable[pa.Table], **kind: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", **kind)
        writer.writerow(schema.names)
        for part in parts:
            writer.writerows(zip(*part.to_pydict().values(), strict=True))


def _jsonl(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for part in parts:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in part.to_pylist())


def _parquet(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema) as file:
        for part in parts:
            file.write_table(part)


WRITERS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.Table]], None]] = {
    ".csv": _csv,
    ".tsv": partial(_csv, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None),
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
