"""A bound on what a packed file may unpack to: a few kilobytes can hold gigabytes."""

import io
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from alembert.io.errors import UserError

RATIO = 20  # times the size of the packed file; text is rarely over 10
FLOOR = 50_000_000  # bytes that any file may unpack to


def unpacking(file: BinaryIO, path: Path, packing: str) -> BinaryIO:
    """The unpacked bytes; reading raises UserError beyond RATIO times the file, or FLOOR."""
    return io.BufferedReader(_Bounded(pa.CompressedInputStream(file, packing), path))


class _Bounded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self._most = max(RATIO * path.stat().st_size, FLOOR)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._stream.read(len(buffer))
        self._read += len(content)
        if self._read > self._most:
            raise UserError(
                f"{self._path}: unpacks to over {self._most / 1e6:,.0f} MB, more than {RATIO} times"
                " its size: unpack it yourself if that is meant, and give the unpacked file"
            )
        buffer[: len(content)] = content
        return len(content)
