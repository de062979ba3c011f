"""Augmentation: the authors' algorithm, their faults mended."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alembert.augmentation.variants import augmented, cut, variants
from alembert.io.errors import UserError
from alembert.recipes.schema import Augment


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in cut(text).spans]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hollywood's film-maker, don't!", ["film", "maker"]),
        ("it 's n't \"good\" (music)\tx y2k naïve", ["good", "music", "naïve"]),
        ("the of and NOT Was", []),
        ("snake_case @you <b>bold</b> 3d", ["bold"]),
        ("हिन्दी फ़िल्म", []),  # vowel signs are no letters: nothing is torn apart
        ("...", []),
    ],
)
def test_words_to_replace_are_alphabetic_and_no_stop_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_words_that_reach_into_an_answer_are_not_replaced() -> None:
    text = "a green film about music and books"
    kept = cut(text, [(text.index("film"), text.index("film") + 10), (30, 32)])
    assert [text[start:end] for start, end in kept.spans] == ["green", "music"]
    assert kept.parts == cut(text).parts


@given(st.text())
def test_the_parts_of_a_text_join_to_the_text(text: str) -> None:
    whole = cut(text)
    assert whole.text == text == whole.value(whole.parts)
    assert words_of(text) == [whole.parts[i] for i in whole.at]


def test_the_places_of_words_in_a_list_are_those_in_its_words_joined_by_spaces() -> None:
    words = cut(["a b", "film", "", "of", "music"])
    assert words.text == "a b film  of music"
    assert words.spans == [(4, 8), (13, 18)]
    assert words.value(words.parts) == ["a b", "film", "", "of", "music"]


def test_variants_are_those_of_the_authors_loop() -> None:
    text, places = cut("a film,  and its music"), [["movie", "play", "show"], ["sound", "tune"]]
    chosen = Augment(copies=30, share=0.4)
    dice, wanted = random.Random(7), ["a film,  and its music"]
    for _ in range(30):
        film, music = "film", "music"
        if dice.random() < 0.4:
            film = places[0][math.floor(dice.random() * 3)]
        if dice.random() < 0.4:
            music = places[1][math.floor(dice.random() * 2)]
        if f"a {film},  and its {music}" not in wanted:
            wanted.append(f"a {film},  and its {music}")
    found = variants(text, places, chosen, random.Random(7))
    assert ["".join(parts) for parts in found] == wanted
    assert 5 < len(wanted) <= 12


@given(st.integers(1, 9), st.floats(0.01, 1), st.integers(0, 99))
def test_the_original_is_first_and_no_variant_is_there_twice(
    copies: int, share: float, seed: int
) -> None:
    text, places = cut("good music, bad film"), [["fine"], ["noise", "sound"], [], ["movie"]]
    chosen = Augment(copies=copies, share=share)
    found = variants(text, places, chosen, random.Random(seed))
    assert found[0] == text.parts
    assert len(set(found)) == len(found) <= copies + 1
    assert all("bad" in parts for parts in found)  # it has no candidate


def test_a_word_is_replaced_as_often_as_share_says_and_by_each_candidate_as_often() -> None:
    text = cut(" ".join(["film"] * 4000))
    _, parts = variants(text, [["one", "two"]] * 4000, Augment(copies=1), random.Random(0))
    replaced = [parts.count("one"), parts.count("two")]
    # 4,000 draws of 0.2 each: standard deviation 25
    assert replaced == pytest.approx([800, 800], abs=75)


@pytest.mark.parametrize(
    ("word", "candidate", "wanted"),
    [
        ("film", "movie", "movie"),
        ("Film", "movie", "Movie"),
        ("FILM", "movie", "MOVIE"),
        ("film", "Rome", "Rome"),
        ("FILM", "Rome", "Rome"),
        ("McFilm", "movie", "Movie"),
        ("iPhone", "movie", "movie"),
    ],
)
def test_a_small_candidate_takes_over_the_words_capitals(
    word: str, candidate: str, wanted: str
) -> None:
    _, parts = variants(cut(word), [[candidate]], Augment(copies=1, share=1), random.Random(0))
    assert "".join(parts) == wanted


def test_of_a_pair_one_text_varies_and_the_other_is_as_it_was() -> None:
    pair, places = (cut("good film"), cut("bad music")), [[["a1"], ["a2"]], [["b1"], ["b2"]]]
    rows = augmented(pair, places, Augment(copies=40), seed=0, number=3)
    first, second = {"good film", "a1 film", "good a2", "a1 a2"}, {"b1 music", "bad b2", "b1 b2"}
    assert rows[0] == ["good film", "bad music"]
    assert {a for a, b in rows[1:] if b == "bad music"} == first - {"good film"}
    assert {b for a, b in rows[1:] if a == "good film"} == second
    assert len(rows) == 7
    assert [b for _, b in rows[:4]] == ["bad music"] * 4  # those of the first come first


def test_what_is_drawn_for_a_row_depends_on_seed_and_row_number_alone() -> None:
    row, places = [cut("good music, bad film")], [[["fine"], ["noise"], ["poor"], ["movie"]]]
    draw = lambda seed, number: augmented(row, places, Augment(copies=3), seed, number)  # noqa: E731
    assert draw(0, 5) == draw(0, 5)
    assert len({str(draw(seed, number)) for seed in (0, 1) for number in (5, 6)}) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"copies": 0}, "copies 0: must be 1 or more"),
        ({"share": 0.0}, "share 0.0: must be over 0, at most 1"),
        ({"share": 1.5}, "share 1.5: must be over 0, at most 1"),
        ({"candidates": 0}, "candidates 0: must be 1 or more"),
        ({"together": -0.1}, "together -0.1: must be from 0 to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augment(**wrong)
