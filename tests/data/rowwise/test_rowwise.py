"""Files in blocks: each row once, with its text, and written as it was read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from alembert.data.rowwise import answering, reading, writing
from alembert.data.sources import read
from alembert.io.answers import Guess, Labels, Prediction, Score, Tag, Tags
from alembert.io.errors import UserError

ROWS = 2500  # two blocks and a half


def write_csv(path: Path) -> None:
    path.write_text("id,text\n" + "".join(f'{n},"text, {n}"\n' for n in range(ROWS)))


def write_jsonl(path: Path) -> None:
    rows = ({"id": n, "text": f"text, {n}"} for n in range(ROWS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path) -> None:
    pd.DataFrame({"id": range(ROWS), "text": [f"text, {n}" for n in range(ROWS)]}).to_parquet(path)


def write_western(path: Path) -> None:
    rows = "".join(f'{n},"text, {n}"\n' for n in range(ROWS - 1))
    path.write_bytes(f'id,text\n{rows}{ROWS - 1},"text, caf\xe9"\n'.encode("cp1252"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", write_csv),
        ("a.jsonl", write_jsonl),
        ("a.parquet", write_parquet),
        ("west.csv", write_western),
    ],
)
def test_blocks_hold_the_rows_that_the_whole_file_holds(
    name: str, write: object, tmp_path: Path
) -> None:
    assert callable(write)
    write(tmp_path / name)
    blocks = list(reading.blocks(str(tmp_path / name)))
    whole = read(str(tmp_path / name))
    assert [len(block.texts) for block in blocks] == [1000, 1000, 500]
    assert [text for block in blocks for text in block.texts] == whole["text"][:]
    assert [int(cell) for block in blocks for cell in block.columns["id"]] == list(range(ROWS))
    assert blocks[-1].position <= blocks[-1].size  # Parquet has a footer behind its rows
    assert [block.position for block in blocks] == sorted(block.position for block in blocks)


def test_a_row_without_a_text_has_none_and_a_pair_has_two(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("question,answer,more\na,b,1\n,b,2\na,  ,3\n")
    (block,) = reading.blocks(str(path), "question", "answer")
    assert block.texts == [("a", "b"), None, None]
    assert block.columns["more"] == ["1", "2", "3"]
    (block,) = reading.blocks(str(path), "answer")
    assert block.texts == ["b", "b", None]


def test_words_are_a_text(tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    path.write_text('{"tokens": ["a", "film"], "n": 1}\n{"tokens": [], "n": 2}\n')
    (block,) = reading.blocks(str(path))
    assert block.texts == [["a", "film"], None]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("text\n", "no rows"),
        ("note,more\na,b\n", "no column of text among 'note', 'more'; name it with --text"),
    ],
)
def test_a_file_without_texts_is_refused(content: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=line):
        list(reading.blocks(str(path)))


def test_a_key_that_comes_later_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    rows = [{"text": "a"}] * reading.ROWS + [{"text": "a", "extra": 1}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="key 'extra' is not in the rows above"):
        list(reading.blocks(str(path)))


BLOCKS = (
    {"text": ["a, b", 'c "d"'], "late": [None, None], "list": [[0.5, 1.0], [2.0]]},
    {"text": ["e\nf", None], "late": ["now", None], "list": [None, []]},
)


@pytest.mark.parametrize("suffix", writing.WRITERS)
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    with writing.writer(out) as write:
        for block in BLOCKS:
            write(block)
        assert not out.exists()
    rows = [
        dict(zip(block, row, strict=True))
        for block in BLOCKS
        for row in zip(*block.values(), strict=True)
    ]
    if suffix == ".parquet":
        assert pq.read_table(out).to_pylist() == rows
    elif suffix == ".jsonl":
        assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    else:
        again = pd.read_csv(out, dtype=str, keep_default_na=False)
        assert list(again["text"]) == ["a, b", 'c "d"', "e\nf", ""]
        assert list(again["late"]) == ["", "", "now", ""]
        assert list(again["list"]) == ["[0.5, 1.0]", "[2.0]", "", "[]"]


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with writing.writer(tmp_path / "out.parquet") as write:
            write({"text": ["a"]})
            write({"text": [1.5]})

    with pytest.raises(UserError, match=r"out\.parquet: a column mixes types"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "line"), [("there.csv", "is there already"), ("out.txt", "unknown kind of file")]
)
def test_an_out_that_cannot_be_written_is_refused(name: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "there.csv").touch()
    with pytest.raises(UserError, match=line):
        writing.check_out(tmp_path / name)


TAG = Tag(text="Rome", label="B-city", start=0, end=4, score=0.9)
SPAN = Tag(text="Rome", label="city", start=0, end=4, score=0.9)
SPOKEN = {"text": "Rome", "label": "city", "start": 0, "end": 4, "score": 0.9}


@pytest.mark.parametrize(
    ("kind", "every", "answer", "cells"),
    [
        ("classification", False, Prediction("x", 0.7, {"x": 0.7, "y": 0.3}), ["x", 0.7]),
        ("classification", True, Prediction("x", 0.7, {"x": 0.7, "y": 0.3}), ["x", 0.7, 0.7, 0.3]),
        ("multilabel", False, Labels(("y",), {"x": 0.2, "y": 0.8}), [["y"], 0.2, 0.8]),
        ("regression", False, Score(2.5), [2.5]),
        ("tokens", False, Tags((TAG,), (SPAN,)), [["B-city"], [SPOKEN]]),
        ("words", False, [[Guess("a", 0.5)]], [[[{"word": "a", "score": 0.5}]]]),
        ("encoder", False, np.array([0.5, 1.0], np.float32), [[0.5, 1.0]]),
    ],
)
def test_an_answer_has_a_cell_in_each_column(
    kind: str, every: bool, answer: object, cells: list[object]
) -> None:
    columns = answering.Columns.of(kind, ("x", "y"), every)
    assert [[column[0] for column in columns.cells([answer]).values()]] == [cells]
    empty = columns.cells([None])
    assert list(empty) == columns.all
    assert all(column == [None] for column in empty.values())


def test_columns_of_the_same_name_and_scores_without_classes_are_refused() -> None:
    columns = answering.Columns.of("classification", ("x", "y"), False)
    with pytest.raises(UserError, match="has a column 'score', which the answers need"):
        columns.check(["text", "score"], "a.csv")
    columns.check(["text", "label"], "a.csv")
    with pytest.raises(UserError, match="--scores: is for a model with classes"):
        answering.Columns.of("regression", (), True)
