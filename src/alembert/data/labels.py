"""Finds the columns of a data set, and reads and checks its labels: names, ids or scores."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, LargeList, List

from alembert.io.errors import UserError

LARGEST = float(np.finfo(np.float32).max)
PAIRS = (
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("#1 string", "#2 string"),  # the header of MRPC
)
TEXTS = ("text", "sentence", "utterance", "query", "content", "review", "question")
SCORES = ("score", "similarity")
LABELS = ("label", "labels", "intent", "category", "class", "target", *SCORES, "quality")
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "slots", "label")


@dataclass(frozen=True)
class Columns:
    """Column names; in token classification `text` holds lists of words and `label` their tags."""

    text: str
    text_pair: str | None
    label: str | None

    @property
    def texts(self) -> list[str]:
        """The names of the columns of text: one, or two for pairs."""
        return [name for name in (self.text, self.text_pair) if name is not None]


def label_column(columns: Columns, source: str) -> str:
    if columns.label is None:
        raise UserError(f"{source}: no labels to learn from; name their column with --label")
    return columns.label


def label_names(data: Dataset, columns: Columns, source: str) -> list[list[str]]:
    """The label names of each row: one for a class, one a word for tags.

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
    """The class ids of label names, ignoring case; integers are ids if no class has such a name.

    Raises UserError for a label that is unknown.
    """
    ids = {name.casefold(): i for i, name in enumerate(labels)}
    if len(ids) < len(labels):  # names that differ by case alone
        ids = {}
    if not any(name.isdecimal() for name in labels):
        ids |= {str(i): i for i in range(len(labels))}
    exact = {name: i for i, name in enumerate(labels)}

    def number(name: str, row: int) -> int:
        class_id = exact.get(name, ids.get(name.casefold()))
        if class_id is None:
            raise UserError(
                f"{source}, row {row}: label {name!r} is none of the {len(labels)} known, "
                f"{list_names(labels)}; fix the row, or use a model of these labels"
            )
        return class_id

    return [[number(name, row) for name in names] for row, names in enumerate(rows, start=1)]


def list_names(names: Sequence[str], most: int = 8) -> str:
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


def find_columns(
    data: Dataset,
    source: str,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    labelled: bool = True,
) -> Columns:
    """The columns to read, ignoring case; `label` is None if not `labelled`.

    Raises UserError that lists the existing columns when one is missing.
    """
    if text_pair is not None and text is None:
        raise UserError(f"--text-pair {text_pair}: name the first text too, with --text")
    if text is not None:
        first = _named(data, source, text, "--text")
        second = _named(data, source, text_pair, "--text-pair") if text_pair else None
        if first == second:
            raise UserError(f"--text-pair {text_pair}: is the first text already; name another")
    else:
        first, second = _guess_texts(data, source, label, labelled)
    if not labelled:
        return Columns(first, second, None)
    if label is not None:
        return Columns(first, second, _named(data, source, label, "--label"))
    names = TAGS if is_list(data, first) else LABELS
    labels = _first(data, [name for name in names if name not in (first, second)])
    if labels is None:
        raise UserError(f"{source}: no column of labels among {_names(data)}; name it with --label")
    return Columns(first, second, labels)


def is_list(data: Dataset, column: str) -> bool:
    """Whether the rows of this column are lists (words, tags, several labels)."""
    return isinstance(data.features[column], List | LargeList)


def _guess_texts(
    data: Dataset, source: str, label: str | None, labelled: bool
) -> tuple[str, str | None]:
    words = _first(data, WORDS)
    if words is not None and is_list(data, words):
        tags = label if label in data.column_names else _first(data, TAGS)
        if not labelled or (tags is not None and is_list(data, tags)):
            return words, None
    for pair in PAIRS:
        first, second = (_first(data, [name]) for name in pair)
        if first is not None and second is not None:
            return first, second
    single = _first(data, TEXTS)
    if single is None:
        raise UserError(f"{source}: no column of text among {_names(data)}; name it with --text")
    return single, None


def _first(data: Dataset, names: Sequence[str]) -> str | None:
    """The column with the first of these names that exists, ignoring case; None if none does."""
    columns = {name.strip().casefold(): name for name in reversed(data.column_names)}
    return next((columns[name] for name in names if name in columns), None)


def _named(data: Dataset, source: str, name: str, option: str) -> str:
    column = name if name in data.column_names else _first(data, [name.casefold()])
    if column is None:
        raise UserError(f"{option} {name}: {source} has no such column; it has {_names(data)}")
    return column


def _names(data: Dataset) -> str:
    return ", ".join(repr(name) for name in data.column_names)
