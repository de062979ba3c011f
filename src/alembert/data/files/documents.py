"""The shapes of a JSON document: rows, columns, splits, and those that pandas and tools write."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from alembert.io.errors import UserError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_ORIENT = 'write it with DataFrame.to_json(..., orient="records")'

log = logging.getLogger(__name__)


def rows_of(content: Any, path: Path | str, split: str) -> Iterable[Any]:
    """The rows of a document; of one that holds splits, those of `split`.

    Read are a list of objects, an object of lists, either under the key "data", an object of one
    of these for each split, and what DataFrame.to_json writes by column, by row ("index") and as
    "split". Raises UserError for another shape.
    """
    if isinstance(content, dict) and (parts := _splits(content)):
        name = _part(parts, path, split)
        return rows_of(parts[name], f"{path}, split {name!r}", split)
    if isinstance(content, dict):
        content = _of_object(content, path)
    if isinstance(content, Iterator):
        return content
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


def _of_object(content: dict[str, Any], path: Path | str) -> Any:
    inner, values = content.get("data"), list(content.values())
    columns = content.get("columns")
    if isinstance(inner, list) and isinstance(columns, list) and _widths(inner) == {len(columns)}:
        log.info(f'{path}: read as pandas writes it with orient="split"')
        return (dict(zip(map(str, columns), row, strict=True)) for row in inner)
    if isinstance(inner, list) and all(isinstance(row, dict) for row in inner):
        return inner
    if content and all(isinstance(value, list) for value in values):
        if len({len(each) for each in values}) > 1:
            counts = ", ".join(f"{key}: {len(each)}" for key, each in content.items())
            raise UserError(f"{path}: columns of different length ({counts}); fix the file")
        return (dict(zip(content, row, strict=True)) for row in zip(*values, strict=True))
    if content and all(isinstance(value, dict) for value in values):
        return _of_index(content, path)
    if content and not any(isinstance(value, dict | list) for value in values):
        return [content]  # a single row
    return content


def _widths(rows: Sequence[Any]) -> set[int]:
    return {len(row) if isinstance(row, list) else -1 for row in rows}


def _of_index(content: dict[str, Any], path: Path | str) -> Any:
    """The rows of an object of objects, by column or by row, which pandas numbers from 0."""
    inner = list(next(iter(content.values())))
    outer_is_index, inner_is_index = _are_numbers(list(content)), _are_numbers(inner)
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
