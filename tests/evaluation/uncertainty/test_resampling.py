"""A metric of resampled texts is that of scikit-learn, scipy or seqeval on the texts repeated."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alembert.data.encoded import Encoded
from alembert.data.tasks import METRICS, Task
from alembert.evaluation.metrics import labelled_rows, metrics
from alembert.evaluation.uncertainty.resampling import statistic

TAGS = ("O", "B-A", "I-A", "B-B")
TASKS = [
    Task("classification", ("no", "yes"), "accuracy", pair=False),
    Task("classification", ("equivalent", "not_equivalent"), "f1", pair=False),
    Task("classification", ("a", "b", "c", "d"), "accuracy", pair=False),
    Task("regression", ("score",), "pearson", pair=False),
    Task("multilabel", ("a", "b", "c"), "micro_f1", pair=False),
    Task("tokens", TAGS, "span_f1", pair=False),
]
MORE = {"tokens": ("span_precision", "span_recall")}
OF_POSITIVES = ("f2", "f0.5", "recall@precision=0.7", "recall@precision=1")


def rows_of(task: Task, texts: int, seed: int) -> tuple[Any, Encoded]:
    """Logits and rows: predictions that are half right, with ties, labels unseen, and none."""
    random = np.random.default_rng(seed)
    lengths = (
        [int(n) for n in random.integers(1, 6, texts)] if task.kind == "tokens" else [1] * texts
    )
    count, classes = sum(lengths), len(task.labels)
    unseen = ("new",) * (task.kind == "classification")
    labels: Any = random.integers(0, classes + len(unseen), count)
    if task.kind == "regression":
        labels = random.integers(0, 4, count).astype(np.float32)
        logits: Any = np.round(labels[:, None] + random.normal(size=(count, 1))).astype(np.float32)
    elif task.kind == "multilabel":
        labels = random.integers(0, 2, (count, classes)).astype(np.float32)
        logits = (labels - 0.5 + random.normal(size=labels.shape)).astype(np.float32)
    else:
        logits = np.eye(classes + 1, dtype=np.float32)[labels, :classes]
        logits += random.normal(size=logits.shape).astype(np.float32) / 2
        labels[random.random(count) < 0.1] = -100
    data = Encoded(
        input_ids=np.ones(count, np.int32), lengths=lengths, labels=labels,
        per_token=task.kind == "tokens", unseen=unseen,
    )  # fmt: skip
    if task.kind == "tokens":
        logits = np.split(logits, np.cumsum(lengths)[:-1])
    return logits, data


def repeated(logits: Any, data: Encoded, counts: Any) -> tuple[Any, Encoded]:
    """The rows as if each text stood in the file as often as it was drawn."""
    chosen = np.repeat(np.arange(len(data)), counts)
    again = [data[int(i)] for i in chosen]
    labels = [row["labels"] for row in again]
    return [logits[i] for i in chosen], Encoded(
        input_ids=np.concatenate([row["input_ids"] for row in again]).astype(np.int32),
        lengths=[len(row["input_ids"]) for row in again],
        labels=np.concatenate(labels) if data.per_token else np.array(labels, data.labels.dtype),
        per_token=data.per_token,
        unseen=data.unseen,
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind} {len(task.labels)}")
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), texts=st.integers(4, 30))
def test_counts_of_texts_give_the_metric_of_the_texts_repeated(
    task: Task, seed: int, texts: int
) -> None:
    logits, data = rows_of(task, texts, seed)
    rows = labelled_rows(task, logits, data)
    there = np.unique(rows.texts)
    assume(len(there))  # without a label there is no metric
    drawn = np.random.default_rng(seed + 1).multinomial(
        len(there), np.ones(len(there)) / len(there)
    )
    for counts in (np.ones(len(there), int), drawn):
        full = np.zeros(len(data), int)
        full[there] = counts
        expected = metrics(task, *repeated(logits, data, full))
        for name in (*METRICS[task.kind], *MORE.get(task.kind, ())):
            value = statistic(task, name, rows, there, data.unseen)
            found = value(counts[:, None].astype(float))
            assert found == pytest.approx([expected[name]], abs=1e-6), name


@pytest.mark.parametrize("metric", OF_POSITIVES)
@pytest.mark.parametrize("task", [TASKS[0], TASKS[1], TASKS[4]], ids=["second", "first", "several"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), texts=st.integers(4, 30))
def test_metrics_of_positives_are_those_of_the_texts_repeated(
    task: Task, metric: str, seed: int, texts: int
) -> None:
    task = replace(task, metric=metric)
    logits, data = rows_of(task, texts, seed)
    rows = labelled_rows(task, logits, data)
    there = np.unique(rows.texts)
    assume(len(there))  # without a label there is no metric
    drawn = np.random.default_rng(seed).multinomial(len(there), np.ones(len(there)) / len(there))
    full = np.zeros(len(data), int)
    full[there] = drawn
    expected = metrics(task, *repeated(logits, data, full))[metric]
    found = statistic(task, metric, rows, there)(drawn[:, None].astype(float))
    assert found == pytest.approx([expected], abs=1e-6)


def test_texts_that_are_left_out_do_not_count() -> None:
    task = TASKS[0]
    logits, data = rows_of(task, 40, 7)
    rows = labelled_rows(task, logits, data)
    some = np.unique(rows.texts)[::3]
    chosen = np.zeros(40, int)
    chosen[some] = 1
    value = statistic(task, "accuracy", rows, some, data.unseen)(np.ones((len(some), 1)))
    assert value[0] == pytest.approx(metrics(task, *repeated(logits, data, chosen))["accuracy"])


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The module of a metric of one's own, which refuses rows of one class alone."""
    (tmp_path / "measured.py").write_text(
        "import numpy as np\n"
        "def right(logits, labels):\n"
        "    if len(set(labels.tolist())) < 2:\n"
        "        raise ValueError('one class')\n"
        "    return float(np.mean(logits.argmax(-1) == labels))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "measured:right"
    sys.modules.pop("measured", None)


def test_a_metric_of_ones_own_is_called_with_the_rows_drawn(measured: str) -> None:
    task = Task("classification", ("no", "yes"), measured, pair=False)
    logits, data = rows_of(task, 20, 3)
    rows = labelled_rows(task, logits, data)
    there = np.unique(rows.texts)
    drawn = np.random.default_rng(0).multinomial(len(there), np.ones(len(there)) / len(there), 5).T
    found = statistic(task, measured, rows, there)(drawn.astype(float))
    accuracy = statistic(task, "accuracy", rows, there)(drawn.astype(float))
    np.testing.assert_allclose(found, accuracy)
    one = (there == there[0]).astype(float)[:, None]
    assert np.isnan(statistic(task, measured, rows, there)(one)).all()
