"""The figures of a task's rows, counted by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import BertTokenizerFast

from alembert.data.files.skipped import Skipped
from alembert.data.splits import Files
from alembert.data.summary import show
from alembert.data.summary.summary import Conflict, Found, Summary, summarize

# row 1 comes again as 4 and, with another label, as 6; "a b c" is cut at 4 tokens with its ends
ROWS = [("good film", "up"), ("bad film", "down"), ("a b c", "up"), ("good film", "up"),
        ("the book", "up"), ("good film", "down"), ("music", "down"), ("table", "up")]  # fmt: skip
EVAL = [("good film", "up"), *[(f"{x} book", "down") for x in "abcdefghi"], ("a", "sideways")]


def table(path: Path, rows: Any, name: str = "label") -> str:
    path.write_text("\n".join([f"text,{name}", *(f"{text},{label}" for text, label in rows)]))
    return str(path)


def of(files: Files, tokenizer: BertTokenizerFast | None = None, length: int = 4) -> Summary:
    return summarize(files, tokenizer, length, None, seed=0)


def test_classes_duplicates_and_labels_that_disagree_are_counted(tmp_path: Path) -> None:
    found = of(Files(train=table(tmp_path / "t.csv", ROWS)))
    assert found.counts == {"down": 3, "up": 5}
    assert found.free == 5 / 8
    assert found.duplicates == Found(2, (4, 6))
    assert found.conflicts == (Conflict((1, 4, 6), ("up", "down")),)
    assert (found.labelled + found.held_out, found.evaluated) == (8, None)
    assert (found.shared, found.unknown, found.bad) == ({}, {}, ())


def test_texts_and_labels_of_eval_are_compared_with_train(tmp_path: Path) -> None:
    test = table(tmp_path / "e.csv", EVAL)
    found = of(Files(train=table(tmp_path / "t.csv", ROWS), evaluation=test))
    assert found.evaluated == 11
    assert found.shared == {test: Found(1, (1,))}
    assert found.unknown == {test: {"sideways": 1}}
    told = list(show.lines(found))
    assert f"{test}: 1 row has a text that train has, too (1)" in told
    assert f"{test}: labels that train lacks, which every model gets wrong: 'sideways' (1)" in told


def test_lengths_are_in_tokens_or_without_a_tokenizer_in_words(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    files = Files(train=table(tmp_path / "t.csv", ROWS))
    words, tokens = of(files).lengths, of(files, tokenizer).lengths
    assert (words.unit, words.median, words.longest, words.cut) == ("words", 2, 3, 0.0)
    # each text has two special tokens, and each word here is one token
    assert (tokens.unit, tokens.median, tokens.longest) == ("tokens", 4, 5)
    assert (tokens.cut, tokens.fits) == (1 / 8, 5)
    assert any("--max-length 4 cuts 12.5%, --max-length 5 at most 1 %" in line
               for line in show.lines(of(files, tokenizer)))  # fmt: skip
    assert any("--teacher counts tokens" in line for line in show.lines(of(files)))


@pytest.mark.parametrize(("rows", "fits"), [(99, 3), (100, 2), (250, 2)])
def test_the_length_that_fits_cuts_one_text_in_a_hundred_at_most(
    tmp_path: Path, rows: int, fits: int
) -> None:
    texts = [("a b c", "up"), *[("a b", "down" if i % 2 else "up") for i in range(rows - 1)]]
    assert of(Files(train=table(tmp_path / "t.csv", texts))).lengths.fits == fits


def test_empty_rows_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    train = table(tmp_path / "t.csv", [*ROWS, ("", "up"), ("film", "")])
    files = Files(train=train)
    files.skips.all_listed = True
    found = of(files)
    why = "is empty; fill it or drop the row"
    assert found.bad == (
        Skipped(train, "row 9", f"'text' {why}"), Skipped(train, "row 10", f"'label' {why}")
    )  # fmt: skip
    assert found.counts == {"down": 3, "up": 5}
    assert any("2 rows" in line and "row 10" in line for line in show.lines(found))


def test_scores_tags_and_several_labels_have_figures_of_their_own(tmp_path: Path) -> None:
    scored = of(Files(train=table(tmp_path / "s.csv", [("a", 0.5), ("b", 1.5), ("c", 4)], "score")))
    assert (scored.scores, scored.counts, scored.free) == ((0.5, 2.0, 4.0), {}, None)
    assert next(show.lines(scored)) == "scores: from 0.5 to 4, mean 2"
    several = tmp_path / "m.jsonl"
    rows = [{"text": f"t {i}", "labels": ["a"] * (i % 2) + ["b"]} for i in range(4)]
    several.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = of(Files(train=str(several)))
    assert (found.counts, found.free) == ({"a": 2, "b": 4}, None)
    tags = tmp_path / "t.conll"
    tags.write_text("the O\nfilm B-work\n\nis O\nthe O\n\nthe B-work\nfilm B-work\n")
    found = of(Files(train=str(tags)))
    assert (found.counts, found.free) == ({"B-work": 3, "O": 3}, 0.5)
    assert (found.lengths.longest, found.duplicates) == (2, Found(1, (3,)))
    assert found.conflicts == (Conflict((1, 3), ("O B-work", "B-work B-work")),)


def test_files_made_of_others_leave_out_as_many_rows(tmp_path: Path) -> None:
    train = table(tmp_path / "t.csv", [*ROWS, ("", "up")])
    files = Files(train=train, evaluation=train, skip_bad_rows=1)
    alone = replace(files, evaluation=None)
    assert (alone.test, alone.skips) == (None, files.skips)
    assert of(alone).bad == (Skipped(train, "row 9", "'text' is empty; fill it or drop the row"),)
