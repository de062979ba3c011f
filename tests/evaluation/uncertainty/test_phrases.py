"""What is kept is never told without its interval and n, nor finer than they allow."""

from typing import Any

import pytest

from alembert.evaluation.uncertainty import phrases
from alembert.evaluation.uncertainty.intervals import Interval


def metrics(n: int, **intervals: Any) -> dict[str, Any]:
    return {
        "metric": "accuracy",
        "teacher": {"accuracy": 0.9, "matthews": 0.5},
        "student": {"accuracy": 0.9, "matthews": 0.25},
        "retention": 1.0,
        "n": n,
        "intervals": intervals,
    }


def test_all_that_is_kept_of_thirty_texts_reads_like_it() -> None:
    told = metrics(30, retention=[0.9, 1.11], difference=[-0.1, 0.1])
    assert phrases.closing(told) == (
        "accuracy 0.9000, the teacher 0.9000, "
        "kept 100 % (90 to 111 %, n = 30: no difference to be seen)"
    )


def test_a_tenth_of_a_percent_is_told_where_the_interval_is_as_fine() -> None:
    fine = metrics(872, retention=[0.97, 0.999], difference=[-0.03, -0.001])
    assert str(phrases.read(fine)[0]) == "kept 100.0 % (97.0 to 99.9 %, n = 872)"
    coarse = metrics(872, retention=[0.94, 0.999], difference=[-0.03, -0.001])
    assert str(phrases.read(coarse)[0]) == "kept 100 % (94 to 100 %, n = 872)"


def test_the_same_answers_have_no_range() -> None:
    told = metrics(30, retention=[1.0, 1.0], difference=[0.0, 0.0])
    assert str(phrases.read(told)[0]) == "kept 100 % (n = 30: no difference to be seen)"


def test_the_gain_stands_beside_what_is_kept_and_the_headline_comes_first() -> None:
    balanced = {"metric": "matthews", "majority": 0.7, "retention": [0.2, 0.8],
                "difference": [-0.4, -0.1]}  # fmt: skip
    gain = {"value": 0.4, "low": -0.2, "high": 0.9}
    told = metrics(300, retention=[0.9, 1.1], difference=[-0.1, 0.1], gain_kept=gain,
                   balanced=balanced) | {"headline": "matthews"}  # fmt: skip
    assert phrases.closing(told) == (
        "matthews 0.2500, the teacher 0.5000, kept 50 % (20 to 80 %, n = 300); "
        "accuracy 0.9000, the teacher 0.9000, kept 100 % (90 to 110 %, n = 300: no difference to "
        "be seen), 40 % (-20 to 90 %) of the gain over the majority"
    )


def test_without_a_share_the_difference_is_told() -> None:
    told = metrics(30, difference=[-0.1, 0.2])
    assert str(phrases.read(told)[0]) == (
        "difference +0.0000 (-0.100 to +0.200, n = 30: no difference to be seen)"
    )


def test_a_model_alone_has_its_own_interval() -> None:
    told = metrics(30, student=[0.77, 0.97])
    del told["teacher"], told["retention"]
    assert phrases.closing(told) == "accuracy 0.9000 (0.770 to 0.970, n = 30)"


def test_folders_of_earlier_versions_are_told_as_they_are() -> None:
    told = metrics(30)
    del told["n"], told["intervals"]
    assert phrases.closing(told) == "accuracy 0.9000, the teacher 0.9000, kept 100.0 %"
    assert phrases.closing({}) == ""


def test_models_of_the_same_answers_are_told_to_be_alike_even_without_n() -> None:
    assert phrases.difference(Interval(0.0, 0.0, 0.0), None) == "+0.0000 (no difference to be seen)"


@pytest.mark.parametrize(
    ("bounds", "said"),
    [((-0.02, 0.01), ": no difference to be seen"), ((-0.02, -0.01), ""), ((0.01, 0.02), "")],
)
def test_a_difference_is_seen_where_its_interval_leaves_0_out(
    bounds: tuple[float, float], said: str
) -> None:
    found = Interval(sum(bounds) / 2, *bounds)
    assert phrases.difference(found, 9).endswith(f"n = 9{said})")
