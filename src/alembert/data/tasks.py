"""What a data set asks for: its kind of task, its labels, its metric, and its rows encoded."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from alembert.data.columns import SCORES, Columns, find_columns, is_list
from alembert.data.encoded import IGNORED, Encoded, concat
from alembert.data.sources import GLUE
from alembert.errors import UserError

__all__ = [
    "Columns",
    "Encoded",
    "Kind",
    "Task",
    "concat",
    "encode",
    "find_columns",
    "hold_out",
    "infer_task",
    "is_bio",
]

Kind = Literal["classification", "regression", "multilabel", "tokens"]
METRICS: dict[Kind, tuple[str, ...]] = {  # the first is the headline unless another is named
    "classification": ("accuracy", "f1", "macro_f1", "matthews"),
    "regression": ("pearson", "spearman", "mse"),
    "multilabel": ("micro_f1", "macro_f1", "accuracy"),
    "tokens": ("span_f1", "accuracy"),
}


@dataclass(frozen=True)
class Task:
    """`labels`: class names in the order of their ids, or ("score",) for regression."""

    kind: Kind
    labels: tuple[str, ...]
    metric: str
    pair: bool


def is_bio(labels: Sequence[str]) -> bool:
    """Whether tags mark spans: O, B-x, I-x (and E-x, S-x of IOBES)."""
    return any(re.match("[BI]-", tag) for tag in labels) and all(
        re.fullmatch("O|[BIES]-.+", tag) for tag in labels
    )


def infer_task(
    train: Dataset,
    columns: Columns,
    source: str,
    known_labels: Sequence[str] | None = None,
    metric: str | None = None,
) -> Task:
    """The task of a data set by the type of its labels.

    Strings and integers are classes, fractions (or integers called a score) are regression,
    lists are several labels, lists beside lists of words are tags. `known_labels` (a teacher's)
    give the order of ids; classes may then be ids too. `source` "mrpc" and the like bring GLUE's
    order and metric. Raises UserError for labels that are empty, unknown, or all the same.
    """
    kind = _kind(train, columns, source, known_labels)
    if kind == "regression":
        _scores(train, columns, source)
        labels: tuple[str, ...] = ("score",)
    else:
        labels = _order(train, columns, source, known_labels)
        if len(labels) < 2:
            raise UserError(f"{source}: every label is {labels[0]!r}; a task needs two or more")
    usual = METRICS[kind][1] if kind == "tokens" and not is_bio(labels) else METRICS[kind][0]
    chosen = metric or (GLUE[source].metric if source in GLUE else usual)
    if chosen not in METRICS[kind] or (chosen == "span_f1" and not is_bio(labels)):
        raise UserError(f"metric {chosen}: not for {kind}; there are {', '.join(METRICS[kind])}")
    return Task(kind, labels, chosen, columns.text_pair is not None)


def _kind(
    data: Dataset, columns: Columns, source: str, known_labels: Sequence[str] | None
) -> Kind:
    label = _label_column(columns, source)
    if is_list(data, columns.text):
        if not is_list(data, label):
            raise UserError(f"{source}: {columns.text!r} holds lists of words, {label!r} no lists")
        return "tokens"
    if is_list(data, label):
        return "multilabel"
    feature = data.features[label]
    dtype = str(getattr(feature, "dtype", feature))
    number = "int" in dtype and not isinstance(feature, ClassLabel)
    one_output = known_labels is not None and len(known_labels) == 1
    if number and (label.strip().casefold() in SCORES or one_output):
        return "regression"
    if not dtype.startswith(("float", "decimal")):
        return "classification"
    if known_labels is not None and not one_output and not _placeholders(known_labels):
        raise UserError(
            f"{source}: {label!r} holds scores but the model knows the classes "
            f"{_listed(known_labels)}; name another column with --label"
        )
    return "regression"


def _label_column(columns: Columns, source: str) -> str:
    if columns.label is None:
        raise UserError(f"{source}: no labels to learn from; name their column with --label")
    return columns.label


def _names(data: Dataset, columns: Columns, source: str) -> list[list[str]]:
    """Per row, the names of its labels: one for a class, one a word for tags.

    Raises UserError for a row with an empty label, or with more or fewer tags than words.
    """
    column = _label_column(columns, source)
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


def _order(
    data: Dataset, columns: Columns, source: str, known_labels: Sequence[str] | None
) -> tuple[str, ...]:
    """Class names in the order of ids: the teacher's, the data set's own, or sorted."""
    rows = _names(data, columns, source)
    feature = data.features[_label_column(columns, source)]
    own = tuple(getattr(getattr(feature, "feature", feature), "names", ()))
    own = GLUE[source].labels if source in GLUE else own
    if known_labels is not None:
        # LABEL_0, LABEL_1 name nothing: the data's own order, if it has one, is the one meant
        renamed = own and len(own) == len(known_labels) and _placeholders(known_labels)
        own = own if renamed else tuple(known_labels)
    if own:
        _ids(rows, own, source)
        return own
    found = {name for names in rows for name in names}
    if not found:
        raise UserError(f"{source}: no row has a label")
    integers = all(re.fullmatch("-?[0-9]+", name) for name in found)
    return tuple(sorted(found, key=int if integers else None))


def _placeholders(labels: Sequence[str]) -> bool:
    return all(re.fullmatch("LABEL_[0-9]+", name) for name in labels)


def _ids(rows: list[list[str]], labels: Sequence[str], source: str) -> list[list[int]]:
    """Names -> ids; an integer stands for an id where no class bears a number as its name."""
    ids = {name: i for i, name in enumerate(labels)}
    if not any(name.isdecimal() for name in labels):
        ids |= {str(i): i for i in range(len(labels))}
    for row, names in enumerate(rows, start=1):
        for name in names:
            if name not in ids:
                raise UserError(
                    f"{source}, row {row}: label {name!r} is none of the {len(labels)} known, "
                    f"{_listed(labels)}; mend the row or the model's id2label"
                )
    return [[ids[name] for name in names] for names in rows]


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _scores(data: Dataset, columns: Columns, source: str) -> list[float]:
    column = _label_column(columns, source)
    values = data[column][:]
    for row, value in enumerate(values, start=1):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{source}, row {row}: {column!r} is {value!r}; give a number")
    return [float(value) for value in values]


def encode(
    data: Dataset,
    task: Task,
    columns: Columns,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    source: str,
    labelled: bool = True,
) -> Encoded:
    """The rows as token ids, at most `max_length` a row, with ids or scores as labels.

    Pairs are cut at the longer text. Tags stand at the first piece of their word, -100 elsewhere.
    Without `labelled` the labels speak to nobody: -100, or NaN for numbers.
    Raises UserError naming the row for an empty text and for a label the task does not know.
    """
    if max_length <= tokenizer.num_special_tokens_to_add(pair=task.pair):
        raise UserError(f"--max-length {max_length}: no room for a token beside the special ones")
    texts = _texts(data, columns.text, source)
    pairs = _texts(data, columns.text_pair, source) if columns.text_pair else None
    per_token = task.kind == "tokens"
    labels = _labels(data, task, columns, source) if labelled else None
    ids, types, tags, lengths, truncated = [], [], [], [], 0
    for span in _spans(texts, pairs):
        batch = tokenizer(
            texts[span],
            pairs[span] if pairs else None,
            truncation=True,  # for a pair: longest first
            max_length=max_length,
            is_split_into_words=per_token,
            return_attention_mask=False,
        )
        encodings = batch.encodings or []
        lengths += [len(encoding.ids) for encoding in encodings]
        truncated += sum(bool(encoding.overflowing) for encoding in encodings)
        ids.append(np.concatenate([np.array(row, np.int32) for row in batch["input_ids"]]))
        if "token_type_ids" in batch:
            rows = batch["token_type_ids"]
            types.append(np.concatenate([np.array(row, np.int8) for row in rows]))
        if per_token:
            given = labels[span] if labels is not None else [None] * len(encodings)
            for encoding, row in zip(encodings, given, strict=True):
                tags.append(_tags_of_pieces(encoding.word_ids, row))
    flat = np.concatenate(tags) if per_token else _column(labels, task, len(data))
    kinds = np.concatenate(types) if types else None
    return Encoded(np.concatenate(ids), lengths, flat, kinds, per_token, truncated)
