"""Mistakes told together, and names that are near a wrong one."""

import pytest

from alembert.io.errors import MistakesError, Together, UserError, near


def test_several_mistakes_are_told_once_each_and_one_is_itself() -> None:
    together, first = Together(), UserError("first")
    together.tell()
    with together.checking():
        raise first
    with pytest.raises(UserError) as alone:
        together.tell()
    assert alone.value is first
    for line in ("second", "first"):
        with together.checking():
            raise UserError(line)
    with pytest.raises(MistakesError, match=r"^first; second$") as both:
        together.tell()
    assert both.value.lines == ["first", "second"]


def test_what_is_no_mistake_is_not_kept() -> None:
    with pytest.raises(KeyError), Together().checking():
        raise KeyError("x")


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("tinibert", "; did you mean 'TinyBERT'?"),
        (" TINYBERT", "; did you mean 'TinyBERT'?"),
        ("distil", "; did you mean 'distilbert'?"),
        ("roberta", ""),
        ("", ""),
    ],
)
def test_a_near_name_is_offered(name: str, end: str) -> None:
    assert near(name, ["TinyBERT", "distilbert"]) == end
