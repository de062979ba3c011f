"""Tables of separated cells: which separator a file has, and what in it holds nothing."""

import csv
import logging
import re
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path

from alembert.data.files.skipped import BadRow
from alembert.data.files.unpacking import check_columns
from alembert.io.errors import UserError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
SAMPLE = 50  # lines that show the separator
_FIT = 0.8  # the share of rows that have to be as wide as the header; a few may be broken
_NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?")
NO_HEADER = "the first line holds values and not the names of columns: write a header line above it"
_QUOTED = re.compile(r'"([^"]|"")*"')  # a cell as CSV quotes it
_RULE = re.compile(r":?-{3,}:?")  # of a table of Markdown
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

log = logging.getLogger(__name__)
Numbered = Iterator[tuple[int, list[str]]]  # (line, cells)


def separator(sample: Sequence[str], usual: str, path: Path) -> str:
    """The separator of a table by its first lines: `usual`, unless only another fits.

    Another one fits when it splits the header and leaves the rows as many cells. A first line
    "sep=;", which spreadsheets write, names it.
    """
    if sample and (named := _SEP_LINE.fullmatch(sample[0])):
        log.info(f"{path}: its line 'sep={named[1]}' names the separator")
        return named[1]
    if _fits(sample, usual) == 1:
        return usual
    best = max((each for each in SEPARATORS if each != usual), key=lambda s: _fits(sample, s))
    if _fits(sample, best) < _FIT:
        return usual
    log.info(f"{path}: read as cells separated by {SEPARATORS[best]}, not {SEPARATORS[usual]}")
    return best


def separated(text: Iterable[str], usual: str, path: Path) -> tuple[str, Iterator[str], int]:
    """(separator, lines, number of their first) of a table, without a line that names it."""
    rest = iter(text)
    sample = list(islice(rest, SAMPLE))
    each = separator(sample, usual, path)
    first = 2 if sample and has_sep_line(sample[0]) else 1
    return each, chain(sample[first - 1 :], rest), first


