"""Finds the columns of a data set, and reads and checks its labels: names, ids or scores."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alembert.data.files.delimited import NO_HEADER, SAMPLE, numbers_among, unread_shape
from alembert.io.errors import UserError, near

if TYPE_CHECKING:  # it takes longer to import than all else that `predict` needs
    from datasets import Dataset

LARGEST = float(np.finfo(np.float32).max)
ZERO_ONE = {
    "0", "1", "0.", "1.", "0.0", "1.0", "True", "False", "true", "false", "TRUE", "FALSE",
}  # fmt: skip
MANY = 0.1  # the share of unknown labels from which on a file is taken for one of another task
PAIRS = (
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("#1 string", "#2 string"),  # the header of MRPC
)
# pairs by names that other files give to a single text: both have to hold texts, and labels be
# in a third column
LOOSE_PAIRS = (
    ("question", "answer"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "answer"),
    ("claim", "evidence"),
    ("context", "response"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("sent1", "sent2"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("title", "description"),
)
TEXTS = (
    "text", "sentence", "utterance", "query", "content", "review", "question", "comment_text",
    "comment", "tweet", "message", "body", "document", "review_body", "review_text", "reviewtext",
)  # fmt: skip
TEXT_NAMES = (*TEXTS, *(name for pair in (*PAIRS, *LOOSE_PAIRS) for name in pair))
SCORES = ("score", "similarity")
LABELS = (
    "label", "labels", "intent", "category", "class", "target", *SCORES, "quality", "gold_label",
    "sentiment", "emotion", "topic", "stars", "rating", "cats",
)  # fmt: skip
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "slots", "label", "pos_tags", "upos")

log = logging.getLogger(__name__)


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
        coded = type(feature).__name__ == "ClassLabel"
        if value is None or (coded and value < 0) or not str(value).strip():
            raise UserError(f"{source}, row {row}: {column!r} is empty; fill it or drop the row")
        return str(feature.names[value]) if coded else str(value)

    shared = dict[Any, list[str]]()  # one list for all rows of a class

    def names(value: Any, row: int) -> list[str]:
        if nested or not isinstance(value, Hashable):
            return [name(each, row) for each in (value if nested else [value]) or ()]
        if value not in shared:
            shared[value] = [name(value, row)]
        return shared[value]

    rows = [names(value, row) for row, value in enumerate(data[column][:], start=1)]
    if is_list(data, columns.text):
        for row, (words, tags) in enumerate(zip(data[columns.text][:], rows, strict=True), start=1):
            if len(words or []) != len(tags):
                count = f"{len(words or [])} words but {len(tags)} tags"
                raise UserError(f"{source}, row {row}: {count}; give each word one tag")
    return rows


def placeholders(labels: Sequence[str]) -> bool:
    return all(re.fullmatch("LABEL_[0-9]+", name) for name in labels)


def _ids(labels: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """The ids of label names as they are written, and in lower case or as integers."""
    ids = {name.casefold(): i for i, name in enumerate(labels)}
    if len(ids) < len(labels):  # names that differ by case alone
        ids = {}
    if not any(name.isdecimal() for name in labels):
        ids |= {str(i): i for i in range(len(labels))}
    return {name: i for i, name in enumerate(labels)}, ids


def unknown_labels(rows: list[list[str]], labels: Sequence[str]) -> Counter[str]:
    """How often each label name comes that is none of `labels`, by the rules of `label_ids`."""
    exact, ids = _ids(labels)
    given = Counter(name for names in rows for name in names)
    return Counter({
        name: count
        for name, count in given.items()
        if exact.get(name, ids.get(name.casefold())) is None
    })  # fmt: skip


def label_ids(
    rows: list[list[str]],
    labels: Sequence[str],
    source: str,
    unseen: list[str] | None = None,
) -> list[list[int]]:
    """The class ids of label names, ignoring case; integers are ids if no class has such a name.

    Raises UserError for a label that is unknown; with `unseen`, only when more than MANY of the
    labels are. The others are added to it, and have the ids after the last class.
    """
    exact, ids = _ids(labels)
    given = Counter(name for names in rows for name in names)
    unknown = unknown_labels(rows, labels)
    wrong = unknown.total()
    if unknown and (unseen is None or wrong > MANY * given.total()):
        row, name = next((n, x) for n, names in enumerate(rows, 1) for x in names if x in unknown)
        raise UserError(
            f"{source}, row {row}: label {name!r} is none of the {len(labels)} known, "
            f"{list_names(labels)}; fix the row, or use a model of these labels{near(name, labels)}"
        )
    if unknown and unseen is not None:
        unseen += sorted(unknown)
        counts = list_names([f"{name!r} ({given[name]:,})" for name in unseen])
        log.warning(
            f"{source}: {wrong:,} of {given.total():,} labels were not trained on and count as "
            f"errors of every model: {counts}"
        )
        exact |= {name: len(labels) + i for i, name in enumerate(unseen)}
    return [[exact.get(x, ids.get(x.casefold(), -1)) for x in names] for names in rows]


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
    first: str | None
    if text is not None:
        first = named_column(data, source, text, "--text")
        second = named_column(data, source, text_pair, "--text-pair") if text_pair else None
        if first == second:
            raise UserError(f"--text-pair {text_pair}: is the first text already; name another")
    else:
        first, second = _guess_texts(data, label, labelled)
    labels: str | None = None
    if label is not None and labelled:
        labels = named_column(data, source, label, "--label")
    elif labelled:
        names = TAGS if first is not None and is_list(data, first) else LABELS
        labels = first_of(data, [name for name in names if name not in (first, second)])
        if labels is None and (rest := _only_other(data, first)) is not None:
            labels = rest
            log.info(f"{source}: {rest!r}, the only column beside {first!r}, is read as the label")
    if first is None or (labels is None and labelled):
        raise UserError(_missing(data, source, first is None, labels is None and labelled))
    return Columns(first, second, labels)


def _only_other(data: Dataset, first: str | None) -> str | None:
    """The column beside the text, where there is one alone whose values come again like labels."""
    rest = [name for name in data.column_names if name != first]
    if first is None or len(rest) != 1 or type(data.features[rest[0]]).__name__ != "Value":
        return None
    values = [value for value in data[rest[0]][:] if value is not None]
    return rest[0] if len(set(values)) <= len(values) / 2 else None


def _missing(data: Dataset, source: str, text: bool, label: bool) -> str:
    """The message that asks for the columns that were not found, all in one."""
    first = data[data.column_names[0]][:SAMPLE]
    if shape := unread_shape(data.column_names, first, (*TEXT_NAMES, *LABELS)):
        return f"{source}: {shape}"
    if _lacks_header(data):
        return f"{source}: {NO_HEADER}, such as label,text ({_names(data)})"
    what = " and none of labels" * (text and label)
    noun = "text" if text else "labels"
    options = "them with --text and --label" if what else f"it with --{'text' if text else 'label'}"
    message = f"{source}: no column of {noun}{what} among {_names(data)}; name {options}"
    objects = _of_objects(data)
    if label and not objects and len(flags := flag_columns(data)) > 1:
        message += f", or several labels a text with --label {','.join(flags)}"
    if text and not objects and len(data.column_names) > 2:
        message += "; of pairs of texts name the second with --text-pair"
    message += objects
    values = (f"{name} = {_short(data[0][name])}" for name in data.column_names)
    return f"{message} (row 1: {', '.join(values)})" if len(data) else message


def _lacks_header(data: Dataset) -> bool:
    """Whether the names of columns are values: numbers above numbers, or there once more below."""
    numbers = numbers_among(data.column_names)
    for name in data.column_names:
        numeric = str(getattr(data.features[name], "dtype", "")).startswith(("int", "float"))
        if (numeric and name in numbers) or (holds_text(data, name) and name in data[name][:]):
            return True
    return False


def _of_objects(data: Dataset) -> str:
    """What to do with columns that hold objects, such as spans of characters; "" without one."""
    inner = {name: getattr(each, "feature", each) for name, each in data.features.items()}
    objects = {name: each for name, each in inner.items() if isinstance(each, dict) and each}
    offsets = ({"start", "end", "label"}, {"start_offset", "end_offset"})
    spans = [name for name, each in objects.items() if any(keys <= set(each) for keys in offsets)]
    if spans:
        return (
            f"; {spans[0]!r} holds spans of characters, which are not read: write words and their "
            "tags (CoNLL)"
        )
    if objects:
        return (
            f"; objects within rows ({', '.join(map(repr, objects))}) are not read: export rows of "
            "a text and a label (Label Studio: JSON-MIN or CSV), or of words and tags"
        )
    return ""


def _short(value: Any, most: int = 30) -> str:
    text = repr(value)
    return text if len(text) <= most else text[:most] + "..."


def flag_columns(data: Dataset) -> list[str]:
    """The columns that hold nothing but 0 and 1, and both somewhere."""
    plain = [name for name in data.column_names if type(data.features[name]).__name__ == "Value"]
    values = {name: set(map(str, data[name][:])) for name in plain}
    return [name for name in plain if values[name] <= ZERO_ONE and len(values[name]) > 1]


def is_list(data: Dataset, column: str) -> bool:
    """Whether the rows of this column are lists (words, tags, several labels)."""
    return type(data.features[column]).__name__ in ("List", "LargeList")


def _guess_texts(data: Dataset, label: str | None, labelled: bool) -> tuple[str | None, str | None]:
    words = first_of(data, WORDS)
    if words is not None and is_list(data, words):
        tags = label if label in data.column_names else first_of(data, TAGS)
        if not labelled or (tags is not None and is_list(data, tags)):
            return words, None
    for pair in PAIRS:
        first, second = (first_of(data, [name]) for name in pair)
        if first is not None and second is not None:
            return first, second
    single = first_of(data, TEXTS)
    for pair in LOOSE_PAIRS:
        first, second = (first_of(data, [name]) for name in pair)
        if first is None or second is None or single not in (None, first, second):
            continue
        others = [name for name in LABELS if name not in pair]
        third = label not in (first, second) if label else first_of(data, others) is not None
        if (third or not labelled) and holds_text(data, first) and holds_text(data, second):
            return first, second
    return single or words, None


def holds_text(data: Dataset, column: str) -> bool:
    return str(getattr(data.features[column], "dtype", "")).endswith("string")


def first_of(data: Dataset, names: Sequence[str]) -> str | None:
    """The column with the first of these names that exists, ignoring case; None if none does."""
    columns = {name.strip().casefold(): name for name in reversed(data.column_names)}
    return next((columns[name] for name in names if name in columns), None)


def named_column(data: Dataset, source: str, name: str, option: str) -> str:
    """The column of a name, ignoring case. Raises UserError for one that is not there."""
    column = name if name in data.column_names else first_of(data, [name.casefold()])
    if column is None:
        hint = near(name, data.column_names)
        raise UserError(
            f"{option} {name}: {source} has no such column; it has {_names(data)}{hint}"
        )
    return column


def _names(data: Dataset) -> str:
    return ", ".join(repr(name) for name in data.column_names)
