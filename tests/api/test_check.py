"""A check says what a training would do and leaves nothing behind."""

import json
from pathlib import Path

import pytest
from support.command_line import command
from support.runs import saved, task_file
from support.tasks import KINDS
from transformers import BertTokenizerFast

import alembert
from alembert.io.errors import UserError
from alembert.io.files import cache


def tree(home: Path) -> set[Path]:
    return set(home.rglob("*"))


@pytest.fixture
def bodies(tmp_path: Path, tokenizer: BertTokenizerFast) -> Path:
    saved(tmp_path / "body", tokenizer)
    saved(tmp_path / "teacher", tokenizer, "classification")
    task_file(tmp_path / "train.csv")
    task_file(tmp_path / "test.csv", seed=1)
    return tmp_path


def test_a_run_begins_with_the_first_two_lines_of_its_check(bodies: Path, news: list[str]) -> None:
    given = {"train": str(bodies / "train.csv"), "eval": str(bodies / "test.csv"),
             "max_length": 32, "epochs": 1.0}  # fmt: skip
    first, second = str(alembert.check(teacher=bodies / "body", **given)).splitlines()[:2]
    assert first.endswith("train.csv: text 'text', label 'label': classification of 3 classes "
                          "(down, flat, up), metric accuracy")  # fmt: skip
    assert second == (
        "57 rows to learn from, 3 held out, 60 to evaluate on; stage 'linear': 156 to 612 steps of "
        "32 (78 to 306 epochs); stage 'task': 2 steps of 32 (1 epochs)"
    )
    assert str(alembert.check(**given)).splitlines()[:2] == [first, second]
    news.clear()
    alembert.finetune(bodies / "body", bodies / "run", **given)
    assert [news.count(first), news.count(second)] == [1, 1]
    assert not [line for line in news if "steps of" in line and line != second]


@pytest.mark.parametrize("recipe", [None, "distilbert", "tinybert", "house"])
def test_an_estimate_comes_from_measured_steps_that_leave_nothing_behind(
    bodies: Path, recipe: str | None
) -> None:
    before, kept = tree(bodies), tree(cache("."))
    shape = {} if recipe is None else {"layers": 1}
    found = alembert.check(
        train=str(bodies / "train.csv"), teacher=bodies / "teacher", recipe=recipe, max_length=32,
        **shape,
    )  # fmt: skip
    estimate = found.estimate
    assert estimate is not None
    stages = {
        None: ["linear", "task"], "distilbert": ["task"],
        "tinybert": ["intermediate", "prediction"], "house": ["layers", "answers"],
    }  # fmt: skip
    assert [stage.name for stage in estimate.stages] == stages[recipe]
    for stage in estimate.stages:
        assert 0 < stage.step_seconds < 10
        assert stage.floor < stage.cap
    least = sum(s.floor * s.step_seconds + s.teacher_seconds for s in estimate.stages)
    assert estimate.least_seconds == pytest.approx(least)
    assert estimate.most_seconds > estimate.least_seconds
    assert estimate.memory_mb > 10
    # the teacher's logits, or its states, of all rows are computed first
    assert sum(stage.teacher_seconds for stage in estimate.stages) > 0
    assert (tree(bodies), tree(cache("."))) == (before, kept)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_task_is_checked(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    make, name, metric = KINDS[kind]
    body = saved(tmp_path / "body", tokenizer)
    found = alembert.check(train=make(tmp_path / name), teacher=body, max_length=32)
    assert found.summary.task.metric == metric
    assert found.summary.lengths.unit == "tokens"
    assert found.estimate is not None


def test_rows_in_memory_are_checked_as_their_file_is(bodies: Path) -> None:
    lines = (bodies / "train.csv").read_text().splitlines()[1:]
    rows = [dict(zip(("text", "label"), line.split(","), strict=True)) for line in lines]
    of_file = str(alembert.check(train=str(bodies / "train.csv"))).splitlines()
    of_rows = str(alembert.check(train=rows)).splitlines()
    assert of_rows[1:] == of_file[1:]
    assert of_rows[0].startswith("the list given as train: ")


def test_rows_that_cannot_be_read_are_all_listed_before_the_refusal(
    bodies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bodies)
    with Path("train.csv").open("a") as file:
        file.write(",up\ngood,\n")
    assert command("check --train train.csv", monkeypatch) == 2
    said = capsys.readouterr()
    assert "2 rows (train.csv, row 61, train.csv, row 62)" in said.out
    assert said.err == (
        "alembert: train.csv, row 61: 'text' is empty; fill it or drop the row (2 such rows: "
        "--skip-bad-rows 2 leaves them out)\n"
    )
    assert command("check --train train.csv --skip-bad-rows 2", monkeypatch) == 0


def test_the_command_line_prints_the_value_as_lines_or_as_json(
    bodies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bodies)
    found = alembert.check(train="train.csv", eval="test.csv")
    assert command("check --train train.csv --eval test.csv", monkeypatch) == 0
    assert capsys.readouterr().out == f"{found}\n"
    assert command("check --train train.csv --eval test.csv --json", monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["summary"]["counts"] == {"down": 20, "flat": 20, "up": 20}
    assert (told["estimate"], told["refusal"]) == (None, None)


def test_what_a_training_refuses_is_refused(bodies: Path) -> None:
    train = str(bodies / "train.csv")
    other = bodies / "other.csv"
    other.write_text("text,label\ngood,sideways\nbad,up\n")
    for match, given in {
        "give --train": {},
        "label 'sideways' is none of the 3 known": {"train": train, "eval": str(other)},
        "--layers is for a distillation": {"train": train, "layers": 2},
        "more than the 64 positions": {
            "train": train, "teacher": bodies / "body", "max_length": 128,
        },
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=match):
            alembert.check(**given)


def test_of_an_encoder_the_fine_tuning_is_measured_that_comes_first(
    bodies: Path, news: list[str]
) -> None:
    found = alembert.check(
        train=str(bodies / "train.csv"), teacher=bodies / "body", recipe="house", max_length=32,
        layers=1,
    )  # fmt: skip
    assert found.estimate is not None
    assert [stage.name for stage in found.estimate.stages] == ["linear", "task"]
    assert any("distill would fine-tune it first" in line for line in news)
