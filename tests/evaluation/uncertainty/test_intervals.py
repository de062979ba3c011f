"""Intervals cover the truth as often as they say, and tests agree with tables and with scipy."""

import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task
from alembert.evaluation.metrics import labelled_rows, metrics
from alembert.evaluation.uncertainty import intervals, kept
from alembert.evaluation.uncertainty.intervals import Drawn, bootstrap, mcnemar, of_mean, of_share
from alembert.evaluation.uncertainty.resampling import Statistic, statistic

BINARY = Task("classification", ("no", "yes"), "accuracy", pair=False)


def right(of: Any) -> Statistic:
    """The share of texts that are right, as a statistic."""
    return lambda counts: (of.astype(float) @ counts) / counts.sum(0)


def encoded(labels: Any) -> Encoded:
    return Encoded(
        input_ids=np.ones(len(labels), np.int32), lengths=[1] * len(labels), labels=labels
    )


def predictions(labels: Any, accuracy: float, classes: int, random: Any) -> Any:
    """Logits of a classifier that is right so often."""
    wrong = (labels + random.integers(1, classes, len(labels))) % classes
    said = np.where(random.random(len(labels)) < accuracy, labels, wrong)
    return np.eye(classes, dtype=np.float32)[said]


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    """Of 400 sets of 200 texts; at half the width 67 % would, and at twice the width all."""
    random = np.random.default_rng(1)
    truth = {"accuracy": 0.8, "difference": -0.1, "ratio": 0.8 / 0.9}
    held = dict.fromkeys(truth, 0)
    # what is hard for one is hard for the other: a normal score, with noise of each model's own
    bounds = [float(stats.norm(0, 2**0.5).ppf(share)) for share in (0.9, 0.8)]
    for number in range(400):
        hard = random.normal(size=200)
        teacher, student = (hard + random.normal(size=200) < bound for bound in bounds)
        drawn = bootstrap({"t": right(teacher), "s": right(student)}, 200, 500, seed=number)
        ratio = drawn["s"].over(drawn["t"])
        assert ratio is not None
        found = {"accuracy": drawn["s"], "difference": drawn["s"] - drawn["t"], "ratio": ratio}
        for name, each in found.items():
            interval = each.interval
            assert interval is not None
            held[name] += interval.reaches(truth[name])
    assert all(0.92 < count / 400 < 0.98 for count in held.values()), held


def test_the_interval_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(150) < 0.9, random.random(150) < 0.8
    drawn = bootstrap({"a": right(first), "b": right(second)}, 150, 20_000)
    found = (drawn["b"] - drawn["a"]).interval
    assert found is not None
    theirs = stats.bootstrap(
        (second, first), lambda b, a, axis: b.mean(axis) - a.mean(axis), paired=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(1), vectorized=True,
    ).confidence_interval  # fmt: skip
    assert found.bounds == pytest.approx([theirs.low, theirs.high], abs=0.007)
    assert found.value == pytest.approx(second.mean() - first.mean())


