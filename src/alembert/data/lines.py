"""A file -> its text a line at a time, unpacked where it is packed."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow as pa

from alembert.io.errors import UserError

PACKED = {".zst": "zstd", ".gz": "gzip"}


def kind(path: Path) -> str:
    """The suffix that says what a file holds: of texts.jsonl.zst it is .jsonl."""
    named = Path(path.stem) if path.suffix.lower() in PACKED else path
    return named.suffix.lower()


@contextmanager
def unpacked(file: BinaryIO, path: Path, newline: str = "\n") -> Iterator[TextIO]:
    """The text of an open file, with or without a byte order mark; `newline` as for `open`.

    `file` stands where reading is. Raises UserError that says where the UTF-8 breaks.
    """
    try:
        with io.TextIOWrapper(_bytes(file, path), "utf-8-sig", newline=newline) as text:
            yield text
    except UnicodeDecodeError:
        raise UserError(_broken(path)) from None
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
    return io.BufferedReader(pa.CompressedInputStream(file, packing))


def _broken(path: Path) -> str:
    """Where the UTF-8 of a file breaks, found by reading it once more."""
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
    """(line number from 1, line without its end) of the lines; blank ones are there too."""
    filled = False
    # str.splitlines would also split at form feeds and U+2028, which texts contain
    with unpacked(file, path) as text:
        for number, line in enumerate(text, start=1):
            filled = filled or bool(line.strip())
            yield number, line.removesuffix("\n").removesuffix("\r")
    if not filled:
        raise UserError(f"{path}: the file is empty; give a file with at least one row")
