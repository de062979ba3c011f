"""Every kind of task goes the whole way: teacher, student, unlabelled text, metrics."""

import json
from pathlib import Path

import pytest
import torch
from support.runs import saved, task_file
from support.tasks import KINDS, pairs
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.models.loading import load_config, load_model
from alembert.recipes import recipe_of
from alembert.recipes.choose import choose_recipe
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.runs.job import Job
from alembert.runs.run import run

SHORT = {"stages.task.steps": "4", "stages.task.batch_size": "8", "stages.task.max_length": "32"}
LINEAR = {"stages.linear.steps": "4"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_the_whole_way(kind: str, tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    write, name, metric = KINDS[kind]
    body = saved(tmp_path / "body", tokenizer)
    data = write(tmp_path / name)
    files = Files(train=data, evaluation=data)
    recipe = with_settings(finetune(load_config(body)), SHORT | LINEAR)
    first = run(
        Job(recipe=recipe, out=tmp_path / "teacher", student=body, files=files, model_at=".")
    )
    assert first["metric"] == metric
    teacher = str(tmp_path / "teacher")
    job = Job(
        recipe=with_settings(recipe_of("distilbert", load_config(teacher)), SHORT),
        out=tmp_path / "run",
        teacher=teacher,
        files=Files(train=data, evaluation=data, unlabelled=data),
    )
    metrics = run(job)
    assert {"teacher", "student", "parameters", "metric"} <= metrics.keys()
    assert metric in metrics["student"]
    log = (tmp_path / "run/stages/01-task/log.jsonl").read_text().splitlines()
    assert all(json.loads(line).get("loss", 0) < 100 for line in log)


@pytest.mark.parametrize("kind", ["bert", "electra", "mobilebert", "roberta"])
def test_a_student_of_pairs_tells_their_texts_apart_as_its_teacher_does(
    news: list[str], kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification", kind)
    config = load_config(teacher)
    files = Files(train=pairs(tmp_path / "p.csv"), evaluation=pairs(tmp_path / "e.csv"))
    recipe = choose_recipe("distilbert", config, files=files)
    said = any("keeps the teacher's token types" in line for line in news)
    if kind == "roberta":  # it has one type only
        assert recipe.name == "distilbert"
        assert not said
        return
    assert recipe.name == "distilbert-pairs"
    assert said
    assert recipe == recipe_of("distilbert-pairs", config)
    single = Files(train=task_file(tmp_path / "single.csv"))
    assert choose_recipe("distilbert", config, files=single).name == "distilbert"
    start = {"init.start": "scratch"} if kind == "mobilebert" else {}
    short = with_settings(recipe, SHORT | start | {"stages.task.learning_rate": "1e-12"})
    run(Job(recipe=short, out=tmp_path / "run", teacher=teacher, files=files))
    student = load_model(str(tmp_path / "run"), "classification")
    assert student.config.model_type == "bert"
    if kind != "mobilebert":
        mine, theirs = (
            model.base_model.get_parameter("embeddings.token_type_embeddings.weight")
            for model in (student, load_model(teacher, "classification"))
        )
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_a_student_can_be_named_to_start_from(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification", layers=4)
    start = saved(tmp_path / "start", tokenizer, "words", "distilbert", layers=1)
    files = Files(train=task_file(tmp_path / "train.csv"), evaluation=task_file(tmp_path / "e.csv"))
    short = SHORT | {"stages.task.objective.HiddenCosine.layers": "last"}
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), short)
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, student=start, files=files))
    assert load_config(str(tmp_path / "run")).num_hidden_layers == 1


@pytest.mark.parametrize("kind", ["mobilebert", "modernbert"])
def test_teachers_whose_layers_cannot_be_copied_teach_a_student_from_scratch(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification", kind)
    files = Files(train=task_file(tmp_path / "train.csv"), evaluation=task_file(tmp_path / "e.csv"))
    short = SHORT | {"init.start": "scratch"}
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), short)
    metrics = run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files))
    assert "retention" in metrics


@pytest.mark.parametrize(
    "kind",
    ["pairs"]
    + [
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in ("classification", "multilabel", "regression", "tokens")
    ],
)
def test_a_static_student_goes_the_whole_way(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    write, name, _ = KINDS.get(kind, (task_file, "c.csv", "accuracy"))
    data = write(tmp_path / name)
    files = Files(train=data, evaluation=data, unlabelled=data)
    body = saved(tmp_path / "body", tokenizer)
    tuned = with_settings(finetune(load_config(body)), SHORT | LINEAR)
    run(Job(recipe=tuned, out=tmp_path / "t", student=body, files=files, model_at="."))
    recipe = choose_recipe("static", load_config(str(tmp_path / "t")), files=files)
    assert (recipe.name == "static-pairs") == (kind in ("pairs", "regression"))
    run(Job(recipe=with_settings(recipe, SHORT), out=tmp_path / "run", teacher=str(tmp_path / "t"),
            files=files))  # fmt: skip
    student = load_model(str(tmp_path / "run"), "tokens" if kind == "tokens" else "classification")
    assert (student.config.model_type, student.config.num_hidden_layers) == ("static", 0)