def quoted(
    text: Iterable[str], usual: str, path: Path, bad: BadRow
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table, as `rows_of`; a quoted cell may hold separators and line breaks."""
    each, all_lines, first = separated(text, usual, path)
    return rows_of(csv_rows(all_lines, each, path, first), path, bad)


def table_in(sample: Sequence[str], texts: Container[str], labels: Container[str]) -> str:
    """The separator of lines that are a table with usual names of columns; "" for other lines."""
    if sample and (named := _SEP_LINE.fullmatch(sample[0])):
        return named[1]
    for each in SEPARATORS if sample else ():
        names = [name.strip('\ufeff\r" ').casefold() for name in sample[0].split(each)]
        usual = [any(name in known for name in names) for known in (texts, labels)]
        there = any(usual) if each == "\t" else all(usual)  # no text has a name between tabs
        if there and _fits(sample, each) >= _FIT:
            return each
    return ""


def numbers_among(names: Sequence[str]) -> list[str]:
    """The names of columns that are numbers, without those that pandas gives (0, 1)."""
    if list(names) == [str(i) for i in range(len(names))]:
        return []
    return [name for name in names if _NUMBER.fullmatch(name.strip())]


def _fits(sample: Sequence[str], each: str) -> float:
    """The share of rows with as many cells as the header; 0 for a header of one cell, or no CSV."""
    csv.field_size_limit(sys.maxsize)  # the default refuses fields over 128 KB
    try:
        widths = [len(row) for row in csv.reader(sample, delimiter=each) if any(row)]
    except csv.Error:  # a carriage return in a text
        return 0.0
    if not widths or widths[0] < 2:
        return 0.0
    rows = widths[1:] or widths
    return sum(width == widths[0] for width in rows) / len(rows)


def has_sep_line(line: str) -> bool:
    """Whether a first line names the separator, as spreadsheets write it."""
    return _SEP_LINE.fullmatch(line) is not None


def rows_of(numbered: Numbered, path: Path, bad: BadRow) -> Iterator[tuple[str, dict[str, str]]]:
    """("line 3", cells by column) under a header, without rows and unnamed columns of no content.

    `bad` takes a row of another width. Raises UserError for a table without a header or rows.
    """
    line, header = next(numbered, (0, None))
    while header is not None and len(header) > 1 and not any(map(str.strip, header)):
        line, header = next(numbered, (0, None))  # empty rows above the header
    if header is None:
        raise UserError(f"{path}: the file is empty; give a file with at least one row")
    check_columns(path, len(header))
    header = [header[0].lstrip("\ufeff"), *header[1:]]  # after a second mark
    names = _names(header)
    numbered = _below(numbered, header, line, path)
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated and numbers_among(names):
        raise UserError(f"{path}, line {line}: {NO_HEADER}, such as label,text")
    if repeated:
        raise UserError(f"{path}, line {line}: column {repeated[0]!r} is there twice; rename one")
    line, empty, again = 0, 0, 0
    for line, row in numbered:
        if len(row) > 1 and all(map(_is_rule, row)):
            empty += 1
            continue
        if len(row) > 1 and [row[0].lstrip("\ufeff"), *row[1:]] == header:
            again += 1
            continue
        cells = _fitted(row, names)
        if len(cells) != len(names):
            bad(path, f"line {line}", _other_width(row, header))
            continue
        yield f"line {line}", dict(zip(names, cells, strict=True))
    if not line:
        raise UserError(f"{path}: no rows below the header; give a file with at least one")
    if empty:
        log.info(f"{path}: rows without content are left out: {empty:,}")
    if again:
        log.info(f"{path}: rows that repeat the header are left out: {again:,}")


def _is_rule(cell: str) -> bool:
    """Whether a cell is empty, or a part of the rule below the header in a table of Markdown."""
    return not cell.strip() or _RULE.fullmatch(cell.strip()) is not None


def _below(numbered: Numbered, header: Sequence[str], line: int, path: Path) -> Numbered:
    """The rows below a header. Raises UserError for a title that stands above the header."""
    skipped = list[tuple[int, list[str]]]()
    for number, row in numbered:
        skipped.append((number, row))
        if any(map(str.strip, row)):
            title = len(header) > 1 and header[0].strip() and not any(map(str.strip, header[1:]))
            if title and all(map(str.strip, row[:2])):
                raise UserError(
                    f"{path}, line {line}: {header[0]!r} stands alone where the names of the "
                    "columns are needed: delete the lines above the header"
                )
            break
    return chain(skipped, numbered)


def unread_shape(names: Sequence[str], first: Sequence[object], usual: Container[str]) -> str:
    """What to do with rows that are no texts and labels, by their columns' names; "" for others.

    These are cells with an unknown separator, lines with tabs in plain text (of which `first` are
    the first ones), and a word a row. `usual` are names of columns.
    """
    known = {name.strip().casefold() for name in names}
    if known & {"word", "token"} and known & {"tag", "ner", "ner_tag", "pos"}:
        return (
            "it has a word a row, which is not read: write words and their tags as lines of a "
            ".conll file, with a blank line after each sentence"
        )
    if len(names) > 1:
        return ""
    if known == {"text"} and all("\t" in str(text) for text in first):
        return "its lines are cells between tabs: write a header line above them (text, label)"
    parts = [part for part in re.split(r"(\W+)", names[0].strip()) if part]
    if sum(part.casefold() in usual for part in parts) < 2:
        return ""
    shown = SEPARATORS.get(parts[1].strip(), repr(parts[1]))
    return (
        f"its cells seem to be separated by {shown}, and not all lines are: separate those of each "
        "line by commas, semicolons, tabs or pipes, or name another character in a first line "
        "such as sep=^"
    )


def _names(header: Sequence[str]) -> list[str]:
    """The names of columns; of several unnamed ones each has another number of blanks."""
    blanks = (" " * number for number in count())
    if sum(not name.strip() for name in header) < 2:
        return list(header)
    return [name if name.strip() else next(blanks) for name in header]


def _fitted(row: list[str], names: Sequence[str]) -> list[str]:
    """A row without empty cells past the header, and with those that unnamed columns lack."""
    if len(row) > len(names) and not any(map(str.strip, row[len(names) :])):
        return row[: len(names)]
    if 1 < len(row) < len(names) and not any(map(str.strip, names[len(row) :])):
        return row + [""] * (len(names) - len(row))
    return row


def _other_width(row: Sequence[str], header: Sequence[str]) -> str:
    others = [each for each in SEPARATORS if len(header) == 1 and each in header[0]]
    hint = "in CSV, quote a text that holds a comma"
    if others:
        hint = f"the header may be separated by {SEPARATORS[others[0]]}, and this row is not"
    return f"{len(row)} fields where the header has {len(header)}; fix the row ({hint})"


def without_unnamed(columns: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    """The columns but those that have neither a name nor content."""
    gone = [
        name
        for name, cells in columns.items()
        if not name.strip() and not any(cell and str(cell).strip() for cell in cells)
    ]
    if gone and len(gone) < len(columns):
        log.info(f"{path}: columns without name and content are left out: {len(gone)}")
        return {name: cells for name, cells in columns.items() if name not in gone}
    return columns


def tab_rows(numbered: Iterable[tuple[int, str]], path: Path) -> Numbered:
    """(line, cells) of lines with tabs; quotation marks belong to the text, as in GLUE.

    They do not where pandas has put them: around cells in which others are doubled.
    """
    rest = iter(numbered)
    sample = list(islice(rest, SAMPLE))
    cells = [cell for _, line in sample for cell in line.split("\t") if cell[:1] == '"']
    unquote = bool(cells) and all(map(_QUOTED.fullmatch, cells)) and any('""' in c for c in cells)
    if unquote:
        log.info(f"{path}: quotation marks around cells are taken off, and doubled ones are single")
    for number, line in chain(sample, rest):
        row = line.split("\t")
        if unquote:
            row = [_unquoted(cell) for cell in row]
        if line:
            yield number, row


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


def csv_rows(lines: Iterable[str], each: str, path: Path, first: int = 1) -> Numbered:
    """(line, cells) of each row of lines, the first of which has the number `first`.

    A quoted cell may hold separators and line breaks.
    """
    csv.field_size_limit(sys.maxsize)
    rest = iter(lines)
    sample = list(islice(rest, SAMPLE))
    blanks = any(f'{each} "' in text for text in sample)  # between a separator and a quoted cell
    text = chain(sample, rest)
    rows = csv.reader(text, strict=True, delimiter=each, skipinitialspace=blanks)
    line = first
    try:
        for row in rows:
            if row:
                yield line, row
            line = rows.line_num + first  # the next row's first line; line_num is this row's last
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: {error}; fix the quotes of this row") from None
