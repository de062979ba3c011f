"""Rows in memory train as their file does, and a call without `out` has its own cached folder."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from support.runs import saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.api import evaluate, search, tune
from alembert.api.options import columns_of, files_of
from alembert.io.answers import Classification
from alembert.io.errors import UserError

SHORT: dict[str, Any] = {"max_length": 32, "epochs": 1.0}
RENAMED = {"text": "body", "label": "queue"}
COLUMNS = {"text": "body", "label": "queue"}


@pytest.fixture
def body(tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return saved(tmp_path / "body", tokenizer)


def weights(model: alembert.Model) -> bytes:
    return (model.path / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_notebook_needs_no_file_and_no_folder(tmp_path: Path, body: str) -> None:
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", seed=9)
    frame = pd.read_csv(train).rename(columns=RENAMED)
    rows = pd.read_csv(test).rename(columns=RENAMED).to_dict("records")
    teacher = alembert.finetune(body, train=train, eval=test, **SHORT)
    student = alembert.distill(
        teacher, train=frame, eval=rows, columns=COLUMNS, export=False, **SHORT
    )
    assert {model.folder.parent for model in (teacher, student)} == {
        tmp_path / "cache" / "alembert" / "runs"
    }
    assert student.metrics["student"]["accuracy"] >= 0
    (answer,) = student.predict(["a good film"])
    assert isinstance(answer, Classification)
    measured = student.evaluate(rows, columns=COLUMNS, max_length=32)
    assert measured["accuracy"] == student.metrics["student"]["accuracy"]
    assert evaluate(student.folder, test, max_length=32) == measured
    arguments = json.loads((student.folder / "environment.json").read_text())["arguments"]
    told = arguments["files"]
    assert told["train"].startswith("the DataFrame given as train (sha256 ")
    assert told["evaluation"].startswith("the list given as eval (sha256 ")
    assert (told["text"], told["text_pair"], told["label"]) == ("body", None, "queue")


@pytest.mark.slow
def test_rows_in_memory_make_the_weights_of_their_file_and_share_its_folder(
    tmp_path: Path, body: str, news: list[str]
) -> None:
    path = task_file(tmp_path / "train.csv")
    whole = pd.read_csv(path)
    first = alembert.finetune(body, train=path, **SHORT)
    apart = alembert.finetune(body, tmp_path / "apart", train=Dataset.from_pandas(whole), **SHORT)
    assert weights(first) == weights(apart)
    moved = Path(path).rename(tmp_path / "moved.csv")
    for given in (moved, str(moved), whole, whole.to_dict("records"), Dataset.from_pandas(whole)):
        news.clear()
        assert alembert.finetune(body, train=given, **SHORT).folder == first.folder
        assert f"{first.folder}: finished before; nothing to do" in news
    changed = whole.copy()
    changed.loc[3, "label"] = "flat" if changed.loc[3, "label"] != "flat" else "up"
    others = [
        alembert.finetune(body, train=changed, **SHORT),
        alembert.finetune(body, train=whole, seed=1, **SHORT),
        alembert.finetune(body, train=whole, valid=whole, **SHORT),
        alembert.finetune(body, train=whole, settings={"stages.task.clip": 2}, **SHORT),
    ]
    assert len({model.folder for model in (first, *others)}) == 5


@pytest.mark.slow
def test_tune_and_search_have_folders_of_their_own_too(
    tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.read_csv(task_file(tmp_path / "train.csv"))
    teacher = alembert.finetune(body, train=rows, **SHORT)
    tries = ["stages.task.learning_rate=1e-4,1e-3"]
    for _ in range(2):
        trials = tune(teacher, "distilbert", tries, train=rows, **SHORT)
    assert len(trials) == 2
    home = tmp_path / "cache" / "alembert" / "runs"
    (tuned,) = home.glob("tune-*")
    assert (tuned / "trials.json").is_file()
    asked: list[Path] = []
    monkeypatch.setattr("alembert.api.train._present", lambda *_: None)
    monkeypatch.setattr(
        "alembert.search.search.search", lambda *given: asked.append(given[3]) or "found"
    )
    for more in ({}, {}, {"trials": 3}, {"seed": 2}, {"train": rows[:50]}):
        search(teacher, **{"train": rows, "max_latency_ms": 9.0, **more})
    assert asked[0] == asked[1]
    assert len(set(asked)) == 4
    assert {path.parent for path in asked} == {home}


def test_a_dataset_dict_gives_the_splits_that_are_not_named_otherwise(news: list[str]) -> None:
    def one(text: str) -> Dataset:
        return Dataset.from_dict({"text": [text], "label": [1]})

    names = ("train", "validation", "test", "spare")
    splits = DatasetDict({name: one(name) for name in names})
    files = files_of({"train": splits})
    assert files is not None
    found = {name: source.rows["text"][0] for name, source in files.sources.items()}
    assert found == {"train": "train", "valid": "validation", "evaluation": "test"}
    assert files.arguments["valid"].startswith(
        "the DatasetDict given as train, split 'validation' (sha256 "
    )
    assert "splits of the DatasetDict that are not read: spare" in news
    other = files_of({"train": splits, "eval": one("mine"), "valid": splits})
    assert other is not None
    found = {name: source.rows["text"][0] for name, source in other.sources.items()}
    assert found == {"train": "train", "valid": "validation", "evaluation": "mine"}
    alone = files_of({"train": DatasetDict({"train": one("train")})})
    assert alone is not None
    assert (alone.valid, alone.evaluation) == (None, None)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            {"columns": {"lable": "queue"}},
            "columns: 'lable' is none of text, text_pair, label: rename the key",
        ),
        ({"columns": {"text": 3}}, "columns: 'text' is 3: give the name of a column"),
        (
            {"columns": {"text": "body"}, "text": "body"},
            "columns: 'text' is given as text, too: leave one of them out",
        ),
    ],
)
def test_a_wrong_name_of_a_column_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        columns_of(given)
    assert str(raised.value) == complaint


def test_names_that_the_rows_do_not_have_and_tasks_that_they_cannot_be_are_refused(
    body: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--text body: the list given as train has no such column"):
        alembert.finetune(body, tmp_path / "run", train=[{"text": "a"}], columns=COLUMNS)
    with pytest.raises(UserError, match="--task rte: train is then the folder of that task"):
        files_of({"task": "rte", "train": [{"text": "a"}]})
