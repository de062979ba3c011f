"""Runs beside their baselines: what is measured, from which encoder, and the untaught student."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.runs import corpus_file, saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.data.splits import Files
from alembert.evaluation.predictions import load
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import from_yaml
from alembert.runs.folder.origin import origin_of
from alembert.runs.job import Job
from alembert.runs.run import run

SHORT = {
    "stages.*.steps": "4",
    "stages.*.batch_size": "8",
    "stages.*.max_length": "32",
}


def tuned(out: Path, body: str, files: Files, **more: object) -> Job:
    recipe = with_settings(finetune(load_config(body)), SHORT)
    job = Job(recipe=recipe, out=out, student=body, files=files, model_at=".")
    return replace(job, **more)


def files_in(folder: Path) -> Files:
    return Files(
        train=task_file(folder / "train.csv"), evaluation=task_file(folder / "test.csv", seed=9)
    )


def test_teacher_and_student_stand_beside_baselines_of_the_encoder_before_both(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    files = files_in(tmp_path)
    first = run(tuned(tmp_path / "teacher", body, files, baselines=True))
    assert [*first["baselines"]] == ["majority", "tfidf", "embeddings"]
    tfidf = first["baselines"]["tfidf"]
    assert {"accuracy", "macro_f1", "seconds", "ms", "model"} <= tfidf.keys()
    assert tfidf["accuracy"] == 1  # the words tell the label
    assert first["baselines"]["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert "ms" not in first["baselines"]["majority"]  # it reads no text
    (line,) = (line for line in news if line.startswith("baselines, accuracy: "))
    assert "tfidf 1.0000 (TF-IDF, linear SVM (C " in line

    teacher = str(tmp_path / "teacher")
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), SHORT)
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, baselines=True)
    metrics = run(job)
    same = ("accuracy", "seconds", "model")
    for name in first["baselines"]:
        for key in same:
            assert metrics["baselines"][name][key] == first["baselines"][name][key]
    assert {"baselines.tfidf", "baselines.embeddings"} <= metrics["intervals"].keys()
    table = load(tmp_path / "run")
    assert table is not None
    assert {"baselines.tfidf", "baselines.embeddings"} == table.more.keys()
    timed = {row["model"] for row in json.loads((tmp_path / "run/bench.json").read_text())["rows"]}
    assert {"teacher", "student", "tfidf", "embeddings"} <= timed


def test_baselines_can_be_left_out_and_are_added_to_a_finished_run(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body, files = saved(tmp_path / "body", tokenizer), files_in(tmp_path)
    job = tuned(tmp_path / "run", body, files)
    without = run(job)
    assert "baselines" not in without
    weights = (tmp_path / "run/stages/02-task/model/model.safetensors").stat().st_mtime_ns
    found = run(replace(job, baselines=True))
    assert found["student"] == without["student"]
    assert "tfidf" in found["baselines"]
    assert (tmp_path / "run/stages/02-task/model/model.safetensors").stat().st_mtime_ns == weights
    assert run(job) == found  # with or without, it is the same run


@pytest.mark.slow
def test_the_python_call_makes_baselines_unless_they_are_refused(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alembert.api.train._present", lambda *given, **more: None)
    body, train = saved(tmp_path / "body", tokenizer), task_file(tmp_path / "train.csv")
    for asked in (None, False):
        model = alembert.finetune(
            body, tmp_path / str(asked), train=train, eval=train, baselines=asked,
            settings={"stages.task.steps": 2}, max_length=32,
        )  # fmt: skip
        assert ("baselines" in model.metrics) == (asked is None)


def test_embeddings_of_a_teacher_that_may_have_learnt_the_task_are_left_out(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher, files = saved(tmp_path / "t", tokenizer, "classification"), files_in(tmp_path)
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), SHORT)
    metrics = run(
        Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, baselines=True)
    )
    assert [*metrics["baselines"]] == ["majority", "tfidf"]
    why = f"it is not known from which model {teacher} was trained"
    assert f"baselines: frozen embeddings are left out: {why}" in news


def test_the_model_before_a_task_is_found_through_the_folders_of_runs(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body, files = saved(tmp_path / "body", tokenizer), files_in(tmp_path)
    assert origin_of(body) == body
    words = tmp_path / "words"  # text without labels teaches no task
    recipe = with_settings(finetune(load_config(body)), SHORT)
    corpus = corpus_file(tmp_path / "corpus.txt")
    run(Job(recipe=recipe, out=words, student=body, corpus=corpus, model_at="."))
    run(tuned(tmp_path / "teacher", str(words), files))
    teacher = str(tmp_path / "teacher")
    assert origin_of(teacher) == str(words)
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), SHORT)
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files))
    assert origin_of(str(tmp_path / "run")) == str(words)
    assert origin_of(str(tmp_path / "run" / "student")) == str(words)
    saved(words, tokenizer, layers=1)
    (words / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"words is no more the model that .*teacher"):
        origin_of(teacher)
    scratch = replace(tuned(tmp_path / "s", body, files))
    drawn = with_settings(scratch.recipe, {"init.start": "scratch"})
    run(replace(scratch, recipe=drawn))
    with pytest.raises(UserError, match="trained from random weights"):
        origin_of(str(tmp_path / "s"))


@pytest.mark.parametrize("name", ["distilbert", "tinybert"])
def test_the_same_student_is_trained_without_its_teacher(
    name: str, news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher, files = saved(tmp_path / "t", tokenizer, "classification"), files_in(tmp_path)
    unlabelled = task_file(tmp_path / "u.csv", labelled=False)
    files = Files(train=files.train, evaluation=files.evaluation, unlabelled=unlabelled)
    sizes = {} if name == "distilbert" else {"layers": 1, "hidden_size": 8}
    recipe = with_settings(recipe_of(name, load_config(teacher), **sizes), SHORT)
    out = tmp_path / "run"
    job = Job(recipe=recipe, out=out, teacher=teacher, files=files, undistilled=True)
    metrics = run(job)
    assert metrics["undistilled"].keys() == metrics["student"].keys()
    assert "undistilled" in metrics["intervals"]
    untaught = from_yaml(out / "undistilled" / "recipe.yaml")
    kinds = {term.kind for stage in untaught.stages for term in stage.objective}
    assert kinds == {"HardLabels"}
    assert untaught.student == recipe.student
    assert untaught.init == recipe.init
    assert [stage.steps for stage in untaught.stages] == [4] * len(recipe.stages)
    alone = json.loads((out / "undistilled" / "metrics.json").read_text())
    assert alone["student"] == metrics["undistilled"]
    assert "teacher" not in alone
    labels = [load_config(str(folder)).id2label for folder in (out, out / "undistilled")]
    assert labels[0] == labels[1]
    (out / "metrics.json").unlink()
    news.clear()
    assert run(job)["undistilled"] == metrics["undistilled"]
    assert f"{out / 'undistilled'}: finished before; nothing to do" in news


def test_the_untaught_student_has_the_trimmed_vocabulary_too(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher, files = saved(tmp_path / "t", tokenizer, "classification"), files_in(tmp_path)
    recipe = with_settings(
        recipe_of("distilbert", load_config(teacher)), SHORT | {"run.vocabulary": "task"}
    )
    out = tmp_path / "run"
    metrics = run(Job(recipe=recipe, out=out, teacher=teacher, files=files, undistilled=True))
    sizes = [load_config(str(folder)).vocab_size for folder in (out, out / "undistilled")]
    assert sizes[0] == sizes[1] < load_config(teacher).vocab_size
    assert "accuracy" in metrics["undistilled"]


@pytest.mark.slow
def test_an_untaught_student_of_a_corpus_learns_masked_words(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    words = saved(tmp_path / "words", tokenizer)
    teacher, files = saved(tmp_path / "t", tokenizer, "classification"), files_in(tmp_path)
    sizes = {"layers": 1, "hidden_size": 8}
    recipe = with_settings(recipe_of("tinybert", load_config(teacher), **sizes), SHORT)
    out = tmp_path / "run"
    job = Job(
        recipe=recipe, out=out, teacher=teacher, general_teacher=words, files=files,
        corpus=corpus_file(tmp_path / "corpus.txt"), undistilled=True,
    )  # fmt: skip
    assert "undistilled" in run(job)
    stages = from_yaml(out / "undistilled" / "recipe.yaml").stages
    assert stages[0].data == "corpus"
    assert stages[0].masking is not None
