"""JSON lines, and the shapes of a JSON document: rows, columns, splits, and those of tools."""

import json
import logging
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from alembert.data.files.skipped import BadRow
from alembert.data.questions import squad
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_DOCUMENT = re.compile(r"\[\s*([\[{]|$)|\{$")  # how a document begins that is no object a line
# keys of rows, the first of which is no name of a column
_ROWS = ("data", "rows", "examples", "common_examples", "items", "records")
_VALUE = re.compile(r"(\s*)\{")
_ORIENT = 'write it with DataFrame.to_json(..., orient="records")'

log = logging.getLogger(__name__)
Rows = Iterator[tuple[str, dict[str, Any]]]  # each with its position: "line 3" or "row 3"
Numbered = Iterable[tuple[int, str]]  # (line, its text)


def of_lines(
    numbered: Numbered, path: Path, bad: BadRow, split: str, usual: Container[str]
) -> Rows:
    """The rows of lines with an object each, or of one document over them.

    `bad` takes a line that cannot be read; `split` and `usual` are as for `rows_of`.
    """
    filled = ((number, line) for number, line in numbered if line.strip())
    first = next(filled)
    if _DOCUMENT.match(first[1].strip()):
        log.info(f"{path}: read as one JSON document, and not as an object a line")
        return _document([first, *filled], path, bad, split, usual)
    return _lines(chain([first], filled), path, bad)


def of_text(
    numbered: Sequence[tuple[int, str]],
    path: Path,
    bad: BadRow,
    split: str,
    usual: Container[str],
) -> Rows:
    """The rows of a document, or of lines with an object each."""
    filled = [(number, line) for number, line in numbered if line.strip()]
    if len(filled) > 1 and all(line.strip()[0] == "{" for _, line in filled):
        log.info(f"{path}: read as JSON lines, an object a line")
        return _lines(filled, path, bad)
    return _document(numbered, path, bad, split, usual)


def half_pair(values: Sequence[Any]) -> tuple[int, str]:
    """(row from 1, character) of the first unpaired surrogate in values that hold one."""
    for row, value in enumerate(values, start=1):
        text = json.dumps(value, ensure_ascii=False, default=str)
        if half := re.search("[\ud800-\udfff]", text):
            return row, ascii(half[0])
    return 0, "a character"


def _lines(numbered: Numbered, path: Path, bad: BadRow) -> Rows:
    def values() -> Iterator[tuple[str, Any]]:
        for number, line in numbered:
            text = line.strip().removesuffix(",") if line.rstrip().endswith("},") else line
            try:
                yield f"line {number}", _loads(path, text, number)
            except UserError as error:
                bad(path, f"line {number}", str(error).partition(f"line {number}: ")[2])

    return _objects(values(), path, bad)


def _document(
    numbered: Sequence[tuple[int, str]],
    path: Path,
    bad: BadRow,
    split: str,
    usual: Container[str],
) -> Rows:
    text, first = "\n".join(line for _, line in numbered), numbered[0][0]
    try:
        content = _loads(path, text, first)
    except UserError:
        content = _series(text)
        if not content:
            raise
        log.info(f"{path}: read as objects one after the other: {len(content):,}")
    rows = rows_of(content, path, split, usual)
    return _objects(((f"row {n}", row) for n, row in enumerate(rows, start=1)), path, bad)


def _series(text: str) -> list[Any]:
    """The objects of a text that holds several over any number of lines; [] for another text."""
    decoder, values, start = json.JSONDecoder(), list[Any](), 0
    while match := _VALUE.match(text, start):
        try:
            _, end = decoder.raw_decode(text, match.end(1))
            values.append(json_of(text[match.end(1) : end]))
        except (ValueError, RecursionError):
            return []
        start = end
    return values if len(values) > 1 and not text[start:].strip() else []


