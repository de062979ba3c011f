"""Long texts as windows: those of a session, with labels, and joined again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import saved
from transformers import BertTokenizerFast

from alembert.data.encoded import IGNORED, concat, tokenize, words_read
from alembert.data.splits import Files, Variants, prepare, with_variants
from alembert.data.texts.windows import TextWindows, tokenize_windows
from alembert.inference.batching import per_text
from alembert.inference.engine import Ids
from alembert.inference.tokenization import Reader
from alembert.io.errors import UserError

LENGTH = 11
LONG = "the book was bad and the music was very good and the film is not bad"  # a token a word
SHORT = "a good film"
WORDS = [LONG.split(), SHORT.split(), ["very", "unbelievable", *LONG.split()[::-1]]]


def read(texts: list[Any], labels: Any, tokenizer: BertTokenizerFast, **more: Any) -> TextWindows:
    words = isinstance(texts[0], list)
    pairs = more.get("pairs")
    return tokenize_windows(texts, pairs, labels, tokenizer, LENGTH, words, "train.csv")


@pytest.fixture
def reader(tmp_path: Path, tokenizer: BertTokenizerFast) -> Reader:
    tokenizer.save_pretrained(tmp_path)
    return Reader(tmp_path, LENGTH, windows=True)


def test_the_windows_are_those_of_a_session(tokenizer: BertTokenizerFast, reader: Reader) -> None:
    pairs = [("good film", LONG), (LONG, "good"), (SHORT, SHORT)]
    for texts, given in (([LONG, SHORT], [LONG, SHORT]), (WORDS, WORDS)):
        labels = [[0] * len(each) for each in texts] if texts is WORDS else np.arange(len(texts))
        rows = read(texts, labels, tokenizer)
        found = reader(given, words=texts is WORDS)
        assert [rows[i]["input_ids"] for i in range(len(rows))] == [e.ids for e in found.encodings]
        assert rows.of.tolist() == found.owners
        assert rows.truncated == 0
    first, second = (list(side) for side in zip(*pairs, strict=True))
    rows = read(first, np.arange(3), tokenizer, pairs=second)
    found = reader(pairs)
    assert [rows[i]["input_ids"] for i in range(len(rows))] == [e.ids for e in found.encodings]
    assert [rows[i]["token_type_ids"] for i in range(len(rows))] == [
        e.type_ids for e in found.encodings
    ]


def test_windows_have_the_label_of_their_text_and_are_one_text(
    tokenizer: BertTokenizerFast, reader: Reader
) -> None:
    rows = read([LONG, SHORT, LONG], np.array([2, 0, 1]), tokenizer)
    assert rows.labels.tolist() == [2, 2, 0, 1, 1]
    assert rows.count == 3
    whole = rows.whole
    assert whole.labels.tolist() == [2, 0, 1]
    assert whole.whole is whole
    cut = tokenize([LONG, SHORT, LONG], None, whole.labels, tokenizer, LENGTH, False)
    beginnings = rows.beginnings
    assert beginnings.input_ids.tolist() == cut.input_ids.tolist()
    assert beginnings.labels.tolist() == [2, 0, 1]
    assert rows.of_texts(np.array([0, 2])).of.tolist() == [0, 0, 2, 2]
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(len(rows), 3)).astype(np.float32)
    each = iter(np.argsort([-len(e) for e in reader([LONG, SHORT, LONG]).encodings], kind="stable"))

    def engine(ids: Ids) -> Any:  # rows come longest first
        return logits[[next(each) for _ in ids["input_ids"]]]

    expected = per_text(reader([LONG, SHORT, LONG]), engine, 10_000)
    assert np.allclose(rows.joined(list(logits)), expected, atol=1e-6)
    more = concat(rows, read([SHORT, LONG], np.array([1, 1]), tokenizer))
    assert more.texts.tolist() == [0, 0, 1, 2, 2, 3, 4, 4]


def test_a_word_has_its_tag_in_the_window_with_most_around_it(
    tokenizer: BertTokenizerFast, reader: Reader
) -> None:
    tags = [[*range(100, 100 + len(words))] for words in WORDS]
    rows = read(WORDS, tags, tokenizer)
    whole = rows.whole
    starts = [0, *np.cumsum(whole.lengths).tolist()]
    for text, known in enumerate(tags):  # each word once, and in their order
        labels = whole.labels[starts[text] : starts[text + 1]]
        assert labels[labels != IGNORED].tolist() == known
    found = reader(WORDS, words=True)
    for text, places in enumerate(found.positions(lambda row: row.word_ids)):
        for word, (row, column) in places.items():
            assert isinstance(word, int)
            assert rows[row]["labels"][column] == tags[text][word]
    logits = [np.full((length, 1), row, np.float32) for row, length in enumerate(rows.lengths)]
    assert [len(each) for each in rows.joined(logits)] == whole.lengths
    for text, words in enumerate(WORDS):  # the tokens of each word in its window, and no other
        span = slice(starts[text], starts[text + 1])
        begins = np.flatnonzero(whole.labels[span] != IGNORED)
        parts = np.split(whole.input_ids[span], begins)[1:]
        assert begins[0] == 1  # after [CLS]
        told = [tokenizer.decode(part, skip_special_tokens=True) for part in parts]
        assert all(word.startswith(each) for word, each in zip(words, told, strict=True))
        assert [word for word in words if word != "unbelievable"] == [
            each for each, word in zip(told, words, strict=True) if word != "unbelievable"
        ]
    again = rows.take(np.arange(len(rows))[rows.of > 0]).whole
    assert again.lengths == whole.lengths[1:]


def test_a_text_of_words_without_tokens_is_a_row_too(tokenizer: BertTokenizerFast) -> None:
    texts = [["\u200b"], ["good", "film"], ["\u200b", "\u200b"]]
    rows = read(texts, [[0], [1, 2], [0, 0]], tokenizer)
    whole = rows.whole
    assert (whole.lengths, whole.labels.tolist()) == ([1, 3, 1], [-100, -100, 1, 2, -100])
    assert words_read(texts, whole, tokenizer) == [[], ["good", "film"], []]


def test_both_texts_of_a_pair_may_not_be_long(tokenizer: BertTokenizerFast) -> None:
    text = "the film is good " * 100
    with pytest.raises(UserError, match=r"train\.csv: both texts of the pair 'the film is"):
        read(["good", text], np.zeros(2), tokenizer, pairs=["bad", text])
    rows = read(["a good film"], np.zeros(1), tokenizer, pairs=[text * 20])
    assert rows.count == 1


def test_windows_begin_where_the_text_does_whatever_is_cut_without_them(
    tokenizer: BertTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    left = BertTokenizerFast.from_pretrained(tmp_path, truncation_side="left")
    for texts, labels in (([LONG, SHORT], np.arange(2)), (WORDS, [[1] * len(w) for w in WORDS])):
        rows, usual = read(texts, labels, left), read(texts, labels, tokenizer)
        assert rows.input_ids.tolist() == usual.input_ids.tolist()
        assert rows.labels.tolist() == usual.labels.tolist()
    assert left.truncation_side == "left"


def test_a_window_has_room_for_two_tokens_beside_those_of_a_pair(
    tokenizer: BertTokenizerFast,
) -> None:
    with pytest.raises(UserError, match="--max-length 4: a window needs 5 tokens or more"):
        tokenize_windows([LONG], None, np.zeros(1), tokenizer, 4, False, "train.csv")


def test_the_size_of_a_text_has_no_token_twice(tokenizer: BertTokenizerFast) -> None:
    texts = [LONG, SHORT, LONG * 5]
    cut = tokenize(texts, None, np.zeros(3), tokenizer, 1000, False)
    assert read(texts, np.zeros(3), tokenizer).sizes.tolist() == cut.sizes.tolist() == cut.lengths


def test_variants_follow_their_texts_and_labelled_rows_stay_apart(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    train, more = tmp_path / "train.csv", tmp_path / "more.csv"
    rows = [f"{LONG if i % 2 else SHORT},{'up' if i % 3 else 'down'}" for i in range(40)]
    train.write_text("text,label\n" + "\n".join(rows) + "\n")
    more.write_text(f"text\n{LONG}\n")
    files = Files(train=str(train), unlabelled=str(more), windows=True)
    splits = prepare(files, tokenizer, LENGTH, None, 0)
    assert splits.windows
    assert isinstance(splits.valid, TextWindows)
    count = len(splits.rows)
    variants = Variants(splits.rows.select([1, 1]), np.array([1, 1]))
    varied = with_variants(splits, variants, tokenizer, LENGTH, "train.csv")
    assert varied.train.count == count + 3
    assert varied.labelled_train.texts.tolist() == splits.labelled_train.texts.tolist()
    assert varied.labelled_train.whole.labels.tolist() == [
        splits.task.labels.index(label) for label in splits.rows["label"]
    ]
    saved(tmp_path / "model", tokenizer)
    assert files.arguments["windows"] is True
    assert "windows" not in Files(train=str(train)).arguments
