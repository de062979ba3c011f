"""Exact match and F1 of a model's answers, a question a row, and its loss on windows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from alembert.data.encoded import IGNORED, Encoded
from alembert.data.questions.windows import END, START, Windows
from alembert.evaluation.own_metric import Labelled
from alembert.evaluation.spans.best import Given, best_threshold, found_in
from alembert.evaluation.spans.official import scores
from alembert.io.answers import NEVER
from alembert.io.errors import UserError

NAMES = ("exact_match", "f1")  # of the columns of scores
THRESHOLD = "null_threshold"  # the field of a model's config


def answers_of(logits: Given, data: Windows) -> list[str]:
    """The answer to each question, "" for none, by the logits (T, 2) of each window.

    In place of logits there may be the answers themselves, an array of objects: those of a baseline
    that has no logits.
    """
    if isinstance(logits, np.ndarray) and logits.dtype == object:
        return [str(answer) for answer in logits]
    return [each.answer(data.threshold) for each in found_in(logits, data)]


def rows_of(logits: Given, data: Windows) -> Labelled:
    """The exact match and F1 (N, 2), in place of logits, of the questions whose answers are told.

    Raises UserError where no question tells its answers.
    """
    told = [n for n, question in enumerate(data.questions) if question.answers is not None]
    if not told:
        raise UserError("no question has answers to evaluate on; name their column with --label")
    given = answers_of(logits, data)
    found = np.array([scores(given[n], data.questions[n].answers or ()) for n in told])
    return Labelled(found, np.zeros(len(told)), np.array(told, np.int64))


def metrics(logits: Given, data: Windows) -> dict[str, float]:
    """The exact match and F1, as shares."""
    means = rows_of(logits, data).logits.mean(axis=0)
    return dict(zip(NAMES, means.tolist(), strict=True))


def has_unanswerable(data: Windows) -> bool:
    """Whether some question is told to have no answer."""
    return any(question.answers == () for question in data.questions)


def with_threshold(data: Encoded, config: Mapping[str, Any]) -> Encoded:
    """The questions with the threshold of "no answer" in a model's config; other rows as they are.

    For a model that has none it is 0 where some questions have no answer; where all have one, no
    answer is never given.
    """
    if not isinstance(data, Windows):
        return data
    usual = 0.0 if has_unanswerable(data) else NEVER
    found = config.get(THRESHOLD)
    return replace(data, threshold=usual if found is None else float(found))


def with_best_threshold(data: Encoded, logits: Given) -> Encoded:
    """The questions with the threshold that is best by a model's logits on them.

    They stay as they are where all have an answer, and so do other rows.
    """
    if not isinstance(data, Windows) or not has_unanswerable(data):
        return data
    return replace(data, threshold=threshold_of(logits, data))


def threshold_of(logits: Given, data: Windows) -> float:
    """The threshold of "no answer" with which F1 on these questions is highest."""
    found = found_in(logits, data)
    told = [
        (each, question.answers)
        for each, question in zip(found, data.questions, strict=True)
        if question.answers is not None
    ]
    spans, none = (
        np.array([scores(text, right)[1] for text, right in each])
        for each in (
            [(each.text, right) for each, right in told], [("", right) for _, right in told]
        )
    )  # fmt: skip
    return best_threshold([each for each, _ in told], spans, none)


def loss(logits: Given, data: Windows) -> float:
    """The mean cross entropy of start and end over the tokens that may be one, over windows."""
    total, count = 0.0, 0
    for i, row in enumerate(logits):
        labels = data.labels[data.offsets[i] : data.offsets[i + 1]]
        valid = labels != IGNORED
        log_p = log_softmax(row[valid].astype(np.float64), axis=0)
        for column, bit in enumerate((START, END)):
            right = np.flatnonzero(labels[valid] & bit)
            total -= float(log_p[right, column].sum())
            count += len(right)
    return total / max(count, 1)
