"""Text becomes sequences that fit, once; what is left out is counted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from alembert.data.corpus import corpus as corpus_module
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.data.corpus.packing import pack
from alembert.io.errors import UserError

TEN = "a b c d e f g h i j"  # with [CLS] and [SEP] just long enough to be kept


def read(folder: Path, text: str | bytes, tokenizer: BertTokenizerFast, length: int = 16) -> Corpus:
    path = folder / "text.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_corpus(str(path), tokenizer, length, folder / "cache")


def sequences(corpus: Corpus) -> list[list[int]]:
    return [corpus[i]["input_ids"] for i in range(len(corpus))]


def test_paragraphs_of_a_document_share_a_sequence_while_they_fit() -> None:
    assert pack([2, 1, 2, 0, 1, 0, 0, 1], size=4) == ([3, 2, 1], 1)
    assert pack([0], size=4, open_tokens=1) == ([1], 0)


def test_a_long_paragraph_is_cut_and_its_rest_goes_on() -> None:
    assert pack([7, 1, 2, 0], size=3) == ([3, 3, 2, 2], 0)
    assert pack([4, 0], size=2) == ([2, 2], 0)


LENGTHS = st.lists(st.integers(0, 20), max_size=30)


@given(LENGTHS, st.integers(1, 9))
def test_packing_loses_no_token_and_overfills_nothing(lengths: list[int], room: int) -> None:
    packed, left = pack(lengths, room)
    assert sum(packed) + left == sum(lengths)
    assert all(1 <= size <= room for size in packed)
    assert 0 <= left <= room


@given(LENGTHS, LENGTHS, st.integers(1, 9))
def test_packing_goes_on_where_it_was_cut(first: list[int], second: list[int], room: int) -> None:
    packed, held = pack(first, room)
    more, left = pack(second, room, held)
    assert (packed + more, left) == pack(first + second, room)


def test_a_text_becomes_sequences_between_special_tokens(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    text = f"\ufeff{TEN}\r\nk l\nm n o p\n\n{TEN} k\n \nshort\n"
    corpus = read(tmp_path, text, tokenizer)
    # documents: [10 + 2 | 4 letters], [11 letters], [5 letters]; 14 fit between [CLS] and [SEP]
    assert sequences(corpus) == [[2, *range(5, 17), 3], [2, *range(5, 16), 3]]
    assert corpus.lengths.tolist() == [14, 13]
    assert corpus.dropped == {"under 12 tokens": 2}
    counts = {5: 2, 15: 2, 16: 1, 2: 2, 3: 2, 17: 0, 0: 0}
    assert {i: corpus.counts[i] for i in counts} == counts
    assert corpus.counts.shape == (99,)
    assert sequences(corpus)[-1] == corpus[-1]["input_ids"]
    with pytest.raises(IndexError):
        corpus[2]


def test_sequences_half_unknown_are_dropped(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    # 12 tokens: six unknown are half, five are not
    half, less = "\u00f8 " * 6 + "a b c d", "\u00f8 " * 5 + "a b c d e"
    corpus = read(tmp_path, f"{half}\n\n{less}\n", tokenizer)
    assert sequences(corpus) == [[2, 1, 1, 1, 1, 1, 5, 6, 7, 8, 9, 3]]
    assert corpus.dropped == {"half or more unknown": 1}


def test_the_same_text_is_made_once(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(tmp_path, TEN, tokenizer)
    tokenizer(["a b"], padding="max_length", truncation=True, max_length=5)  # leaves settings
    with monkeypatch.context() as patch:
        patch.setattr(corpus_module, "prepare", None)
        assert sequences(read(tmp_path, TEN, tokenizer)) == sequences(first)
    for text, length in ((TEN + " k", 16), (TEN, 17)):
        assert read(tmp_path, text, tokenizer, length).folder != first.folder
    made = {path.name for path in first.folder.iterdir()}
    assert made == {"corpus.json", "ids.bin", "lengths.bin", "counts.npy", "checksums.json"}


def test_the_cache_has_its_usual_place(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    (tmp_path / "text").write_text(TEN)  # no suffix: plain text
    corpus = read_corpus(str(tmp_path / "text"), tokenizer, 16)
    assert corpus.folder.parent == tmp_path / "user" / "alembert" / "corpus"


def test_a_broken_attempt_leaves_nothing_behind(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    with pytest.raises(UserError):
        read(tmp_path, "short", tokenizer)
    assert list((tmp_path / "cache").iterdir()) == []


def test_several_files_and_tables_are_one_corpus(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    (tmp_path / "one.txt").write_text(TEN)
    (tmp_path / "two.csv").write_text(f'id,text\n1,"{TEN}\nk"\n2,{TEN}\n')
    paths = [str(tmp_path / "one.txt"), str(tmp_path / "two.csv")]
    corpus = read_corpus(paths, tokenizer, 16, tmp_path / "cache")
    assert corpus.lengths.tolist() == [12, 13, 12]


def test_many_batches_of_text_are_read_like_one(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    corpus = read(tmp_path, f"{TEN}\n\n" * 60_000, tokenizer)  # over a million characters
    assert len(corpus) == 60_000
    ids = np.fromfile(corpus.folder / "ids.bin", np.uint16).reshape(60_000, 12)
    assert (ids == corpus[0]["input_ids"]).all()
    assert corpus.counts.sum() == 720_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "text.txt: no sequence is left .no text.; give more text"),
        ("\n \n", "text.txt: no sequence is left .no text.; give more text"),
        ("a b\n\nc", "text.txt: no sequence is left .2 under 12 tokens.; give more text"),
        (b"fine\n\xff\n", "text.txt, line 2: byte 5 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_text_that_makes_no_corpus_is_said(
    tmp_path: Path, tokenizer: BertTokenizerFast, text: str | bytes, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read(tmp_path, text, tokenizer)


def test_what_is_no_text_is_said(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_corpus(str(tmp_path / "no.txt"), tokenizer, 16)
    with pytest.raises(UserError, match="not a folder of datasets' save_to_disk"):
        read_corpus(str(tmp_path), tokenizer, 16)
    (tmp_path / "d.conll").write_text("word O\n")
    with pytest.raises(UserError, match="'tokens' holds lists of words; a corpus needs text"):
        read_corpus(str(tmp_path / "d.conll"), tokenizer, 16)
    with pytest.raises(UserError, match="--max-length 8: a corpus needs at least 12"):
        read_corpus(str(tmp_path / "no.txt"), tokenizer, 8)
