"""What a data set asks for is found by itself, and what does not fit is said with its row."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import BertTokenizerFast

from alembert.data.encoded import Encoded, concat
from alembert.data.labels import Columns, find_columns
from alembert.data.sources import glue
from alembert.data.tasks import Task, encode, hold_out, infer_task, is_bio
from alembert.data.texts.raw import texts_in
from alembert.io.errors import UserError

SENTIMENT = Dataset.from_dict({"text": ["good film", "bad"], "label": ["pos", "neg"]})
SLOTS = Dataset.from_dict(
    {
        "tokens": [["play", "xy", "music"], ["the", "book"]],
        "tags": [["O", "B-artist", "I-artist"], ["O", "O"]],
    }
)
ONE = Columns("text", None, "label")
CLASSES = Task("classification", ("neg", "pos"), "accuracy", pair=False)


def rows(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict(columns)


def test_columns_are_found_by_their_usual_names_in_any_case() -> None:
    def found(*names: str) -> Columns:
        return find_columns(rows(**{name: ["x"] for name in names}), "d.csv")

    assert found("id", "Text", "LABEL") == Columns("Text", None, "LABEL")
    assert found("utterance", "intent") == Columns("utterance", None, "intent")
    assert found("sentence2", "sentence1", "score") == Columns("sentence1", "sentence2", "score")
    assert found("premise", "hypothesis", "label") == Columns("premise", "hypothesis", "label")
    assert found("question", "sentence", "label") == Columns("question", "sentence", "label")
    assert found("question", "label") == Columns("question", None, "label")
    assert found("Quality", "#1 String", "#2 String") == Columns(
        "#1 String", "#2 String", "Quality"
    )
    assert find_columns(SLOTS, "d.conll") == Columns("tokens", None, "tags")
    assert find_columns(SLOTS, "d.conll", labelled=False) == Columns("tokens", None, None)
    assert find_columns(rows(text=["x"]), "d.txt", labelled=False) == Columns("text", None, None)


def test_given_columns_win_over_usual_names() -> None:
    data = rows(text=["x"], body=["x"], title=["x"], label=["a"], mood=["b"])
    assert find_columns(data, "d", "body", "title", "mood") == Columns("body", "title", "mood")
    assert find_columns(data, "d", text="Body") == Columns("body", None, "label")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {},
            "d.csv: no column of text and none of labels among 'a', 'b'; name them with --text and "
            "--label (row 1: a = 'x', b = 'y')",
        ),
        (
            {"text": "a"},
            "d.csv: no column of labels among 'a', 'b'; name it with --label "
            "(row 1: a = 'x', b = 'y')",
        ),
        ({"text": "c"}, "--text c: d.csv has no such column; it has 'a', 'b'"),
        ({"text": "a", "label": "c"}, "--label c: d.csv has no such column; it has 'a', 'b'"),
        ({"text_pair": "a"}, "--text-pair a: name the first text too, with --text"),
    ],
)
def test_a_missing_column_is_said_with_those_there(given: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as error:
        find_columns(rows(a=["x"], b=["y"]), "d.csv", **given)
    assert str(error.value) == says


def test_the_type_of_the_labels_tells_the_task() -> None:
    def task(label: list[Any], name: str = "label", **known: Any) -> Task:
        columns = Columns("text", None, name)
        return infer_task(rows(text=["x"] * len(label), **{name: label}), columns, "d", **known)

    assert task(["pos", "neg", "pos"]) == CLASSES
    assert task([2, 10, 1]).labels == ("1", "2", "10")
    assert task([True, False]).labels == ("False", "True")
    assert task([0.5, 1.0]) == Task("regression", ("score",), "pearson", pair=False)
    assert task([1, 5], name="Score").kind == "regression"
    assert task([1, 5], known_labels=["score"]).kind == "regression"
    assert task([["b", "a"], [], ["b"]]) == Task("multilabel", ("a", "b"), "micro_f1", pair=False)
    assert task(["pos", "neg"], metric="macro_f1").metric == "macro_f1"


def test_tags_of_spans_are_judged_by_spans_and_others_by_words() -> None:
    columns = Columns("tokens", None, "tags")
    task = infer_task(SLOTS, columns, "d")
    assert task == Task("tokens", ("B-artist", "I-artist", "O"), "span_f1", pair=False)
    speech = rows(tokens=[["the", "book"]], tags=[["DET", "NOUN"]])
    assert infer_task(speech, columns, "d").metric == "accuracy"
    assert is_bio(["O", "B-x", "I-x", "S-y"])
    assert not is_bio(["O", "X"])
    assert not is_bio(["O"])


def test_names_that_the_data_set_carries_are_kept_in_their_order() -> None:
    names = ClassLabel(names=["zero", "one"])
    flat = Features({"text": Value("string"), "label": names})
    data = Dataset.from_dict({"text": ["x", "y"], "label": [1, 1]}, features=flat)
    assert infer_task(data, ONE, "d").labels == ("zero", "one")
    nested = Features({"text": Value("string"), "label": List(names)})
    data = Dataset.from_dict({"text": ["x", "y"], "label": [[1], [0, 1]]}, features=nested)
    assert infer_task(data, ONE, "d") == Task("multilabel", ("zero", "one"), "micro_f1", pair=False)


def test_the_teachers_order_of_labels_counts() -> None:
    def labels(known: list[str], given: Sequence[Any] = ("neg", "pos")) -> tuple[str, ...]:
        return infer_task(rows(text=["x", "y"], label=list(given)), ONE, "d", known).labels

    assert labels(["pos", "other", "neg"]) == ("pos", "other", "neg")
    assert labels(["POS", "NEG"]) == ("POS", "NEG")
    assert labels(["pos", "neg"], [0, 1]) == ("pos", "neg")  # integers are ids
    assert labels(["LABEL_0", "LABEL_1"], [0, 1]) == ("LABEL_0", "LABEL_1")
    assert labels(["1", "0"], [0, 1]) == ("1", "0")  # unless they are names
    assert labels(["neg", "pos"], ["neg", "neg"]) == ("neg", "pos")


def test_glue_brings_its_order_of_labels_and_its_metric() -> None:
    data = rows(text=["x", "y"], label=["equivalent", "not_equivalent"])
    official = Task("classification", ("not_equivalent", "equivalent"), "f1", pair=False)
    assert infer_task(data, ONE, "d", glue="mrpc") == official
    assert infer_task(data, ONE, "d", ["LABEL_0", "LABEL_1"], glue="mrpc") == official
    known = infer_task(data, ONE, "d", ["equivalent", "not_equivalent"], glue="mrpc")
    assert known.labels == ("equivalent", "not_equivalent")
    assert infer_task(rows(text=["x"], label=[2.5]), ONE, "d", glue="stsb").metric == "pearson"


@pytest.mark.parametrize(
    ("label", "known", "says"),
    [
        (["a", "a"], None, "d.csv: every label is 'a'; a task needs two or more"),
        (["a", ""], None, "d.csv, row 2: 'label' is empty"),
        (["a", None], None, "d.csv, row 2: 'label' is empty"),
        ([0.5, float("nan")], None, "d.csv, row 2: 'label' is nan; give a number"),
        ([0.5, None], None, "d.csv, row 2: 'label' is None; give a number"),
        ([0.5, 1e300], None, "d.csv, row 2: 'label' is 1e+300; give one in 32 bits"),
        (["a", "c"], ["a", "b"], "row 2: label 'c' is none of the 2 known, a, b; fix"),
        (["a"], list("bcdefghijkl"), "of the 11 known, b, c, d, e, f, g, h, i, ...; fix"),
        ([0, 2], ["a", "b"], "row 2: label '2' is none of the 2 known"),
        ([0, 1], ["1", "2"], "row 1: label '0' is none of the 2 known"),
        ([0.5, 1.0], ["a", "b"], "'label' holds scores but the model knows the classes a, b"),
        ([[], []], None, "d.csv: no row has a label"),
    ],
)
def test_labels_that_do_not_fit_are_said(label: list[Any], known: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        infer_task(rows(text=["x"] * len(label), label=label), ONE, "d.csv", known)
    assert says in str(error.value)


def test_a_metric_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="metric pearson: not for classification; there are acc"):
        infer_task(SENTIMENT, ONE, "d", metric="pearson")


def test_words_and_tags_of_different_number_are_said(tokenizer: BertTokenizerFast) -> None:
    data = rows(tokens=[["a"], ["a", "b"]], tags=[["O"], ["O"]])
    columns = Columns("tokens", None, "tags")
    with pytest.raises(UserError, match="row 2: 2 words but 1 tags"):
        infer_task(data, columns, "d")
    with pytest.raises(UserError, match="row 2: 2 words but 1 tags"):
        encode(data, Task("tokens", ("O", "X"), "accuracy", False), columns, tokenizer, 8, "d")


def test_texts_become_ids_between_special_tokens(tokenizer: BertTokenizerFast) -> None:
    encoded = encode(SENTIMENT, CLASSES, ONE, tokenizer, 16, "d")
    good, bad, film = (tokenizer.vocab[word] for word in ("good", "bad", "film"))
    assert encoded[0] == {"input_ids": [2, good, film, 3], "token_type_ids": [0] * 4, "labels": 1}
    assert encoded[-1] == {"input_ids": [2, bad, 3], "token_type_ids": [0] * 3, "labels": 0}
    assert (len(encoded), encoded.lengths, encoded.truncated) == (2, [4, 3], 0)
    with pytest.raises(IndexError):
        encoded[2]


def test_of_a_pair_the_longer_text_is_cut(tokenizer: BertTokenizerFast) -> None:
    data = rows(text=["a b c d e f", "a"], text_pair=["g h", "b"], label=["neg", "pos"])
    task = Task("classification", ("neg", "pos"), "accuracy", pair=True)
    encoded = encode(data, task, Columns("text", "text_pair", "label"), tokenizer, 8, "d")
    # [CLS] a b c [SEP] g h [SEP]
    assert encoded[0]["input_ids"] == [2, 5, 6, 7, 3, 11, 12, 3]
    assert encoded[0]["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert encoded.truncated == 1


def test_a_tag_stands_at_the_first_piece_of_its_word(tokenizer: BertTokenizerFast) -> None:
    words = [["the", "xy", "\u200b", "film"], ["a"]]  # the third word has no piece at all
    data = rows(tokens=words, tags=[["O", "B-x", "I-x", "O"], ["O"]])
    columns = Columns("tokens", None, "tags")
    task = Task("tokens", ("O", "B-x", "I-x"), "span_f1", pair=False)
    encoded = encode(data, task, columns, tokenizer, 16, "d")
    # [CLS] the x ##y film [SEP]
    assert encoded[0]["labels"] == [-100, 0, 1, -100, 0, -100]
    assert encoded[1]["labels"] == [-100, 0, -100]
    cut = encode(data, task, columns, tokenizer, 4, "d")
    assert cut[0]["labels"] == [-100, 0, 1, -100]
    assert cut.truncated == 1


def test_labels_follow_their_kind(tokenizer: BertTokenizerFast) -> None:
    def labels(task: Task, label: list[Any], labelled: bool = True) -> list[Any]:
        data = rows(text=["a"] * len(label), label=label)
        encoded = encode(data, task, ONE, tokenizer, 8, "d", labelled)
        return [encoded[i]["labels"] for i in range(len(encoded))]

    scores = Task("regression", ("score",), "pearson", pair=False)
    several = Task("multilabel", ("a", "b", "c"), "micro_f1", pair=False)
    assert labels(CLASSES, [1, 0]) == [1, 0]
    assert labels(scores, [2.5, 3]) == [2.5, 3.0]
    assert labels(several, [["c", "a"], []]) == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert labels(CLASSES, ["new"], labelled=False) == [-100]
    assert np.isnan(labels(scores, ["?"], labelled=False)).tolist() == [True]
    assert np.isnan(labels(several, [[]], labelled=False)).tolist() == [[True] * 3]


def test_a_score_of_minus_100_is_a_label_and_a_missing_one_is_none() -> None:
    ids, lengths = np.arange(3, dtype=np.int32), [1, 1, 1]
    scores = Encoded(input_ids=ids, lengths=lengths, labels=np.array([-100, np.nan, 1], np.float32))
    assert scores.labelled.tolist() == [True, False, True]
    several = Encoded(
        input_ids=ids, lengths=lengths, labels=np.array([[0, 1], [np.nan] * 2, [0, 0]], np.float32)
    )
    assert several.labelled.tolist() == [True, False, True]
    classes = Encoded(input_ids=ids, lengths=lengths, labels=np.array([1, -100, 0]))
    assert classes.labelled.tolist() == [True, False, True]


def test_unlabelled_words_have_no_tags(tokenizer: BertTokenizerFast) -> None:
    task = Task("tokens", ("O", "B-x"), "span_f1", pair=False)
    columns = Columns("tokens", None, None)
    assert encode(SLOTS, task, columns, tokenizer, 9, "d", False)[1]["labels"] == [-100] * 4


def test_rows_that_cannot_be_encoded_are_said(tokenizer: BertTokenizerFast) -> None:
    def attempt(data: Dataset, max_length: int = 8) -> None:
        encode(data, CLASSES, ONE, tokenizer, max_length, "d.csv")

    with pytest.raises(UserError, match=r"^d\.csv, row 2: 'text' is empty"):
        attempt(rows(text=["a", " \n"], label=["pos", "neg"]))
    with pytest.raises(UserError, match=r"^d\.csv, row 1: 'text' is empty"):
        attempt(rows(text=[None, "a"], label=["pos", "neg"]))
    with pytest.raises(UserError, match=r"^d\.csv, row 2: 'words' is empty"):
        texts_in(rows(words=[["a"], ["a", None]]), "words", "d.csv")
    with pytest.raises(UserError, match=r"^d\.csv, row 2: label 'meh' is none of the 2 known"):
        attempt(rows(text=["a", "b"], label=["pos", "meh"]))
    with pytest.raises(UserError, match=r"^--max-length 2: no token fits"):
        attempt(SENTIMENT, 2)


def test_very_long_and_numeric_texts_are_encoded(tokenizer: BertTokenizerFast) -> None:
    data = rows(text=["good film " * 10_000, "x" * 100_000], label=["pos", "neg"])
    encoded = encode(data, CLASSES, ONE, tokenizer, 128, "d")
    assert encoded.lengths == [128, 3]  # a word of 100,000 letters is one unknown word
    assert encoded.truncated == 1
    assert encode(rows(text=[7], label=["pos"]), CLASSES, ONE, tokenizer, 8, "d").lengths == [3]


def test_many_rows_are_encoded_as_each_alone(tokenizer: BertTokenizerFast) -> None:
    data = rows(text=["ab " * (i % 7 + 1) for i in range(2500)], label=["pos", "neg"] * 1250)
    encoded = encode(data, CLASSES, ONE, tokenizer, 12, "d")
    for i in (0, 999, 1000, 1001, 2499):
        assert encoded[i] == encode(data.select([i]), CLASSES, ONE, tokenizer, 12, "d")[0]


def test_encoded_rows_can_be_put_together(tokenizer: BertTokenizerFast) -> None:
    one = encode(SENTIMENT, CLASSES, ONE, tokenizer, 16, "d")
    two = encode(rows(text=["a b c d"]), CLASSES, ONE, tokenizer, 4, "d", labelled=False)
    both = concat(one, two)
    assert [both[i] for i in range(3)] == [one[0], one[1], two[0]]
    assert both.truncated == 1
    task = Task("tokens", ("O", "B-artist", "I-artist"), "span_f1", pair=False)
    tags = encode(SLOTS, task, Columns("tokens", None, "tags"), tokenizer, 16, "d")
    assert concat(tags, tags)[3] == tags[1]
    with pytest.raises(ValueError, match="different tasks"):
        concat(one, tags)


def test_the_held_out_rows_are_a_seeded_part_of_every_class() -> None:
    label = ["a"] * 600 + ["b"] * 300 + ["c"] * 99 + ["alone"]
    data = rows(text=[str(i) for i in range(1000)], label=label)
    task = infer_task(data, ONE, "d")
    train, valid = hold_out(data, task, ONE)
    assert sorted(train["text"][:] + valid["text"][:], key=int) == data["text"][:]
    counts = {name: valid["label"][:].count(name) for name in ("a", "b", "c", "alone")}
    assert counts["alone"] == 0
    assert abs(counts["a"] - 30) <= 1
    assert abs(counts["b"] - 15) <= 1
    assert abs(counts["c"] - 5) <= 1
    assert hold_out(data, task, ONE)[1]["text"][:] == valid["text"][:]
    assert hold_out(data, task, ONE, seed=1)[1]["text"][:] != valid["text"][:]
    assert len(hold_out(data, task, ONE, most=7)[1]) == 7


def test_held_out_scores_spread_over_all_scores() -> None:
    data = rows(text=["x"] * 100, label=[i / 10 for i in range(100)])
    valid = hold_out(data, infer_task(data, ONE, "d"), ONE, share=0.1)[1]
    assert sorted(score // 1 for score in valid["label"]) == list(range(10))


def test_too_few_rows_to_hold_out_are_said() -> None:
    with pytest.raises(UserError, match="too few rows of a class to hold some out; give --valid"):
        hold_out(SENTIMENT, CLASSES, ONE)


def test_official_glue_files_have_their_official_sizes() -> None:
    folder = os.environ.get("ALEMBERT_GLUE")
    if folder is None:
        pytest.skip("ALEMBERT_GLUE names no folder of GLUE")
    found = glue("mrpc", folder)
    assert (len(found["train"]), len(found["eval"])) == (3668, 408)
