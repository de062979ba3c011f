"""Counts on a task's rows: classes, lengths, texts that come twice, labels that disagree."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import tokenize
from alembert.data.files.skipped import Skipped
from alembert.data.labels import Columns, is_list, label_ids, label_names, scores, unknown_labels
from alembert.data.sources import Source
from alembert.data.splits import Files
from alembert.data.tasks import Task, hold_out, infer_task
from alembert.data.texts.raw import texts_in
from alembert.io.answers import QUESTIONS

EXAMPLES = 5  # rows that are named
CUT = 0.01  # the share of texts that a good --max-length may cut
NO_LIMIT = 1_000_000_000  # tokens


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths of the texts of train in tokens, or in words where no tokenizer is known.

    `cut` is the share of texts that are longer than `max_length`, and `fits` the smallest maximum
    that cuts at most 1 % of them.
    """

    unit: str
    median: int
    high: int  # of the 95th percentile
    longest: int
    max_length: int
    cut: float
    fits: int


@dataclass(frozen=True)
class Found:
    """A number of rows, and the numbers of the first ones, counted from 1."""

    count: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Conflict:
    """Rows with one text and different labels."""

    rows: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures on the rows of a task, before any model is trained.

    counts has the rows of each class (the words of each tag, the texts with each of several
    labels, the questions with an answer and without), and `free` is the share of the largest class
    or tag: the accuracy of an answer that is always the same. `scores` are the least, mean and
    largest of a regression. `shared` and `unknown` are by file: texts that train has too, and
    labels that train lacks. `bad` are rows that cannot be read or are empty, which the other
    figures leave out.
    """

    source: str
    columns: Columns
    task: Task
    labelled: int
    held_out: int
    evaluated: int | None
    unlabelled: int
    counts: dict[str, int]
    free: float | None
    scores: tuple[float, float, float] | None
    lengths: Lengths
    windows: bool  # whether long texts are read in several
    duplicates: Found
    conflicts: tuple[Conflict, ...]
    shared: dict[str, Found]
    unknown: dict[str, dict[str, int]]
    bad: tuple[Skipped, ...]


def summarize(
    files: Files,
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int,
    known_labels: Sequence[str] | None,
    seed: int,
    metric: str | None = None,
) -> Summary:
    """Reads the files and counts their rows; without a tokenizer lengths are in words.

    Raises UserError as `prepare` does.
    """
    train, name = files.labelled(files.train, known_labels), files.train.name
    rows, columns = train.rows, train.columns
    task = infer_task(rows, columns, name, train.known, metric, files.task)
    known = task.labels if task.kind not in ("regression", QUESTIONS) else None
    others: dict[str, tuple[Dataset, Columns]] = {}

    def read(source: Source) -> int:
        other = files.labelled(source, known, train.form)
        others[source.name if source.name != name else source.role] = other.rows, other.columns
        return len(other.rows)

    if files.valid is not None:
        held_out, labelled = read(files.valid), len(rows)
    else:
        learnt, valid = hold_out(rows, task, columns, seed, source=name)
        held_out, labelled = len(valid), len(learnt)
    evaluated = read(files.test) if files.test is not None else None
    lengths = _lengths(rows, columns, name, tokenizer, max_length)  # before texts are held here
    keys = _texts(rows, columns, name)
    of_train = set(keys) if others else set()
    shared, unknown = {}, {}
    for other, (other_rows, where) in others.items():
        texts = _texts(other_rows, where, other)
        shared[other] = _found(n for n, text in enumerate(texts, 1) if text in of_train)
        if known is not None:
            names = label_names(other_rows, where, other)
            unknown[other] = dict(unknown_labels(names, known).most_common())
    counts = _counts(rows, columns, task, name)
    single = counts and task.kind in ("classification", "tokens")
    values = scores(rows, columns, name) if task.kind == "regression" else None
    return Summary(
        source=name,
        columns=columns,
        task=task,
        labelled=labelled,
        held_out=held_out,
        evaluated=evaluated,
        unlabelled=len(files.unlabelled.rows) if files.unlabelled is not None else 0,
        counts=counts,
        free=max(counts.values()) / sum(counts.values()) if single else None,
        scores=(min(values), float(np.mean(values)), max(values)) if values else None,
        lengths=lengths,
        windows=files.windows or task.kind == QUESTIONS,
        duplicates=_duplicates(keys),
        conflicts=_conflicts(keys, _labels(rows, columns, task, name)),
        shared=shared,
        unknown=unknown,
        bad=tuple(files.skips.rows),
    )


def _texts(rows: Dataset, columns: Columns, source: str) -> list[Hashable]:
    """The text, or the pair, of each row as a value that can be compared."""
    parts = [texts_in(rows, column, source) for column in columns.texts]
    if len(parts) == 1 and not is_list(rows, columns.text):
        return list(parts[0])
    return [
        tuple(tuple(part) if isinstance(part, list) else part for part in row)
        for row in zip(*parts, strict=True)
    ]


def _labels(rows: Dataset, columns: Columns, task: Task, source: str) -> list[str]:
    """The label of each row as one text."""
    if task.kind == "regression":
        return [f"{value:g}" for value in scores(rows, columns, source)]
    if task.kind == QUESTIONS:
        return [", ".join(sorted(set(each["text"]))) for each in rows[columns.label][:]]
    names = label_names(rows, columns, source)
    if task.kind == "multilabel":
        names = [sorted(each) for each in names]
    return [" ".join(each) if task.kind == "tokens" else ", ".join(each) for each in names]


def _counts(rows: Dataset, columns: Columns, task: Task, source: str) -> dict[str, int]:
    """The rows, or words, of each label, in the order of the task's labels.

    Of questions they are those with and without an answer.
    """
    if task.kind == "regression":
        return {}
    if task.kind == QUESTIONS:
        answered = sum(bool(each["text"]) for each in rows[columns.label][:])
        return {"an answer": answered, "no answer": len(rows) - answered}
    ids = label_ids(label_names(rows, columns, source), task.labels, source)
    given = Counter(each for row in ids for each in row)
    return {name: given[i] for i, name in enumerate(task.labels)}


def _found(rows: Iterable[int]) -> Found:
    numbers = tuple(rows)
    return Found(len(numbers), numbers[:EXAMPLES])


def _duplicates(keys: Sequence[Hashable]) -> Found:
    """The rows whose text an earlier row has."""
    seen = set[Hashable]()
    again = []
    for number, key in enumerate(keys, start=1):
        if key in seen:
            again.append(number)
        seen.add(key)
    return _found(again)


def _conflicts(keys: Sequence[Hashable], labels: Sequence[str]) -> tuple[Conflict, ...]:
    first = dict[Hashable, str]()
    both = zip(keys, labels, strict=True)
    differ = {key for key, label in both if first.setdefault(key, label) != label}
    by_text = defaultdict[Hashable, list[int]](list)
    for row, key in enumerate(keys):
        if key in differ:
            by_text[key].append(row)
    return tuple(
        Conflict(tuple(row + 1 for row in same), tuple(dict.fromkeys(labels[row] for row in same)))
        for same in by_text.values()
    )


def _lengths(
    rows: Dataset,
    columns: Columns,
    source: str,
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int,
) -> Lengths:
    words = is_list(rows, columns.text)
    texts = [texts_in(rows, column, source) for column in columns.texts]
    if tokenizer is None:
        counted = [
            sum(len(part) if words else len(part.split()) for part in row)
            for row in zip(*texts, strict=True)
        ]
    else:
        pairs = texts[1] if len(texts) > 1 else None
        no_labels = [[0] * len(each) for each in texts[0]] if words else np.zeros(len(rows))
        counted = tokenize(texts[0], pairs, no_labels, tokenizer, NO_LIMIT, words).lengths
    lengths = np.sort(np.array(counted))
    last = len(lengths) - 1
    return Lengths(
        unit="words" if tokenizer is None else "tokens",
        median=int(lengths[last // 2]),
        high=int(lengths[math.ceil(0.95 * len(lengths)) - 1]),
        longest=int(lengths[-1]),
        max_length=max_length,
        cut=float((lengths > max_length).mean()),
        fits=int(lengths[last - int(CUT * len(lengths))]),
    )
