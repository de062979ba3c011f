"""The start of a static student: vectors of single tokens, seen by their principal components."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.models import tiny
from transformers import BertTokenizerFast

from alembert.initialization.static import SMOOTHING, Words, static_student, words_of
from alembert.io.errors import UserError

FIELDS: dict[str, object] = {"model_type": "static", "vocab_size": 99, "hidden_size": 4}


def words(counts: dict[int, int] | None = None) -> Words:
    numbers = np.zeros(99, np.int64)
    for token, count in (counts or {}).items():
        numbers[token] = count
    none = np.empty(0, np.int64)
    return Words(
        begin=(2,), end=(3,), special=(0, 2, 3), separator=3, counts=numbers, pairs=none
    )  # fmt: skip


def test_a_vector_is_the_mean_of_what_the_teacher_says_of_the_token_alone() -> None:
    teacher = tiny("bert", "classification")
    whole = static_student(FIELDS | {"hidden_size": 16}, "encoder", (), teacher, words(), seed=0)
    table = whole.get_input_embeddings().weight
    alone = [teacher.base_model(torch.tensor([[2, token, 3]])).last_hidden_state[0].mean(0)
             for token in (7, 40, 41)]  # fmt: skip
    # all components are a rotation, which keeps distances, up to the one factor of size
    there = torch.stack([(alone[i] - alone[j]).norm() for i, j in ((0, 1), (0, 2), (1, 2))])
    here = torch.stack([(table[i] - table[j]).norm() for i, j in ((7, 40), (7, 41), (40, 41))])
    torch.testing.assert_close(here / here[0], there / there[0], rtol=1e-3, atol=1e-4)


def test_a_narrow_student_keeps_the_first_components() -> None:
    teacher = tiny("bert", "classification")
    wide, narrow = (
        static_student(FIELDS | {"hidden_size": width}, "encoder", (), teacher, words(), seed=0)
        .get_input_embeddings().weight.double() for width in (16, 4)
    )  # fmt: skip
    ratio = wide[:, :4] / narrow
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio), rtol=1e-3, atol=1e-4)


def test_frequent_tokens_begin_with_less_weight() -> None:
    student = static_student(FIELDS, "encoder", (), None, words({7: 90, 8: 10, 2: 500}), seed=0)
    weights = student.embeddings.log_weights.exp()
    expected = [SMOOTHING / (SMOOTHING + share) for share in (0.9, 0.1, 0.0)]
    assert weights[[7, 8, 9]].tolist() == pytest.approx(expected, rel=1e-5)


def test_what_surrounds_a_text_is_read_from_its_tokenizer(tokenizer: BertTokenizerFast) -> None:
    found = words_of(tokenizer, np.array([7, 7, 9]), [1, 2], 99)
    assert (found.begin, found.end, found.separator) == ((2,), (3,), 3)
    assert found.special == (0, 2, 3)
    assert found.counts[7:10].tolist() == [2, 0, 1]


def test_vectors_wider_than_the_teachers_are_refused() -> None:
    with pytest.raises(UserError, match="at most as wide as its teacher's, 16"):
        static_student(FIELDS | {"hidden_size": 17}, "encoder", (), tiny("bert"), words(), seed=0)


def test_pairs_without_a_separator_are_refused() -> None:
    bare = replace(words(), begin=(), end=(), special=(), separator=None)
    with pytest.raises(UserError, match="a token between texts"):
        static_student(FIELDS | {"pairs": True}, "classification", ("a", "b"), None, bare, seed=0)


def test_neighbours_that_occur_twice_are_listed_the_most_frequent_first(
    tokenizer: BertTokenizerFast,
) -> None:
    texts = [[2, 7, 8, 9, 3], [2, 8, 9, 3], [2, 7, 8, 3], [2, 8, 9, 3], [2, 5, 3], [2, 5, 6, 3]]
    ids = np.array([number for text in texts for number in text])
    found = words_of(tokenizer, ids, [len(text) for text in texts], 99)
    assert found.pairs.tolist() == [8 * 99 + 9, 7 * 99 + 8]  # 5 6 once; nothing with 2 or 3
    student = static_student(FIELDS | {"bigrams": 5}, "encoder", (), None, found, seed=0)
    assert student.embeddings.bigram_keys.tolist()[:2] == [7 * 99 + 8, 8 * 99 + 9]


def test_texts_without_special_tokens_are_apart(tokenizer: BertTokenizerFast) -> None:
    found = words_of(tokenizer, np.array([7, 8, 7, 8, 7, 8]), [3, 1, 2], 99)
    assert found.pairs.tolist() == [7 * 99 + 8]  # twice, and 8 7 once
