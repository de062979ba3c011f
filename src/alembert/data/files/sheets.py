"""Spreadsheets: the first sheet of an .xlsx file that holds rows."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from alembert.data.files.unpacking import most_bytes
from alembert.io.errors import UserError

OTHERS = (".xls", ".ods", ".xlsm", ".xlsb", ".numbers")  # spreadsheets that are not read
_MOST = 100  # MB that a sheet may be when unpacked
_LAST = 1_048_576  # the last row that a spreadsheet has
_CELLS = 60_000_000  # a sheet with formats may be 16,384 cells wide
_BROKEN = (
    BadZipFile, KeyError, ValueError, OSError, TypeError, AttributeError, IndexError, EOFError,
    ParseError, ZlibError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip

log = logging.getLogger(__name__)


def sheet_rows(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(row, cells as texts) of the first sheet with content.

    Raises UserError without openpyxl, and for a file that is no spreadsheet.
    """
    try:
        openpyxl: Any = importlib.import_module("openpyxl")
    except ImportError:
        raise UserError(
            f"{path}: a spreadsheet needs openpyxl: pip install 'alembert[excel]', or save it as "
            "CSV"
        ) from None
    _check_size(file, path)
    with _readable(path):
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheet = next((each for each in book.worksheets if _has_content(each, path)), None)
        if sheet is None:
            raise UserError(f"{path}: the file is empty; give a file with at least one row")
        if len(book.sheetnames) > 1:
            log.info(f"{path}: sheet {sheet.title!r} of {len(book.sheetnames)} is read")
        for number, row in _rows(sheet, path):
            yield number, ["" if cell is None else _text(cell) for cell in row]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises UserError for what openpyxl raises for a file that is no spreadsheet."""
    try:
        yield
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not readable as a spreadsheet ({reason})") from None


def _rows(sheet: Any, path: Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(number, cells) of a sheet's rows, up to its last cell.

    Raises UserError beyond the rows of a spreadsheet: a file may say that a cell is anywhere.
    """
    cells = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells += len(row)
        if number > _LAST or cells > _CELLS:
            raise UserError(f"{path}: sheet {sheet.title!r} is too large; save it as CSV")
        yield number, row


def _has_content(sheet: Any, path: Path) -> bool:
    return any(cell is not None for _, row in _rows(sheet, path) for cell in row)


def _text(cell: Any) -> str:
    """A cell as CSV would have it."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _check_size(file: BinaryIO, path: Path) -> None:
    """Raises UserError for a file that is no zip, or that unpacks to more than a sheet has."""
    try:
        with ZipFile(file) as packed:
            size = sum(each.file_size for each in packed.infolist())
    except (BadZipFile, NotImplementedError):  # the latter of a later version of zip
        raise UserError(f"{path}: not readable as a spreadsheet; save it as CSV") from None
    if size > min(_MOST * 2**20, most_bytes(path)):
        most = min(_MOST * 2**20, most_bytes(path)) / 2**20
        raise UserError(f"{path}: its sheets are over {most:,.0f} MB; save it as CSV")
    file.seek(0)
