"""The best span: within the context, over all windows, and none where that is better."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from alembert.data.questions.windows import Asked, Windows, encode_questions
from alembert.evaluation.spans.best import Found, best_threshold, found_in
from alembert.inference.spans import LONGEST, best_span

WORDS = ["the", "good", "bad", "film", "play", "music", "book", "table", "is", "was"]
QUESTION = "is the film good"


def context_of(words: int, seed: int = 0) -> str:
    """Numbered words of which each is one token or more."""
    dice = np.random.default_rng(seed)
    return " ".join(dice.choice(WORDS, words).tolist())


def planted(data: Windows, tokens: np.ndarray, none: float) -> list[np.ndarray]:
    """Logits of windows that give each token of the context its own (M, 2), and others 50."""
    logits = []
    for i in range(len(data)):
        row = np.full((data.lengths[i], 2), 50.0, np.float32)  # of tokens that cannot answer
        row[0] = none / 2
        at = data.tokens(i)
        row[at] = tokens[data.places[i] : data.places[i] + len(at)]
        logits.append(row)
    return logits


@given(seed=st.integers(0, 999), count=st.integers(1, 50), most=st.integers(1, 40))
def test_the_best_span_is_that_of_all_pairs(seed: int, count: int, most: int) -> None:
    start, end = np.random.default_rng(seed).integers(-3, 4, (2, count)).astype(float)
    pairs = [
        (i, j) for i, j in itertools.product(range(count), repeat=2) if i <= j < i + most
    ]  # in the order in which the first of equal sums counts
    best = max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])
    assert best_span(start, end, most) == best


def test_an_answer_has_at_most_thirty_tokens() -> None:
    start, end = np.zeros(40), np.zeros(40)
    start[2] = end[35] = 5
    assert LONGEST == 30
    assert best_span(start, end) == (2, 2)
    start[6] = 4
    assert best_span(start, end) == (6, 35)


@pytest.mark.parametrize(
    ("words", "none"),
    [
        (100, -100.0),
        (300, 3.0),
        (1000, 100.0),
        pytest.param(2000, 3.0, marks=pytest.mark.slow),
        pytest.param(5000, -100.0, marks=pytest.mark.slow),
    ],
)
def test_planted_logits_have_one_answer_whatever_the_windows(
    tokenizer: BertTokenizerFast, words: int, none: float
) -> None:
    context = context_of(words, words)
    asked = Asked(id="a", text=QUESTION, context=context, answers=("x",), starts=(0,))
    whole = encode_questions([asked], tokenizer, words + 20)
    assert len(whole) == 1
    tokens = np.random.default_rng(words).normal(size=(words, 2)).astype(np.float32) * 3
    (expected,) = found_in(planted(whole, tokens, none), whole)
    first, last = best_span(*tokens.astype(np.float64).T)
    best = float(tokens[first, 0]) + float(tokens[last, 1])
    assert expected.text == " ".join(context.split()[first : last + 1])
    assert expected.none == pytest.approx(none - best, abs=1e-5)
    for length, overlap in ((20, 0), (64, None), (384, 128), (100, 50)):
        read = encode_questions([asked], tokenizer, length, overlap)
        assert found_in(planted(read, tokens, none), read) == [expected], (length, overlap)


def test_each_question_has_its_own_windows_and_may_have_no_context(
    tokenizer: BertTokenizerFast,
) -> None:
    contexts = [context_of(30, 1), "\u200b", context_of(3, 2), context_of(50, 3)]
    asked = [
        Asked(id=str(n), text=QUESTION, context=each, answers=()) for n, each in enumerate(contexts)
    ]
    read = encode_questions(asked, tokenizer, 24)
    dice = np.random.default_rng(0)
    logits = [dice.normal(size=(length, 2)).astype(np.float32) for length in read.lengths]
    together = found_in(logits, read)
    assert together[1].text == ""
    for number, each in enumerate(asked):
        alone = encode_questions([each], tokenizer, 24)
        rows = np.flatnonzero(read.texts == number)
        assert found_in([logits[i] for i in rows], alone) == [together[number]]


def test_no_answer_is_given_where_it_is_better_by_more_than_the_threshold() -> None:
    found = Found("Rome", 1.5)
    assert found.answer(float("inf")) == "Rome"
    assert found.answer(1.5) == "Rome"
    assert found.answer(1.4) == ""


@given(seed=st.integers(0, 999), count=st.integers(1, 12))
def test_the_threshold_is_as_good_as_the_best_of_all(seed: int, count: int) -> None:
    dice = np.random.default_rng(seed)
    found = [Found("x", float(each)) for each in dice.integers(-3, 4, count)]
    spans, none = dice.random(count), dice.integers(0, 2, count).astype(float)

    def total(threshold: float) -> float:
        return sum(spans[n] if each.answer(threshold) else none[n] for n, each in enumerate(found))

    chosen = best_threshold(found, spans, none)
    assert np.isfinite(chosen)
    best = max(total(each) for each in np.arange(-5, 6, 0.5))
    assert total(chosen) == pytest.approx(best)
