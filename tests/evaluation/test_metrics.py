"""Metrics are those worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task
from alembert.evaluation.metrics import metrics
from alembert.io.errors import UserError

BINARY = Task("classification", ("neg", "pos"), "accuracy", pair=False)


def encoded(labels: Any, per_token: bool = False) -> Encoded:
    """Rows of one token (or, per token, one row of all) that bear these labels."""
    values = np.array(labels)
    lengths = [len(values)] if per_token else [1] * len(values)
    return Encoded(
        input_ids=np.ones(len(values), np.int32),
        lengths=lengths,
        labels=values,
        per_token=per_token,
    )


def logits(said: list[int], classes: int = 2) -> np.ndarray[Any, Any]:
    return np.eye(classes, dtype=np.float32)[said]


def test_classes_are_judged_as_by_hand() -> None:
    # positives: 2 found of 3, 1 false alarm; the last row has no label
    data = encoded([1, 1, 1, 0, 0, -100])
    found = metrics(BINARY, logits([1, 1, 0, 1, 0, 1]), data)
    assert next(iter(found)) == "accuracy"
    positive = 2 * 2 / (2 * 2 + 1 + 1)
    negative = 2 * 1 / (2 * 1 + 1 + 1)
    assert found == pytest.approx(
        {
            "accuracy": 3 / 5,
            "f1": positive,
            "macro_f1": (positive + negative) / 2,
            "matthews": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2),
        }
    )


def test_the_positive_class_is_the_second_or_the_one_without_not() -> None:
    said, data = logits([1, 1, 0, 1, 0]), encoded([1, 1, 1, 0, 0])
    for labels, expected in (
        (("a", "b"), 2 / 3),
        (("not_equivalent", "equivalent"), 2 / 3),
        (("equivalent", "not_equivalent"), 1 / 2),
    ):
        task = Task("classification", labels, "f1", pair=True)
        assert metrics(task, said, data)["f1"] == pytest.approx(expected)
        assert next(iter(metrics(task, said, data))) == "f1"


def positive(metric: str, scores: list[float], labels: list[int]) -> float:
    """The metric of two classes whose second has these logits, and the first 0."""
    task = Task("classification", ("neg", "pos"), metric, pair=False)
    pairs = np.array([[0.0, score] for score in scores], np.float32)
    found = metrics(task, pairs, encoded(labels))
    assert next(iter(found)) == metric
    return found[metric]


def test_f_beta_is_as_by_hand() -> None:
    # 2 found of 3, 1 false alarm of 3 alarms in all
    scores, labels = [3.0, 2.0, 1.0, -1.0, -2.0], [1, 0, 1, 1, 0]
    precision, recall = 2 / 3, 2 / 3
    assert positive("f2", scores, labels) == pytest.approx(
        5 * precision * recall / (4 * precision + recall)
    )
    # one more alarm: precision 1/2, recall 2/3
    scores[4] = 0.5
    assert positive("f0.5", scores, labels) == pytest.approx(
        1.25 * (1 / 2) * (2 / 3) / (0.25 * (1 / 2) + 2 / 3)
    )


def test_recall_at_a_precision_is_as_by_hand() -> None:
    # from the highest score down: right, right, wrong, right, wrong, of 4 right ones
    scores, labels = [5.0, 4.0, 3.0, 2.0, 1.0, -1.0], [1, 1, 0, 1, 0, 1]
    assert positive("recall@precision=1", scores, labels) == 2 / 4
    assert positive("recall@precision=0.75", scores, labels) == 3 / 4
    assert positive("recall@precision=0.6", scores, labels) == 1
    # the highest score is wrong, and everything below it
    assert positive("recall@precision=0.9", [2.0, 1.0], [0, 1]) == 0
    # equal scores are found together: 2 right of 3
    assert positive("recall@precision=0.7", [2.0, 2.0, 2.0], [1, 1, 0]) == 0


def test_of_several_labels_all_positives_count_together() -> None:
    task = Task("multilabel", ("a", "b"), "f2", pair=False)
    said = np.array([[1.0, -1.0], [2.0, 3.0]], np.float32)
    data = encoded([[1.0, 1.0], [0.0, 1.0]])
    # 2 found of 3, 1 false alarm
    assert metrics(task, said, data)["f2"] == pytest.approx(5 * 2 / (5 * 2 + 4 * 1 + 1))


def test_scores_are_judged_as_by_hand() -> None:
    task = Task("regression", ("score",), "pearson", pair=True)
    said = np.array([[1.0], [2.0], [4.0], [9.0]], np.float32)
    data = encoded([1.0, 3.0, 2.0, math.nan])
    # deviations -4/3 -1/3 5/3 and -1 1 0; ranks 1 2 3 and 1 3 2
    assert metrics(task, said, data) == pytest.approx(
        {"pearson": 1 / math.sqrt(14 / 3 * 2), "spearman": 0.5, "mse": 5 / 3}
    )
    same = metrics(task, np.ones((4, 1), np.float32), data)
    assert (same["pearson"], same["spearman"]) == (0, 0)


def test_several_labels_are_judged_as_by_hand() -> None:
    task = Task("multilabel", ("a", "b", "c"), "micro_f1", pair=False)
    data = encoded([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [math.nan] * 3])
    said = np.array([[2.0, -1.0, -1.0], [-3.0, 0.5, -1.0], [9.0, 9.0, 9.0]], np.float32)
    # 2 found, 1 missed, no false alarm; f1 of a, b, c: 1, 1, 0
    assert metrics(task, said, data) == pytest.approx(
        {"micro_f1": 4 / 5, "macro_f1": 2 / 3, "accuracy": 1 / 2}
    )


def test_spans_count_only_when_whole() -> None:
    task = Task("tokens", ("O", "B-x", "I-x", "B-y"), "span_f1", pair=False)
    # true: x at 1-2, y at 3, x at 5; said: x at 1 alone, y at 3; pieces and [CLS] do not count
    data = encoded([-100, 1, 2, -100, 3, 0, 1, -100], per_token=True)
    said = [logits([3, 1, 0, 3, 3, 0, 0, 3], 4)]
    assert metrics(task, said, data) == pytest.approx(
        {
            "span_f1": 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3),
            "accuracy": 3 / 5,
            "span_precision": 1 / 2,
            "span_recall": 1 / 3,
        }
    )
    words = Task("tokens", ("DET", "NOUN", "VERB", "X"), "accuracy", pair=False)
    assert metrics(words, said, data) == pytest.approx({"accuracy": 3 / 5})


def test_nothing_to_judge_by_is_said() -> None:
    with pytest.raises(UserError, match="no row has a label to evaluate on"):
        metrics(BINARY, logits([1]), encoded([-100]))
    task = Task("tokens", ("O", "B-x"), "span_f1", pair=False)
    with pytest.raises(UserError, match="no word has a tag to evaluate on"):
        metrics(task, [logits([1])], encoded([-100], per_token=True))
