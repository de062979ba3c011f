"""Words that are looked up have the ids that the tokenizer gives a text as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertTokenizerFast

from alembert.inference import words as memory
from alembert.inference.words import Words, splits_at_spaces

TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="aZ é\u0301\t\n\u00a0\u2003\u200b\x1c中,.[]MASK", max_size=40),
)


@pytest.fixture(scope="module")
def bert(tokenizer: BertTokenizerFast) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_padding()
    copy.enable_truncation(64)
    return copy


@given(st.lists(st.one_of(TEXTS, st.tuples(TEXTS, TEXTS)), min_size=1, max_size=4))
def test_a_text_has_the_ids_that_its_tokenizer_gives_it(
    bert: Tokenizer, texts: list[str | tuple[str, str]]
) -> None:
    words = Words(bert, 64)
    for _ in range(2):  # the second time all words are known
        found = words.rows(texts)
        rows = [bert.encode(*((text,) if isinstance(text, str) else text)).ids for text in texts]
        if found is None:
            assert max(map(len, rows)) == 64  # the tokenizer has cut one
            continue
        ids, lengths = found
        assert lengths.tolist() == [len(row) for row in rows]
        assert ids.tolist() == [number for row in rows for number in row]


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_lists_of_words_have_the_ids_and_places_that_the_tokenizer_gives_them(
    bert: Tokenizer, texts: list[list[str]]
) -> None:
    words = Words(bert, 64)
    for _ in range(2):
        found = words.sentences(texts)
        rows = [bert.encode(text, is_pretokenized=True) for text in texts]
        if found is None:
            assert max(map(len, rows)) == 64
            continue
        ids, lengths, places = found
        assert lengths.tolist() == [len(row) for row in rows]
        assert ids.tolist() == [number for row in rows for number in row.ids]
        starts = [sum(map(len, rows[:i])) for i in range(len(rows))]
        assert places.tolist() == [
            start + row.word_ids.index(i) if i in row.word_ids else -1
            for start, row, text in zip(starts, rows, texts, strict=True)
            for i in range(len(text))
        ]


def test_a_word_that_is_no_valid_unicode_is_left_to_the_reader(bert: Tokenizer) -> None:
    for word in ("\ud800", memory.BEGIN, memory.BETWEEN):
        with pytest.raises(TypeError):
            Words(bert, 64).sentences([["a", word]])


def test_a_row_that_would_be_cut_is_left_to_the_tokenizer(bert: Tokenizer) -> None:
    words = Words(bert, 64)
    assert words.rows(["a " * 62]) is not None
    assert words.rows(["a " * 63]) is None
    assert words.rows(["a" * 70]) is None or bert.encode("a" * 70).ids[1] == 1  # one unknown word


def test_it_forgets_before_it_fills_the_memory(
    bert: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "KEPT", 8)
    words = Words(bert, 64)
    for letter in "abcdefgh":
        assert words.rows([letter]) is not None
        assert len(words._known) <= 8
    words.rows(["b" * (memory.LONGEST + 1)])
    assert set(words._known) == {
        "f",
        "g",
        "h",
        *words._known._around,
    }  # neither those before, nor a long word


def test_only_berts_tokenizer_is_known_to_split_at_spaces(bert: Tokenizer) -> None:
    assert splits_at_spaces(bert)
    other = ByteLevelBPETokenizer()
    other.train_from_iterator(["a b c"], 300)
    assert not splits_at_spaces(other._tokenizer)
    bare = Tokenizer.from_str(bert.to_str())
    bare.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    assert not splits_at_spaces(bare)
    joined = Tokenizer.from_str(bert.to_str())
    joined.add_tokens(["new york"])
    assert not splits_at_spaces(joined)
