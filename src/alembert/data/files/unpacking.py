"""Bounds on what a file may become in memory: a few kilobytes can hold gigabytes."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from alembert.io.errors import UserError

RATIO = 20  # times the size of the packed file; text is rarely over 10
SMALL, OF_SMALL = 10_000_000, 10  # bytes of a small file, and its ratio: it takes at most 2 GB
FLOOR = 50_000_000  # bytes that any file may unpack to
CELLS = 5_000_000  # of a packed text: its line breaks, separators and brackets
ROWS = 3_000_000  # of a file whose rows are packed
FEW = 10  # times the keys that objects have is no more than a few
COLUMNS = 20_000  # a spreadsheet has 16,384
_BETWEEN = (b"\n", b",", b";", b"|", b"\t", b"[", b"{")


def unpacking(file: BinaryIO, path: Path, packing: str) -> BinaryIO:
    """The unpacked bytes; reading raises UserError beyond RATIO times the file, or FLOOR.

    It does too beyond CELLS, or one for two bytes of the file: each costs more than a byte.
    """
    return io.BufferedReader(_Bounded(pa.CompressedInputStream(file, packing), path))


def most_bytes(path: Path) -> int:
    """The most bytes that the content of a packed file may have."""
    return max(_ratio(path) * path.stat().st_size, FLOOR)


def _ratio(path: Path) -> int:
    return OF_SMALL if path.stat().st_size < SMALL else RATIO


def check_bytes(path: Path, count: int) -> None:
    """Raises UserError for a packed file with more bytes."""
    if count > (most := most_bytes(path)):
        raise UserError(
            f"{path}: unpacks to over {most / 1e6:,.0f} MB, more than {_ratio(path)} times its "
            "size: unpack it yourself if that is meant, and give the unpacked file"
        )


def check_rows(path: Path, count: int) -> None:
    """Raises UserError for a file that holds more rows than its size lets expect."""
    if count > max(ROWS, path.stat().st_size // 4):
        raise UserError(
            f"{path}: holds {count:,} rows, too many for its size: write it as .csv if that is "
            "meant"
        )


def check_columns(path: Path | str, count: int) -> None:
    """Raises UserError for a table that is too wide."""
    if count > COLUMNS:
        raise UserError(
            f"{path}: has {count:,} columns, and {COLUMNS:,} are the most: leave out those that "
            "are neither text nor label"
        )


def check_keys(path: Path | str, column: str, values: Sequence[Any]) -> None:
    """Raises UserError for objects within a column whose keys differ from row to row.

    In memory each has the keys of all.
    """
    level: list[Any] = [each for each in values if isinstance(each, dict | list)]
    while level:
        objects = [each for each in level if isinstance(each, dict)]
        keys = {key for each in objects for key in each}
        if len(keys) * len(objects) > max(CELLS, FEW * sum(map(len, objects))):
            raise UserError(
                f"{path}: {column!r} holds objects of {len(keys):,} different keys in "
                f"{len(objects):,} rows: drop the column, or give all objects the same keys"
            )
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]


class _Bounded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self._read, self._cells = 0, 0
        self._most_cells = max(CELLS, path.stat().st_size // 2)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._stream.read(len(buffer))
        self._read += len(content)
        check_bytes(self._path, self._read)
        self._cells += sum(map(content.count, _BETWEEN))
        if self._cells > self._most_cells:
            raise UserError(
                f"{self._path}: unpacks to over {self._most_cells:,} lines and cells, too many for "
                "its size: unpack it yourself if that is meant, and give the unpacked file"
            )
        buffer[: len(content)] = content
        return len(content)
