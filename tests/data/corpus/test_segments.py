"""Sequences of two segments: what they hold, and which of them follow each other."""

from pathlib import Path

import numpy as np
import pytest
from transformers import BertTokenizerFast

from alembert.data.batches import Batches, Masked
from alembert.data.collate import masking_for
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.data.corpus.segments import Segmented


@pytest.fixture
def corpus(tmp_path: Path, tokenizer: BertTokenizerFast) -> Corpus:
    """Sequences of words that tell their number: digits are tokens of their own."""
    text = "\n\n".join(" ".join(f"{n:03}"[k % 3] for k in range(40)) for n in range(200))
    (tmp_path / "text.txt").write_text(text)
    return read_corpus(str(tmp_path / "text.txt"), tokenizer, 24, folder=tmp_path / "corpus")


def test_a_row_is_as_long_as_before_and_half_of_them_go_on(corpus: Corpus) -> None:
    rows = Segmented(corpus, seed=0)
    labels = []
    whole = [corpus[i]["input_ids"] for i in range(len(corpus))]
    pieces = {tuple(ids[a:b]) for ids in whole for a in range(len(ids)) for b in range(a, len(ids))}
    for i, before in enumerate(whole):
        row = rows[i]
        ids, types = row["input_ids"], row["token_type_ids"]
        assert len(ids) == len(types) == rows.lengths[i] == len(before)
        cut = types.index(1)
        first, second = ids[1 : cut - 1], ids[cut:-1]
        assert (ids[0], ids[cut - 1], ids[-1]) == (before[0], before[-1], before[-1])
        assert first == before[1 : cut - 1]
        goes_on = second == before[cut - 1 : -2]
        assert goes_on or row["next_sentence"] == 1
        assert tuple(second) in pieces
        labels.append(row["next_sentence"])
    assert set(labels) == {0, 1}
    assert 0.4 < sum(labels) / len(labels) < 0.6
    assert [rows[i] for i in range(9)] == [Segmented(corpus, seed=0)[i] for i in range(9)]
    assert [rows[i] for i in range(9)] != [Segmented(corpus, seed=1)[i] for i in range(9)]


def test_the_length_of_a_segment_does_not_tell_whether_it_follows(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    sizes = np.random.default_rng(0).lognormal(3.2, 0.6, 1500).astype(int).clip(12, 90)
    text = "\n\n".join(" ".join("0123456789"[k % 10] for k in range(n)) for n in sizes)
    (tmp_path / "text.txt").write_text(text)
    corpus = read_corpus(str(tmp_path / "text.txt"), tokenizer, 96, folder=tmp_path / "corpus")
    read = [Segmented(corpus, seed=0)[i] for i in range(len(corpus))]
    long = [row["next_sentence"] for row in read if sum(row["token_type_ids"]) > 30]
    assert len(long) > 100
    assert 0.35 < np.mean(long) < 0.65
    assert 0.45 < np.mean([row["next_sentence"] for row in read]) < 0.55


def test_a_row_that_alone_is_so_long_goes_on(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    text = "\n\n".join(" ".join("0" for _ in range(n)) for n in (80, 12))
    (tmp_path / "text.txt").write_text(text)
    corpus = read_corpus(str(tmp_path / "text.txt"), tokenizer, 96, folder=tmp_path / "corpus")
    longest = int(np.argmax(corpus.lengths))
    rows = [Segmented(corpus, seed=seed)[longest] for seed in range(20)]
    assert {row["next_sentence"] for row in rows if sum(row["token_type_ids"]) > 12} == {0}


def test_a_batch_has_types_and_labels_masked_or_not(
    corpus: Corpus, tokenizer: BertTokenizerFast
) -> None:
    rows = Segmented(corpus, seed=0)
    masking = masking_for(tokenizer, 0.15, 0.0, corpus.counts)
    for read, how in ((rows, masking), (rows, None), (Masked(rows, masking, 0), None)):
        batch = Batches(rows=read, batch_size=16, seed=0, pad_token_id=0, masking=how)(0)
        assert batch["next_sentence"].shape == (16,)
        assert batch["token_type_ids"].shape == batch["input_ids"].shape
        assert ("labels" in batch) == (how is not None or isinstance(read, Masked))
