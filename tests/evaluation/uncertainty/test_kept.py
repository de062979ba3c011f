"""What is kept is told above what is free, by the metric that says more."""

from typing import Any

import numpy as np
import pytest

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task
from alembert.evaluation.metrics import metrics
from alembert.evaluation.uncertainty import kept

BINARY = Task("classification", ("no", "yes"), "accuracy", pair=False)


def encoded(labels: Any, lengths: list[int] | None = None) -> Encoded:
    values = np.array(labels)
    count = sum(lengths) if lengths else len(values)
    return Encoded(
        input_ids=np.ones(count, np.int32), lengths=lengths or [1] * count, labels=values,
        per_token=lengths is not None,
    )  # fmt: skip


def told(task: Task, data: Encoded, said: dict[str, Any], train: Encoded | None = None) -> Any:
    values = {role: metrics(task, logits, data) for role, logits in said.items()}
    read = {"teacher": data, "student": data}
    return kept.of_run(task, said, read, train or data, values), values


def unbalanced() -> tuple[Encoded, dict[str, Any]]:
    """690 texts of "no" and 310 of "yes"; the student finds fewer "yes" than its teacher."""
    labels = np.array([0] * 690 + [1] * 310)
    teacher, student = np.zeros(1000, int), np.zeros(1000, int)
    teacher[600:690], teacher[690:890] = 1, 1  # 90 false alarms, 200 found
    student[600:690], student[690:800] = 1, 1  # 90 false alarms, 110 found
    eye = np.eye(2, dtype=np.float32)
    return encoded(labels), {"teacher": eye[teacher], "student": eye[student]}


def test_of_unbalanced_classes_the_headline_is_that_of_which_less_is_kept() -> None:
    data, said = unbalanced()
    found, values = told(BINARY, data, said)
    accuracy = values["student"]["accuracy"] / values["teacher"]["accuracy"]
    assert (values["teacher"]["accuracy"], values["student"]["accuracy"]) == (0.8, 0.71)
    assert found["retention"] == pytest.approx(accuracy) == pytest.approx(0.8875)
    balanced = found["intervals"]["balanced"]
    assert (balanced["metric"], balanced["majority"]) == ("matthews", 0.69)
    matthews = values["student"]["matthews"] / values["teacher"]["matthews"]
    low, high = balanced["retention"]
    assert low < matthews < high < accuracy
    assert found["headline"] == "matthews"


def test_the_gain_is_over_the_most_frequent_label_of_train() -> None:
    data, said = unbalanced()
    gain = told(BINARY, data, said)[0]["intervals"]["gain_kept"]
    assert gain["value"] == pytest.approx((0.71 - 0.69) / (0.8 - 0.69))
    assert gain["low"] < gain["value"] < gain["high"]
    other = told(BINARY, data, said, train=encoded([1, 1, 0]))[0]["intervals"]["gain_kept"]
    assert other["value"] == pytest.approx((0.71 - 0.31) / (0.8 - 0.31))


def test_no_gain_is_told_of_a_teacher_that_is_not_surely_above_the_majority() -> None:
    labels = np.array([0] * 69 + [1] * 31)
    said = np.zeros(100, int)
    said[67:73] = 1  # 4 found and 2 false alarms: .71, against .69 of the majority
    eye = np.eye(2, dtype=np.float32)
    found, _ = told(BINARY, encoded(labels), {"teacher": eye[said], "student": eye[said]})
    assert "gain_kept" not in found["intervals"]
    assert "retention" in found["intervals"]


def test_balanced_classes_have_one_metric() -> None:
    assert kept.balanced_metric(BINARY, np.array([0] * 6 + [1] * 4)) is None
    assert kept.balanced_metric(BINARY, np.array([0] * 7 + [1] * 3)) == ("matthews", 0.7)
    three = Task("classification", ("a", "b", "c"), "accuracy", pair=False)
    assert kept.balanced_metric(three, np.array([0] * 7 + [1, 2, 2])) == ("macro_f1", 0.7)
    own = Task("classification", ("a", "b"), "own:metric", pair=False)
    assert kept.balanced_metric(own, np.array([0] * 9 + [1])) is None


def test_the_majority_is_by_the_labels_of_train() -> None:
    train = encoded([1, 1, 0, -100, -100, -100])
    assert kept.majority(BINARY, train, encoded([0, 0, 1])).argmax(1).tolist() == [1, 1, 1]
    scores = Task("regression", ("score",), "pearson", pair=False)
    mean = kept.majority(scores, encoded([1.0, 2.0, 6.0, np.nan]), encoded([0.0, 0.0]))
    assert mean.tolist() == [[3], [3]]
    several = Task("multilabel", ("a", "b"), "micro_f1", pair=False)
    rows = encoded(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert (kept.majority(several, rows, rows) > 0).tolist() == [[True, False]] * 3
    tags = Task("tokens", ("O", "B-A"), "span_f1", pair=False)
    words = encoded([-100, 0, 0, 1, -100, 0], [3, 3])
    assert [row.argmax(1).tolist() for row in kept.majority(tags, words, words)] == [[0, 0, 0]] * 2


def test_a_teacher_at_chance_has_no_share_to_keep() -> None:
    labels = np.tile([0.0, 1.0, 2.0, 3.0], 10).astype(np.float32)
    scores = Task("regression", ("score",), "pearson", pair=False)
    random = np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32)
    found, _ = told(scores, encoded(labels), {"teacher": random, "student": labels[:, None]})
    assert "retention" not in found
    assert "retention" not in found["intervals"]
    assert found["intervals"]["difference"][0] > 0


def test_a_run_without_a_teacher_has_its_own_interval() -> None:
    data, said = unbalanced()
    found, _ = told(BINARY, data, {"student": said["student"]})
    assert "retention" not in found
    assert set(found["intervals"]) == {"student", "lead"}  # the lead over the majority
