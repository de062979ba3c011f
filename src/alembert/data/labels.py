"""The labels of a data set, row by row: names, ids of names, or scores, checked on the way."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from alembert.data.columns import Columns, is_list
from alembert.io.errors import UserError

LARGEST = float(np.finfo(np.float32).max)


def label_column(columns: Columns, source: str) -> str:
    if columns.label is None:
        raise UserError(f"{source}: no labels to learn from; name their column with --label")
    return columns.label


def label_names(data: Dataset, columns: Columns, source: str) -> list[list[str]]:
    """Per row, the names of its labels: one for a class, one a word for tags.

    Raises UserError for a row with an empty label, or with more or fewer tags than words.
    """
    column = label_column(columns, source)
    feature = getattr(data.features[column], "feature", data.features[column])
    nested = is_list(data, column)

    def name(value: Any, row: int) -> str:
        coded = isinstance(feature, ClassLabel)
        if value is None or (coded and value < 0) or not str(value).strip():
            raise UserError(f"{source}, row {row}: {column!r} is empty; fill it or drop the row")
        return str(feature.names[value]) if coded else str(value)

    rows = [
        [name(value, row) for value in ((values or []) if nested else [values])]
        for row, values in enumerate(data[column][:], start=1)
    ]
    if is_list(data, columns.text):
        for row, (words, tags) in enumerate(zip(data[columns.text][:], rows, strict=True), start=1):
            if len(words or []) != len(tags):
                count = f"{len(words or [])} words but {len(tags)} tags"
                raise UserError(f"{source}, row {row}: {count}; give each word one tag")
    return rows


def placeholders(labels: Sequence[str]) -> bool:
    return all(re.fullmatch("LABEL_[0-9]+", name) for name in labels)


def label_ids(rows: list[list[str]], labels: Sequence[str], source: str) -> list[list[int]]:
    """Names -> ids, whatever their case; an integer is an id where no class has such a name."""
    ids = {name.casefold(): i for i, name in enumerate(labels)}
    if len(ids) < len(labels):  # names that differ by case alone
        ids = {}
    if not any(name.isdecimal() for name in labels):
        ids |= {str(i): i for i in range(len(labels))}
    exact = {name: i for i, name in enumerate(labels)}

    def number(name: str, row: int) -> int:
        found = exact.get(name, ids.get(name.casefold()))
        if found is None:
            raise UserError(
                f"{source}, row {row}: label {name!r} is none of the {len(labels)} known, "
                f"{listed(labels)}; mend the row, or use a model of these labels"
            )
        return found

    return [[number(name, row) for name in names] for row, names in enumerate(rows, start=1)]


def listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def scores(data: Dataset, columns: Columns, source: str) -> list[float]:
    column = label_column(columns, source)
    values = data[column][:]
    for row, value in enumerate(values, start=1):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{source}, row {row}: {column!r} is {value!r}; give a number")
        if abs(value) > LARGEST:
            raise UserError(f"{source}, row {row}: {column!r} is {value!r}; give one in 32 bits")
    return [float(value) for value in values]
