"""Sparse features: which texts share them, and that they come back from their terms alone."""

import json
import math

import numpy as np
import pytest

from alembert.evaluation.baselines.features import SparseFeatures
from alembert.io.answers import Text

SENTENCES: list[Text] = [["Flights", "to", "Paris", "!"], ["to", "London", "2024"]]


def test_a_text_has_length_one_in_words_and_in_characters() -> None:
    read = SparseFeatures.learnt(["a good film", "a bad book", "good"])
    rows = read(["a good film", "never seen"])
    words = len(read.terms["words"])
    norms = [np.linalg.norm(rows[0].toarray()[0, part]) for part in (np.s_[:words], np.s_[words:])]
    assert norms == pytest.approx([1, 1], abs=1e-6)
    assert rows[1, :words].nnz == 0


def test_a_rare_word_weighs_more_by_its_inverse_document_frequency() -> None:
    read = SparseFeatures.learnt(["a b", "a c"])
    # scikit-learn's smoothed form: log((1 + N) / (1 + n)) + 1
    assert read.terms["words"]["a"] == pytest.approx(1)
    assert read.terms["words"]["b"] == pytest.approx(math.log(3 / 2) + 1)


@pytest.mark.parametrize("text", ["!?", "\U0001f600", "x", "\u4f60\u597d", "\u0301"])
def test_a_text_of_anything_has_features(text: str) -> None:
    assert SparseFeatures.learnt([text])([text]).nnz > 0


def test_a_pair_has_the_cosine_of_its_texts_last() -> None:
    pairs: list[Text] = [("good film", "good film"), ("good film", "bad book")]
    rows = SparseFeatures.learnt(pairs)(pairs).toarray()
    assert rows[:, -1] == pytest.approx([1, 0], abs=1e-6)
    quarter = (rows.shape[1] - 1) // 4
    first, second, product, difference = (
        rows[:, k * quarter : (k + 1) * quarter] for k in range(4)
    )
    assert np.allclose(product, first * second)
    assert np.allclose(difference, abs(first - second))


def test_a_word_has_its_own_cues_and_those_of_its_neighbours() -> None:
    read = SparseFeatures.learnt(SENTENCES)
    rows = read(SENTENCES)
    assert rows.shape[0] == 7  # words of both
    terms = [*read.terms["cues"]]
    paris = {terms[i] for i in rows[2].indices}
    assert {"+0 paris", "-1 to", "+1 !", "end is", "start pa", "+0 shape Xx"} <= paris
    assert "+2 $" in paris


@pytest.mark.parametrize(
    "texts", [["a good film", "bad"], [("a film", "a book"), ("bad", "good")], SENTENCES]
)
def test_features_come_back_from_their_terms_as_json(texts: list[Text]) -> None:
    learnt = SparseFeatures.learnt(texts)
    again = SparseFeatures(json.loads(json.dumps(learnt.terms)))
    assert (learnt(texts) != again(texts)).nnz == 0
