"""Layer maps of the papers, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alembert.io.errors import UserError
from alembert.models.layer_map import NAMES, layer_map


def teachers(choice: str, student: int, teacher: int) -> list[int]:
    return [theirs for _, theirs in layer_map(choice, student, teacher)]


def test_the_maps_of_the_papers() -> None:
    assert teachers("spread", 6, 12) == [1, 3, 5, 8, 10, 12]  # DistilBERT's 0, 2, 4, 7, 9, 11
    assert teachers("uniform", 4, 12) == [3, 6, 9, 12]  # TinyBERT's g(m) = 3m
    assert teachers("last", 4, 12) == [9, 10, 11, 12]
    assert teachers("first", 4, 12) == [1, 2, 3, 4]


def test_depths_that_do_not_divide_take_the_nearest_layer() -> None:
    assert teachers("uniform", 4, 6) == [2, 3, 5, 6]
    assert teachers("spread", 1, 6) == [6]


@given(st.sampled_from(NAMES), st.integers(1, 40), st.integers(0, 40))
def test_every_map_ascends_strictly_and_stays_inside(name: str, student: int, extra: int) -> None:
    picks = teachers(name, student, student + extra)
    assert picks == sorted(set(picks))
    assert len(picks) == student
    assert picks[0] >= 1
    assert picks[-1] <= student + extra


@pytest.mark.parametrize(
    ("choice", "student", "teacher", "says"),
    [
        ("uniform", 7, 6, "--layers 6"),
        ("middle", 2, 6, "'middle' is unknown"),
        (((1, 9),), 2, 6, r"\(1, 9\) lies outside"),
        ((), 2, 6, "empty"),
        ("first", 0, 6, "at least 1"),
    ],
)
def test_what_cannot_be_mapped_is_refused(choice, student, teacher, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=says):
        layer_map(choice, student, teacher)
