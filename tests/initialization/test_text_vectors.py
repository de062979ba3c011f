"""Vectors of tokens and pairs, fitted so that their means are an encoder's vectors of texts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.models import tiny
from transformers import BertTokenizerFast, PreTrainedModel

from alembert.evaluation.baselines.frozen import FrozenEncoder
from alembert.initialization import text_vectors
from alembert.initialization.static import static_student, words_of
from alembert.initialization.text_vectors import fit, single_texts, vectors_of
from alembert.models.static.model import StaticModel

FIELDS: dict[str, object] = {"model_type": "static", "vocab_size": 99, "hidden_size": 6}


def drawn(
    tokenizer: BertTokenizerFast, seed: int, bigrams: int = 0
) -> tuple[StaticModel, list[np.ndarray]]:
    """A static body without a teacher, and texts of 2 to 8 of the tokens 5 to 34."""
    generator = np.random.default_rng(seed)
    rows = [generator.integers(5, 35, generator.integers(2, 9)) for _ in range(400)]
    lengths = [len(row) for row in rows]
    words = words_of(tokenizer, np.concatenate(rows), lengths, 99)
    student = static_student(FIELDS | {"bigrams": bigrams}, "encoder", (), None, words, seed=seed)
    return student, rows  # type: ignore[return-value]


def means(body: PreTrainedModel, texts: list[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        found = [body(torch.tensor(text)[None]).last_hidden_state[0].mean(0) for text in texts]
    return torch.stack(found).numpy()


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(1) / sizes


def test_texts_of_pairs_are_apart_and_each_is_there_once(tokenizer: BertTokenizerFast) -> None:
    ids = np.array([2, 7, 8, 3, 9, 3, 2, 9, 3, 7, 8, 3, 2, 3], np.int32)
    found = single_texts(ids, [6, 6, 2], (0, 2, 3))
    assert sorted(text.tolist() for text in found) == [[7, 8], [9]]
    rows = tokenizer(["ab", "c"], ["c", "de"])["input_ids"]
    special = (0, 2, 3)
    lengths = [len(row) for row in rows]
    found = single_texts(np.array([*rows[0], *rows[1]]), lengths, special)
    alone = tokenizer(["ab", "c", "de"], add_special_tokens=False)["input_ids"]
    assert sorted(text.tolist() for text in found) == sorted(alone)


def test_more_texts_than_are_read_are_drawn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_vectors, "TEXTS", 3)
    ids = np.arange(5, 15, dtype=np.int32)
    found = single_texts(ids, [1] * 10, ())
    assert len(found) == 3
    again = single_texts(ids[::-1].copy(), [1] * 10, ())
    assert [text.tolist() for text in found] == [text.tolist() for text in again]


def test_an_encoders_vectors_are_those_of_the_baselines(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    encoder = tiny("bert", "classification").eval()
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["ab", "a longer one of many letters", "c"]
    ids = [np.array(row) for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    expected = FrozenEncoder(str(tmp_path), 64)(texts)
    assert vectors_of(encoder, ids, (2,), (3,)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("bigrams", [0, 50])
def test_means_of_texts_not_seen_are_nearer_to_what_made_them(
    bigrams: int, tokenizer: BertTokenizerFast
) -> None:
    other, texts = drawn(tokenizer, 1, bigrams)
    if bigrams:
        torch.nn.init.normal_(other.embeddings.bigram_embeddings.weight, std=0.3)
    wanted = means(other, texts)
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    wanted = wanted - wanted.mean(axis=0)
    body, _ = drawn(tokenizer, 2, bigrams)
    if bigrams:
        body.embeddings.bigram_keys.copy_(other.embeddings.bigram_keys)
    before = cosines(means(body, texts[300:]), wanted[300:]).mean()
    size = float(body.embeddings.word_embeddings.weight.detach().square().mean())
    fit(body, texts[:300], wanted[:300])
    after = cosines(means(body, texts[300:]), wanted[300:]).mean()
    assert before < 0.3
    assert after > 0.9
    kept = float(body.embeddings.word_embeddings.weight.detach().square().mean())
    assert kept == pytest.approx(size, rel=1e-4)


def test_order_that_counts_is_in_the_vectors_of_pairs(tokenizer: BertTokenizerFast) -> None:
    body, _ = drawn(tokenizer, 3, bigrams=2)
    body.embeddings.list_pairs(torch.tensor([7 * 99 + 8, 8 * 99 + 7]))
    texts = [np.array([7, 8]), np.array([8, 7])]
    wanted = np.zeros((2, 6), np.float32)
    wanted[:, 0] = 1, -1
    fit(body, texts, wanted)
    assert cosines(means(body, texts), wanted).min() > 0.9


@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("lengths", [[2, 1], [2]])
def test_one_text_moves_nothing_and_one_column_is_a_column(
    width: int, lengths: list[int], tokenizer: BertTokenizerFast
) -> None:
    ids = np.array([7, 8, 9][: sum(lengths)])
    words = words_of(tokenizer, ids, lengths, 99)
    texts = single_texts(ids, lengths, words.special)
    fields = FIELDS | {"hidden_size": width}
    body = static_student(fields, "encoder", (), tiny("bert"), words, 0, texts)
    table = body.get_input_embeddings().weight.detach()
    assert table.shape == (99, width)
    assert float(table.square().mean()) == pytest.approx(1, rel=1e-3)
