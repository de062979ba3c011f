"""What a file is read as holds for all files of a run and for its model; formats with types."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import BertTokenizerFast

from alembert.data.files.skipped import Skipped
from alembert.data.labels import label_names
from alembert.data.splits import Files, prepare, prepare_file
from alembert.data.tasks import infer_task
from alembert.evaluation.metrics import metrics
from alembert.io.errors import UserError


def file(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def labels_of(path: str) -> tuple[tuple[str, ...], list[list[str]], str]:
    """The task's labels, those of the rows, and the metric."""
    files = Files(train=path)
    read = files.labelled(files.train, None)
    task = infer_task(read.rows, read.columns, path, read.known)
    return task.labels, label_names(read.rows, read.columns, path), task.metric


TRAIN = "text,label\n" + "good film,up\nbad film,down\n" * 20


def test_a_label_that_train_lacks_counts_as_an_error_and_is_told(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    test = "text,label\n" + "good film,up\n" * 19 + "bad film,sideways\n"
    files = Files(
        train=file(tmp_path, "train.csv", TRAIN), evaluation=file(tmp_path, "test.csv", test)
    )
    splits = prepare(files, tokenizer, 16, None, 0)
    assert splits.test is not None
    assert splits.test.unseen == ("sideways",)
    assert splits.test.labels.tolist() == [1] * 19 + [2]
    assert any("1 of 20 labels were not trained on and count as errors" in line for line in news)
    logits = np.tile(np.float32([-1, 1]), (20, 1))
    found = metrics(splits.task, logits, splits.test)
    assert found["accuracy"] == 0.95
    assert found["f1"] == pytest.approx(2 * 0.95 / 1.95)  # precision 19/20, recall 1


def test_many_labels_that_train_lacks_are_refused(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    test = "text,label\n" + "good film,up\n" * 8 + "bad film,sideways\n" * 2
    for role in ("evaluation", "valid"):
        files = Files(
            train=file(tmp_path, "train.csv", TRAIN), **{role: file(tmp_path, "test.csv", test)}
        )
        with pytest.raises(UserError, match="row 9: label 'sideways' is none of the 2 known"):
            prepare(files, tokenizer, 16, None, 0)


def test_a_tag_that_train_lacks_is_a_span_that_is_missed(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    train = "good O\nfilm B-work\n\nbad O\nbook B-work\n\nis O\n\n"
    test = "good O\n" * 9 + "film B-work\ntable B-place\n"
    files = Files(
        train=file(tmp_path, "train.conll", train),
        valid=file(tmp_path, "valid.conll", train),
        evaluation=file(tmp_path, "test.conll", test),
    )
    splits = prepare(files, tokenizer, 32, None, 0)
    assert splits.test is not None
    assert splits.test.unseen == ("B-place",)
    labels = splits.test[0]["labels"]
    logits = [np.float32([[label == 0, label == 1] for label in labels])]  # ids: B-work, O
    found = metrics(splits.task, logits, splits.test)
    assert found["span_precision"] == 1 / 2  # B-work for B-place
    assert found["span_recall"] == 1 / 2


def test_a_label_of_several_that_train_lacks_is_one_that_is_missed(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    train = [{"text": "good", "labels": ["a"]}, {"text": "bad", "labels": ["a", "b"]}] * 10
    test = [{"text": "good", "labels": ["a"]}] * 10 + [{"text": "bad", "labels": ["c"]}]
    files = Files(
        train=file(tmp_path, "train.json", json.dumps(train)),
        evaluation=file(tmp_path, "test.json", json.dumps(test)),
    )
    splits = prepare(files, tokenizer, 16, None, 0)
    assert splits.test is not None
    assert splits.test.unseen == ("c",)
    logits = np.float32([[1, -1]] * 10 + [[-1, -1]])
    found = metrics(splits.task, logits, splits.test)
    assert found["accuracy"] == pytest.approx(10 / 11)
    assert found["micro_f1"] == pytest.approx(2 * 10 / (10 + 11))


def test_other_files_are_read_as_train_is(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    train = "text,label\n" + "good,a|b\nbad,b\nfilm,a\n" * 10
    files = Files(
        train=file(tmp_path, "train.csv", train),
        valid=file(tmp_path, "valid.csv", "text,label\ngood,a\nbad,b\n"),
        evaluation=file(tmp_path, "test.csv", "text,label\ngood,b|a\n"),
    )
    splits = prepare(files, tokenizer, 16, None, 0)
    assert splits.valid.labels.tolist() == [[1, 0], [0, 1]]
    assert splits.test is not None
    assert splits.test.labels.tolist() == [[1, 1]]
    files = Files(
        train=file(tmp_path, "train.csv", "text,label\n" + "good,1\nbad,0\n" * 10),
        evaluation=file(tmp_path, "test.csv", "text,label\ngood,1.0\nbad,0.0\n"),
    )
    splits = prepare(files, tokenizer, 16, None, 0)
    assert splits.test is not None
    assert splits.test.labels.tolist() == [1, 0]


@pytest.mark.parametrize("bad", ["a row, of three\n", ",\n", '"",up\n', "good,\n"])
def test_rows_that_cannot_be_read_are_left_out_and_listed(
    tmp_path: Path, tokenizer: BertTokenizerFast, bad: str
) -> None:
    train = TRAIN + (bad if bad != "a row, of three\n" else "a,b,c\n")
    path = file(tmp_path, "train.csv", train)
    if bad != ",\n":  # such a row holds nothing, and is left out anyhow
        with pytest.raises(UserError, match=r"train\.csv, (line|row) 4\d"):
            prepare(Files(train=path), tokenizer, 16, None, 0)
    files = Files(train=path, skip_bad_rows=1)
    splits = prepare(files, tokenizer, 16, None, 0)
    assert len(splits.train) + len(splits.valid) == 40
    assert len(files.skips.rows) == (bad != ",\n")
    prepare(files, tokenizer, 16, None, 0)  # for a teacher's tokenizer: nothing is listed twice
    assert len(files.skips.rows) == (bad != ",\n")


def test_more_bad_rows_than_allowed_are_refused(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    lines = [json.dumps({"text": "good", "label": n % 2}) for n in range(20)]
    lines[3], lines[7] = '{"text": ', "[1]"
    path = file(tmp_path, "train.jsonl", "\n".join(lines))
    with pytest.raises(UserError, match=r"line 8: not an object .*\(--skip-bad-rows 1: as many"):
        prepare(Files(train=path, skip_bad_rows=1), tokenizer, 16, None, 0)
    files = Files(train=path, skip_bad_rows=2)
    prepare(files, tokenizer, 16, None, 0)
    assert [row.row for row in files.skips.rows] == ["line 4", "line 8"]
    assert isinstance(files.skips.rows[0], Skipped)
    with pytest.raises(UserError, match="--skip-bad-rows -1: must be 0 or more"):
        Files(train=path, skip_bad_rows=-1)


def test_parquet_has_vectors_of_fixed_size_and_names_of_classes(tmp_path: Path) -> None:
    vectors = pa.array([[0, 1, 0], [1, 1, 0]], pa.list_(pa.int8(), 3))
    pq.write_table(pa.table({"text": ["x", "y"], "label": vectors}), tmp_path / "v.parquet")
    assert labels_of(str(tmp_path / "v.parquet"))[:2] == (("0", "1", "2"), [["1"], ["0", "1"]])
    names = Features(
        {
            "tokens": List(Value("string")),
            "ner_tags": List(ClassLabel(names=["O", "B-PER", "U-PER"])),
        }
    )
    data = Dataset.from_dict({"tokens": [["x", "y"]], "ner_tags": [[2, 0]]}, features=names)
    data.to_parquet(tmp_path / "t.parquet")
    expected = (("O", "B-PER", "S-PER"), [["S-PER", "O"]], "span_f1")
    assert labels_of(str(tmp_path / "t.parquet")) == expected
    data.save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    assert labels_of(str(arrow)) == expected


def test_integer_tags_take_their_names_from_the_card_beside_them(tmp_path: Path) -> None:
    rows = {"tokens": ["x", "y"], "ner_tags": [1, 0]}
    path = file(tmp_path, "train.jsonl", json.dumps(rows))
    assert labels_of(path)[2] == "accuracy"
    card = """---
dataset_info:
  features:
  - name: tokens
    list: string
  - name: ner_tags
    list:
      class_label:
        names:
          '0': O
          '1': B-PER
---
A data set.
"""
    file(tmp_path, "README.md", card)
    assert labels_of(path) == (("O", "B-PER"), [["B-PER", "O"]], "span_f1")
    file(tmp_path, "README.md", card.replace("list: string", "list: &a [*a]"))  # aliases
    assert labels_of(path)[2] == "accuracy"


def test_a_model_of_a_run_is_evaluated_on_the_columns_on_record(
    tmp_path: Path, tokenizer: BertTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alembert")
    run = tmp_path / "run"
    (run / "student").mkdir(parents=True)
    record: dict[str, Any] = {"train": "t.csv", "text": "body", "label": "queue", "task": None}
    file(run, "environment.json", json.dumps({"arguments": {"files": record}}))
    path = file(tmp_path, "test.csv", "body,queue,text\ngood,up,x\nbad,down,y\n")
    for model in (run, run / "student"):
        files = Files(train=path).as_trained(str(model))
        assert files.named == ("body", None, "queue")
        data, _ = prepare_file(files, tokenizer, 16, ["down", "up"])
        assert data.labels.tolist() == [1, 0]
    assert "read as the run of" in caplog.text
    assert Files(train=path, text="text").as_trained(str(run)).named == ("text", None, "queue")
    other = file(tmp_path, "other.csv", "text,label\ngood,up\nbad,down\n")
    assert Files(train=other).as_trained(str(run)).named == (None, None, None)
    assert Files(train=path).as_trained(str(tmp_path)).named == (None, None, None)


def test_a_spreadsheet_is_read_or_names_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "d.xlsx"
    try:
        import openpyxl
    except ImportError:
        path.write_bytes(b"x")
        with pytest.raises(UserError, match=r"needs openpyxl: pip install 'alembert\[excel\]'"):
            labels_of(str(path))
        return
    book = openpyxl.Workbook()
    for row in (["text", "label", None], ["good", 1, None], ["bad", 0, None], [None, None, None]):
        book.active.append(row)
    book.create_sheet("notes")
    book.save(path)
    assert labels_of(str(path))[:2] == (("0", "1"), [["1"], ["0"]])
    later = bytearray(path.read_bytes())
    later[later.index(b"PK\x01\x02") + 6] = 99  # the version of zip that is needed to unpack it
    for content in (b"x", later):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not readable as a spreadsheet"):
            labels_of(str(path))
