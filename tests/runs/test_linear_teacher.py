"""Fine-tuning first imitates a linear model on the frozen vectors of the model it starts from."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.models import tiny
from support.runs import saved, task_file
from support.tasks import KINDS
from transformers import BertTokenizerFast

from alembert import finetune as api_finetune
from alembert.data.splits import Files, prepare
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.runs import undistilled
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.stages.linear_teacher import with_linear_teacher


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_learns_what_a_linear_model_says(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    write, name, _ = KINDS[kind]
    body, data = saved(tmp_path / "body", tokenizer), write(tmp_path / name)
    settings = {"stages.linear.steps": "60", "stages.linear.batch_size": "8",
                "stages.linear.learning_rate": "3e-3", "stages.task.steps": "2"}  # fmt: skip
    recipe = with_settings(finetune(load_config(body)), settings)
    run(Job(recipe=recipe, out=tmp_path / "run", student=body, files=Files(train=data)))
    assert any(line.startswith("imitates frozen embeddings") for line in news)
    log = [json.loads(line) for line in (tmp_path / "run/stages/01-linear/log.jsonl").open()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < max(0.6 * losses[0], 1e-4)  # which of pairs was near from the start


def without_labels(data: str, to: Path) -> str:
    """The texts of a file of any kind, each one word longer."""
    if data.endswith(".csv"):
        rows = pd.read_csv(data).iloc[:, :-1]
        rows.assign(**{rows.columns[0]: rows.iloc[:, 0] + " too"}).to_csv(to, index=False)
        return str(to)
    if data.endswith(".jsonl"):
        texts = [json.loads(line)["text"] for line in Path(data).read_text().splitlines()]
        rows = [{"text": f"{text} too"} for text in texts]
    else:
        blocks = Path(data).read_text().strip().split("\n\n")
        read = [[line.split()[0] for line in block.splitlines()] for block in blocks]
        rows = [{"tokens": [*words, "too"]} for words in read]
    to.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(to)


@pytest.mark.parametrize("windows", [False, True], ids=["cut", "windows"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_texts_are_labelled_by_the_linear_model_alone(
    kind: str, windows: bool, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    write, name, _ = KINDS[kind]
    body, data = saved(tmp_path / "body", tokenizer), write(tmp_path / name)
    more = without_labels(data, tmp_path / ("more.csv" if ".csv" in data else "more.jsonl"))
    files = Files(train=data, unlabelled=more, windows=windows)
    whole = prepare(files, tokenizer, 8, None, 0)
    splits, alone = whole.apart, prepare(replace(files, unlabelled=None), tokenizer, 8, None, 0)
    assert splits.train.input_ids.tolist() == alone.train.input_ids.tolist()
    assert splits.unlabelled is not None
    assert splits.unlabelled.count == 40
    assert len(splits.train) + len(splits.unlabelled) == len(whole.train)

    found = with_linear_teacher(splits, tokenizer, body, 8, 0)
    known = with_linear_teacher(alone, tokenizer, body, 8, 0)
    labelled = alone.raw_train.texts
    mixed = (len(labelled) + 40) // 2 if splits.task.pair else 0
    if not windows or kind == "tokens":
        rows = len(whole.train) + mixed
    else:
        rows = len(labelled) + 40 + mixed  # the beginnings of long texts
    assert len(found) == rows
    width = splits.train.lengths[0] if kind == "tokens" else None
    first, same = (torch.as_tensor(each[0]["teacher_logits"])[:width] for each in (found, known))
    torch.testing.assert_close(first, same)


def test_fine_tuning_takes_texts_without_labels(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    body, data = saved(tmp_path / "body", tokenizer), task_file(tmp_path / "train.csv")
    more = task_file(tmp_path / "more.csv", rows=30, seed=1, labelled=False)
    made = [
        api_finetune(
            body, tmp_path / name, train=data, unlabelled=given, baselines=False,
            settings={"stages.linear.until": "null", "stages.linear.epochs": "1",
                      "stages.linear.batch_size": "1", "stages.task.steps": "2"},
        )
        for name, given in (("with", more), ("without", None))
    ]  # fmt: skip
    steps = [
        json.loads((Path(each.folder) / "stages/01-linear/facts.json").read_text())["step"]
        for each in made
    ]
    assert steps[0] - steps[1] == 30
    assert any("30 unlabelled" in line for line in news)


def test_texts_that_nothing_labels_are_said_to_be_left_out(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    body, data = saved(tmp_path / "body", tokenizer), task_file(tmp_path / "train.csv")
    more = task_file(tmp_path / "more.csv", rows=9, labelled=False)
    recipe = with_settings(finetune(load_config(body)), {"stages.linear": "null"})
    Job(recipe=recipe, out=tmp_path / "run", student=body,
        files=Files(train=data, unlabelled=more)).check_stages()  # fmt: skip
    assert news == [f"{more}: no stage of this run labels these texts: they are left out"]


def test_a_student_without_its_teacher_keeps_a_linear_one(tmp_path: Path) -> None:
    recipe = finetune(tiny("bert").config)
    linear = next(stage for stage in recipe.stages if stage.name == "linear")
    files = Files(train=task_file(tmp_path / "train.csv"))
    assert (
        linear
        in undistilled.without_teacher(
            Job(recipe=recipe, out=tmp_path, student="body", files=files),
            "classification",
        ).recipe.stages
    )


def test_it_needs_a_model_to_start_from(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    settings = {"stages.task.teacher": "linear", "stages.task.objective": "[{kind: SoftLabels}]"}
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), settings)
    files = Files(train=task_file(tmp_path / "train.csv"))
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files)
    with pytest.raises(UserError, match="'task': a linear teacher reads the vectors"):
        run(job)
    assert not (tmp_path / "run").exists()
