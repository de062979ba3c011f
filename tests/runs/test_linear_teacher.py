"""Fine-tuning first imitates a linear model on the frozen vectors of the model it starts from."""

import json
from pathlib import Path

import pytest
from support.runs import saved, task_file
from support.tasks import KINDS
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.runs.job import Job
from alembert.runs.run import run


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


def test_it_needs_a_model_to_start_from(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    settings = {"stages.task.teacher": "linear", "stages.task.objective": "[{kind: SoftLabels}]"}
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), settings)
    files = Files(train=task_file(tmp_path / "train.csv"))
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files)
    with pytest.raises(UserError, match="'task': a linear teacher reads the vectors"):
        run(job)
    assert not (tmp_path / "run").exists()