@pytest.mark.slow
def test_the_interval_of_a_correlation_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=80)
    y = x + random.normal(size=80)
    task = Task("regression", ("score",), "spearman", pair=True)
    data = encoded(y.astype(np.float32))
    rows = labelled_rows(task, x[:, None].astype(np.float32), data)
    drawn = bootstrap({"s": statistic(task, "spearman", rows, np.arange(80))}, 80, 4000)
    found = drawn["s"].interval
    theirs = stats.bootstrap(
        (x, y), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False,
        n_resamples=4000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found is not None
    assert found.bounds == pytest.approx([theirs.low, theirs.high], abs=0.02)


def test_the_same_seed_draws_the_same_samples_and_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = np.random.default_rng(0).random(50) < 0.7
    first, again = (bootstrap({"a": right(of)}, 50, 300)["a"].draws for _ in range(2))
    assert (first == again).all()
    assert (bootstrap({"a": right(of)}, 50, 300, seed=1)["a"].draws != first).any()
    monkeypatch.setattr(intervals, "CELLS", 50 * 7)
    assert bootstrap({"a": right(of)}, 50, 300)["a"].draws.mean() == pytest.approx(
        first.mean(), abs=0.02
    )


def test_models_of_the_same_answers_differ_by_0_to_0() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    said, data = predictions(labels, 0.8, 2, random), encoded(labels)
    told = kept.of_run(
        BINARY, {"teacher": said, "student": said.copy()}, {"teacher": data, "student": data},
        data, {role: metrics(BINARY, said, data) for role in ("teacher", "student")},
    )  # fmt: skip
    assert told["n"] == 60
    assert told["retention"] == 1
    assert told["intervals"]["difference"] == [0, 0]
    assert told["intervals"]["retention"] == [1, 1]
    low, high = told["intervals"]["student"]
    assert low < metrics(BINARY, said, data)["accuracy"] < high


def test_a_ratio_whose_divisor_reaches_0_is_none() -> None:
    draws = np.linspace(-0.1, 0.5, 1000)
    assert Drawn(0.1, draws).over(Drawn(0.2, draws)) is None
    assert Drawn(0.1, draws + 1).over(Drawn(-0.2, draws + 1)) is None
    assert Drawn(0.1, draws).over(Drawn(0.5, draws + 0.5)) is not None


def test_a_metric_undefined_on_many_samples_has_no_interval() -> None:
    draws = np.arange(100.0)
    draws[:9] = np.nan
    assert Drawn(50.0, draws).interval is not None
    draws[:11] = np.nan
    assert Drawn(50.0, draws).interval is None


def test_thirty_right_answers_of_thirty_are_not_certain() -> None:
    everything = Drawn(1.0, np.ones(100))
    found, nothing = of_share(everything, 30), of_share(Drawn(0.0, np.zeros(100)), 30)
    exact = stats.binomtest(30, 30).proportion_ci(method="exact")
    assert found is not None
    assert nothing is not None
    assert found.bounds == pytest.approx([exact.low, 1])
    assert nothing.bounds == pytest.approx([0, 1 - exact.low])


def test_mcnemar_agrees_with_a_known_table() -> None:
    """Both right 101, one alone 59 and 33: Agresti's 1990 table has p = 0.0088 (exact)."""
    first = np.array([True] * 101 + [True] * 59 + [False] * 33 + [False] * 121)
    second = np.array([True] * 101 + [False] * 59 + [True] * 33 + [False] * 121)
    tail = sum(stats.binom.pmf(k, 92, 0.5) for k in range(34))
    assert mcnemar(first, second) == pytest.approx(2 * tail)
    # by hand: 5 differ, all for the first: 2 / 2**5
    assert mcnemar(np.ones(9, bool), np.arange(9) > 4) == pytest.approx(2 / 2**5)
    assert mcnemar(first, first) == 1


def test_the_mean_of_seeds_has_students_interval() -> None:
    found = of_mean([0.9, 0.92, 0.94])
    # deviation .02, error .02 / sqrt 3, t(.975, 2) = 4.30265
    assert found.value == pytest.approx(0.92)
    assert found.high - found.value == pytest.approx(4.30265 * 0.02 / 3**0.5, rel=1e-5)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_5500_texts_of_151_classes_take_under_3_seconds() -> None:
    random = np.random.default_rng(0)
    task = Task("classification", tuple(f"intent {n}" for n in range(151)), "macro_f1", pair=False)
    labels = random.integers(0, 151, 5500)
    data = encoded(labels)
    said = {role: predictions(labels, share, 151, random)
            for role, share in (("teacher", 0.95), ("student", 0.9))}  # fmt: skip
    values = {role: metrics(task, each, data) for role, each in said.items()}
    start = time.process_time()
    told = kept.of_run(task, said, {"teacher": data, "student": data}, data, values)
    assert time.process_time() - start < 3
    low, high = told["intervals"]["retention"]
    assert low < told["retention"] < high < 1
