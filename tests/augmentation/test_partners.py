"""New pairs of the texts there are, each with the nearest one of another row."""

from alembert.augmentation.partners import partners
from alembert.recipes.schema import Augment

FIRST = ["a red fox runs", "stocks fell today", "the film was long", "zz"]
SECOND = ["the fox is red", "markets fell today", "a red car runs", "yy"]


def test_each_text_meets_the_nearest_one_of_another_row() -> None:
    assert list(partners(FIRST, SECOND, 1)) == [
        (0, "a red fox runs", "a red car runs"),
        (0, "the film was long", "the fox is red"),
    ]


def test_a_pair_that_is_there_or_was_made_is_not_made_again() -> None:
    found = list(partners(FIRST, SECOND, 3))
    pairs = [pair[1:] for pair in found]
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & set(zip(FIRST, SECOND, strict=True))
    assert [row for row, *_ in found] == sorted(row for row, *_ in found)


def test_texts_without_a_word_in_common_have_no_partner() -> None:
    assert not list(partners(["one"], ["two"], 1))
    assert not list(partners(["a", "b"], ["c", "d"], 1))


def test_rows_have_as_many_variants_as_there_is_room_for() -> None:
    how = Augment(copies=20, partners=1, most=1000)
    pairs = how.of_rows(100, 2)
    assert (pairs.partners, pairs.copies) == (1, 3)  # 100 x (1 + 2 x 4) = 900
    assert (how.of_rows(100, 1).partners, how.of_rows(100, 1).copies) == (0, 9)
    assert (how.of_rows(400, 2).partners, how.of_rows(400, 2).copies) == (0, 0)
    assert (how.of_rows(300, 2).partners, how.of_rows(300, 2).copies) == (1, 0)
    free = Augment(copies=20, partners=1, most=None)
    assert free.of_rows(9, 2) == free
