"""Spreadsheets: the first sheet of an .xlsx file that holds rows."""

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

from alembert.io.errors import UserError

OTHERS = (".xls", ".ods", ".xlsm", ".xlsb", ".numbers")  # spreadsheets that are not read
_MOST = 100  # MB that a sheet may be when unpacked

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
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if _has_content(sheet)]
    except (BadZipFile, KeyError, ValueError, OSError, TypeError) as error:
        raise UserError(f"{path}: not readable as a spreadsheet ({error})") from None
    if not sheets:
        raise UserError(f"{path}: the file is empty; give a file with at least one row")
    if len(book.sheetnames) > 1:
        log.info(f"{path}: sheet {sheets[0].title!r} of {len(book.sheetnames)} is read")
    for number, row in enumerate(sheets[0].iter_rows(values_only=True), start=1):
        yield number, ["" if cell is None else _text(cell) for cell in row]


def _has_content(sheet: Any) -> bool:
    rows = sheet.iter_rows(values_only=True)
    return any(cell is not None for row in rows for cell in row)


def _text(cell: Any) -> str:
    """A cell as CSV would have it."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _check_size(file: BinaryIO, path: Path) -> None:
    """Raises UserError for a file that is no zip, or that unpacks to more than a sheet has."""
    try:
        with ZipFile(file) as packed:
            size = sum(each.file_size for each in packed.infolist())
    except BadZipFile:
        raise UserError(f"{path}: not readable as a spreadsheet; save it as CSV") from None
    if size > _MOST * 2**20:
        raise UserError(f"{path}: its sheets are over {_MOST} MB; save it as CSV")
    file.seek(0)