def _loads(path: Path, text: str, line: int) -> Any:
    try:
        return json_of(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise UserError(f"{where}: not JSON ({error.msg}); fix the line") from None
    except ValueError as error:  # JSON with a value that cannot be kept
        raise UserError(f"{path}, line {line}: {error}; fix it") from None


def _objects(values: Iterable[tuple[str, Any]], path: Path, bad: BadRow) -> Rows:
    for where, row in values:
        if isinstance(row, dict) and row:
            yield where, row
        else:
            bad(path, where, "not an object of columns; write {...} a row")


def rows_of(
    content: Any, path: Path | str, split: str, usual: Container[str] = ()
) -> Iterable[Any]:
    """The rows of a document; of one that holds splits, those of `split`.

    Read are a list of objects, an object of lists, either under a key such as "data", an object of
    one of these for each split, questions in SQuAD's form, and what DataFrame.to_json writes by
    column, by row ("index") and as "split". `usual` are names of columns, which tell them from
    those of rows. Raises UserError for another shape.
    """
    if isinstance(content, dict) and (parts := _splits(content)):
        name = _part(parts, path, split)
        return rows_of(parts[name], f"{path}, split {name!r}", split, usual)
    if (questions := squad.rows_of(content, path)) is not None:
        return questions
    if isinstance(content, dict):
        content = _of_object(_under_key(content, path, usual), path, usual)
    if isinstance(content, Iterator):
        return content
    if isinstance(content, str):
        raise UserError(
            f"{path}: holds a text, which is perhaps JSON that was encoded twice: write the rows "
            "themselves, and not the text that DataFrame.to_json or json.dumps has made of them"
        )
    if not isinstance(content, list):
        raise UserError(f"{path}: neither a list of objects nor an object of lists")
    if content and all(isinstance(row, list) for row in content):
        if any(isinstance(cell, dict) for row in content for cell in row):
            raise UserError(
                f"{path}: its rows are lists of a text and an object, as spaCy has them, whose "
                "spans of characters are not read: write words and their tags (CoNLL), or objects "
                "with a text and a label"
            )
        raise UserError(
            f"{path}: its rows are lists without the names of columns; write objects such as "
            f'{{"text": "good", "label": "pos"}}, or {_ORIENT}'
        )
    return content


def _splits(content: dict[str, Any]) -> dict[str, Any]:
    """The splits of a document by their names; {} for a document of another shape."""
    known = {name for names in SPLIT_NAMES.values() for name in names}
    parts = {key: value for key, value in content.items() if key.casefold() in known}
    # beside them there may be splits of another kind, such as oos_train
    others = [key for key in content if key not in parts]
    named = all(known & set(re.split("[_-]", key.casefold())) for key in others)
    whole = parts and named and all(_is_table(part) for part in content.values())
    return content if whole else {}


def _is_table(part: Any) -> bool:
    if isinstance(part, list):
        return bool(part) and all(isinstance(row, dict | list) for row in part)
    return isinstance(part, dict) and bool(part)


def _part(parts: dict[str, Any], path: Path | str, split: str) -> str:
    """The name of the split to read. Raises UserError where it is not there."""
    named = [key for key in parts if key.casefold() in SPLIT_NAMES[split]]
    if not named and len(parts) > 1:
        raise UserError(
            f"{path}: no split {split!r}; there are {', '.join(parts)}: give each a file"
        )
    chosen = named[0] if named else next(iter(parts))
    log.info(f"{path}: holds the splits {', '.join(parts)}, and {chosen!r} is read")
    return chosen


def _under_key(content: dict[str, Any], path: Path | str, usual: Container[str]) -> Any:
    """The rows that an object holds under a key beside others; the object itself without one."""
    inner = next(iter(content.values())) if len(content) == 1 else None
    if isinstance(inner, dict) and (found := _under_key(inner, path, usual)) is not inner:
        return found
    keys = _ROWS if not any(key.strip().casefold() in usual for key in content) else _ROWS[:1]
    for key in keys:
        rows = content.get(key)
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            continue
        log.info(f"{path}: the rows are those under {key!r}")
        wrapped = all(isinstance(row.get("row"), dict) for row in rows)  # the hub's viewer
        return [row["row"] for row in rows] if wrapped else rows
    return content


def _of_object(content: Any, path: Path | str, usual: Container[str]) -> Any:
    if not isinstance(content, dict):
        return content
    inner, values = content.get("data"), list(content.values())
    columns = content.get("columns")
    if isinstance(inner, list) and isinstance(columns, list) and _widths(inner) == {len(columns)}:
        log.info(f'{path}: read as pandas writes it with orient="split"')
        return (dict(zip(map(str, columns), row, strict=True)) for row in inner)
    if content and all(isinstance(value, list) for value in values):
        if len({len(each) for each in values}) > 1:
            counts = ", ".join(f"{key}: {len(each)}" for key, each in content.items())
            raise UserError(f"{path}: columns of different length ({counts}); fix the file")
        return (dict(zip(content, row, strict=True)) for row in zip(*values, strict=True))
    if content and all(isinstance(value, dict) for value in values):
        return _of_index(content, path, usual)
    if content and not any(isinstance(value, dict | list) for value in values):
        return [content]  # a single row
    return content


def _widths(rows: Sequence[Any]) -> set[int]:
    return {len(row) if isinstance(row, list) else -1 for row in rows}


def _of_index(content: dict[str, Any], path: Path | str, usual: Container[str]) -> Any:
    """The rows of an object of objects, by column or by row, which pandas numbers from 0."""
    inner = list(next(iter(content.values())))
    outer_is_index, inner_is_index = _are_numbers(list(content)), _are_numbers(inner)
    if outer_is_index == inner_is_index:
        outer_is_index = sum(key.strip().casefold() in usual for key in inner) > 1
        inner_is_index = sum(key.strip().casefold() in usual for key in content) > 1
    if any(each.keys() != set(inner) for each in content.values()) or not inner:
        raise UserError(f"{path}: an object of objects with different keys; {_ORIENT}")
    if outer_is_index == inner_is_index:
        raise UserError(
            f"{path}: an object of objects: it does not tell rows from columns; {_ORIENT}"
        )
    if outer_is_index:
        log.info(f'{path}: read as pandas writes it with orient="index"')
        return list(content.values())
    log.info(f"{path}: read as pandas writes it by default, by column")
    return ({name: cells[row] for name, cells in content.items()} for row in inner)


def _are_numbers(keys: Sequence[str]) -> bool:
    return all(key.isdecimal() for key in keys)
