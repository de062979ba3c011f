"""Infers the task of a data set (its kind, labels and metric), and encodes its rows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from datasets import ClassLabel, Dataset
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import IGNORED, Encoded, tokenize
from alembert.data.labels import (
    SCORES,
    Columns,
    is_list,
    label_column,
    label_ids,
    label_names,
    list_names,
    placeholders,
    scores,
)
from alembert.data.questions.answers import holds_answers
from alembert.data.questions.apart import contexts_apart
from alembert.data.questions.windows import encode_questions, questions_in
from alembert.data.sources import GLUE
from alembert.data.texts.raw import texts_in
from alembert.data.texts.windows import tokenize_windows
from alembert.io.answers import ENDS, QUESTIONS, is_bio
from alembert.io.errors import UserError
from alembert.io.named import is_named

Kind = Literal["classification", "regression", "multilabel", "tokens", "question answering"]
METRICS: dict[Kind, tuple[str, ...]] = {  # the first is the headline unless another is named
    "classification": ("accuracy", "f1", "macro_f1", "matthews"),
    "regression": ("pearson", "spearman", "mse"),
    "multilabel": ("micro_f1", "macro_f1", "accuracy"),
    "tokens": ("span_f1", "accuracy"),
    "question answering": ("f1", "exact_match"),
}
KINDS = tuple(METRICS)
HELD_OUT = 2000  # the most rows that are held out
LOGITS = 100_000_000  # of few texts: 400 MB
_BETA = re.compile(r"f(\d+(?:\.\d+)?)")
_PRECISION = re.compile(r"recall@precision=(\d*\.?\d+)")


def beta_of(metric: str) -> float | None:
    """The beta of a metric such as f2 or f0.5, which counts recall beta times; None for others."""
    found = _BETA.fullmatch(metric)
    return float(found[1]) if found and metric != "f1" and float(found[1]) > 0 else None


def precision_of(metric: str) -> float | None:
    """The precision of recall@precision=0.9, over 0 and at most 1; None for other metrics."""
    found = _PRECISION.fullmatch(metric)
    return float(found[1]) if found and 0 < float(found[1]) <= 1 else None


@dataclass(frozen=True)
class Task:
    """A kind of task; `labels` are class names in the order of ids, or ("score",) in regression."""

    kind: Kind
    labels: tuple[str, ...]
    metric: str
    pair: bool


def infer_task(
    train: Dataset,
    columns: Columns,
    source: str,
    known_labels: Sequence[str] | None = None,
    metric: str | None = None,
    glue: str | None = None,
    lenient: bool = False,
) -> Task:
    """Infers the task of a data set from the type of its labels.

    Strings and integers are classes, floats (or integers in a column called score) are regression,
    lists are multi-label, and lists beside lists of words are tags. `known_labels` (a teacher's)
    give the order of ids; the data may then hold ids. `glue` names a GLUE task whose order and
    metric are used. `metric` is one of METRICS, of two classes or several labels also an F-beta or
    the recall at a precision, or one's own as module:function. `lenient` leaves
    unknown labels to `encode`. Raises UserError for labels that are empty, unknown, or all the
    same, and for a metric of another kind of task.
    """
    kind = kind_of(train, columns, source, known_labels)
    if kind == "regression":
        scores(train, columns, source)
        labels: tuple[str, ...] = ("score",)
    elif kind == QUESTIONS:
        labels = ENDS
    else:
        official = GLUE[glue].labels if glue else ()
        labels = _order(train, columns, source, known_labels, official, lenient)
        if len(labels) < 2:
            raise UserError(
                f"{source}: every label is {labels[0]!r}; a task needs two or more: add rows, or "
                "name another column with --label"
            )
    usual = METRICS[kind][1] if kind == "tokens" and not is_bio(labels) else METRICS[kind][0]
    chosen = metric or (GLUE[glue].metric if glue else usual)
    two = kind == "multilabel" or (kind == "classification" and len(labels) == 2)
    fits = chosen in METRICS[kind] and (chosen != "span_f1" or is_bio(labels))
    if beta_of(chosen) is not None or precision_of(chosen) is not None:
        fits = two
        if not fits:
            raise UserError(
                f"metric {chosen}: is for two classes or several labels a text, and this is "
                f"{kind}{f' of {len(labels)}' if kind == 'classification' else ''}"
            )
    if kind == QUESTIONS and chosen not in METRICS[kind]:
        raise UserError(f"metric {chosen}: {QUESTIONS} has {' and '.join(METRICS[kind])} alone")
    if metric == "mse":
        raise UserError("metric mse: is better when lower: choose pearson or spearman")
    if not fits and not is_named(chosen):
        more = ", f2, f0.5, recall@precision=0.9" if two else ""
        raise UserError(
            f"metric {chosen}: not for {kind}; there are {', '.join(METRICS[kind])}{more}, or your "
            "own as module:function"
        )
    return Task(kind, labels, chosen, columns.text_pair is not None)


def kind_of(
    data: Dataset, columns: Columns, source: str, known_labels: Sequence[str] | None
) -> Kind:
    """The kind of task that the type of the labels says. Raises UserError as `infer_task`."""
    label = label_column(columns, source)
    if holds_answers(data, label):
        return QUESTIONS
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
    if known_labels is not None and not one_output and not placeholders(known_labels):
        raise UserError(
            f"{source}: {label!r} holds scores but the model knows the classes "
            f"{list_names(known_labels)}; name another column with --label"
        )
    return "regression"


def _order(
    data: Dataset,
    columns: Columns,
    source: str,
    known_labels: Sequence[str] | None,
    official: tuple[str, ...],
    lenient: bool,
) -> tuple[str, ...]:
    """Class names in the order of ids: the teacher's, the official, the data set's, or sorted."""
    rows = label_names(data, columns, source)
    feature = data.features[label_column(columns, source)]
    order = official or tuple(getattr(getattr(feature, "feature", feature), "names", ()))
    if known_labels is not None:
        # LABEL_0, LABEL_1 are placeholders: the data set's order, if it has one, is meant
        renamed = order and len(order) == len(known_labels) and placeholders(known_labels)
        order = order if renamed else tuple(known_labels)
    if order:
        if not lenient:  # `encode` knows which may be unknown
            label_ids(rows, order, source)
        return order
    distinct = {name for names in rows for name in names}
    if not distinct:
        raise UserError(f"{source}: no row has a label")
    integers = all(re.fullmatch("-?[0-9]+", name) for name in distinct)
    return tuple(sorted(distinct, key=int if integers else None))


def encode(
    data: Dataset,
    task: Task,
    columns: Columns,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    source: str,
    labelled: bool = True,
    lenient: bool = False,
    windows: bool = False,
) -> Encoded:
    """Encodes rows into at most `max_length` token ids each, with ids or scores as labels.

    Pairs are cut at the longer text; with `windows` a long text has several rows. A tag is the
    label of its word's first token, and other tokens have -100. Without `labelled` all labels are
    missing: -100, or NaN for floats.
    Raises UserError naming the row for an empty text and for a label the task does not know; with
    `lenient` only when many labels are such, and a few are the `unseen` ones of the rows.
    """
    if max_length <= tokenizer.num_special_tokens_to_add(pair=task.pair):
        raise UserError(f"--max-length {max_length}: no token fits beside the special ones")
    if len({is_list(data, name) for name in columns.texts}) > 1:
        raise UserError(f"{source}: one of {columns.texts} holds lists of words; give text in both")
    texts = texts_in(data, columns.text, source)
    pairs = texts_in(data, columns.text_pair, source) if columns.text_pair else None
    if task.kind == QUESTIONS and pairs is not None:
        return encode_questions(questions_in(data, columns, labelled), tokenizer, max_length)
    _check_count(texts, task, source)
    unseen: list[str] | None = [] if lenient else None
    labels = _labels(data, task, columns, source, unseen) if labelled else no_labels(texts, task)
    words, how = task.kind == "tokens", (tokenizer, max_length)
    if windows:
        rows: Encoded = tokenize_windows(texts, pairs, labels, *how, words, source)
    else:
        rows = tokenize(texts, pairs, labels, *how, words)
    return replace(rows, unseen=tuple(unseen or ()))


def _check_count(texts: list[Any], task: Task, source: str) -> None:
    """Raises UserError for so many labels that those of all rows, or their logits, have no room.

    What is taken for labels then is mostly something else, such as numbers of rows.
    """
    judged = len(texts) if task.kind == "multilabel" else min(len(texts), HELD_OUT)
    words = task.kind == "tokens"
    each = sum(map(len, texts)) / max(len(texts), 1) if words else 1
    characters = sum(sum(map(len, text)) if words else len(text) for text in texts)
    if len(task.labels) * judged * each > max(LOGITS, 10 * characters):
        raise UserError(
            f"{source}: {len(task.labels):,} different labels are too many for {len(texts):,} rows "
            "of such texts; name another column with --label"
        )


def check_shape(train: Columns, words: bool, other: Columns, rows: Any, source: str) -> None:
    """Raises UserError for a file whose rows have another shape than the training rows."""
    shapes = [
        "lists of words" if lists else "pairs of texts" if columns.text_pair else "single texts"
        for columns, lists in ((train, words), (other, is_list(rows, other.text)))
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{source}: its rows are {shapes[1]} and those trained on are {shapes[0]}: name the "
            "columns with --text and --text-pair, or fix the file"
        )


def _labels(
    data: Dataset, task: Task, columns: Columns, source: str, unseen: list[str] | None
) -> Any:
    """Labels: (N,) ids, (N,) scores, (N, C) 0/1, or, for tags, a list of ids a row."""
    if task.kind == "regression":
        return np.array(scores(data, columns, source), np.float32)
    rows = label_ids(label_names(data, columns, source), task.labels, source, unseen)
    if task.kind == "tokens":
        return rows
    if task.kind == "classification":
        return np.array([row[0] for row in rows], np.int64)
    hot = np.zeros((len(rows), len(task.labels) + len(unseen or ())), np.float32)
    for row, ids in enumerate(rows):
        hot[row, ids] = 1
    return hot


def no_labels(texts: Sequence[Any], task: Task) -> Any:
    """Labels of texts that have none: -100, or NaN where labels are floats."""
    if task.kind == "tokens":
        return [[IGNORED] * len(words) for words in texts]
    if task.kind == "classification":
        return np.full(len(texts), IGNORED, np.int64)
    shape = (len(texts), len(task.labels)) if task.kind == "multilabel" else (len(texts),)
    return np.full(shape, np.nan, np.float32)


def hold_out(
    data: Dataset,
    task: Task,
    columns: Columns,
    seed: int = 0,
    share: float = 0.05,
    most: int = HELD_OUT,
    source: str = "train",
) -> tuple[Dataset, Dataset]:
    """Splits rows into (train, valid): valid is a seeded `share` of them, at most `most`.

    The split is stratified by class (or, in regression, by score), and a class of a single row
    stays in train; questions on one context stay together. Both keep the order of the data. Raises
    UserError when there is nothing to hold out.
    """
    for column in columns.texts:
        texts_in(data, column, source)  # here errors name row numbers of the file
    order = np.random.default_rng(seed).permutation(len(data))
    if task.kind == QUESTIONS:
        return contexts_apart(data, columns.texts[1], order, share, most, source)
    if task.kind == "regression":
        order = order[np.argsort(np.array(data[columns.label][:])[order], kind="stable")]
    elif task.kind == "classification":
        _, keys, counts = np.unique(
            np.array([str(value) for value in data[columns.label][:]]),
            return_inverse=True,
            return_counts=True,
        )
        order = order[np.argsort(keys[order], kind="stable")]
        order = order[counts[keys[order]] > 1]
    if len(order) < 2:
        raise UserError(f"{source}: too few rows of a class to hold some out; give --valid")
    count = min(most, max(1, round(share * len(order))))
    # even spacing in an order by class gives each class its proportion
    positions = (np.arange(count) + 0.5) * len(order) / count
    held_out = np.zeros(len(data), bool)
    held_out[order[positions.astype(int)]] = True
    return data.select(np.flatnonzero(~held_out)), data.select(np.flatnonzero(held_out))
