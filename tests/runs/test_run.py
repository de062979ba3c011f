"""Whole runs, shrunk: every stage, the folder, the same command again, other commands refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs import corpus_file, saved, shrunk, task_file
from transformers import AutoModelForSequenceClassification, BertTokenizerFast

from alembert.bench.interleaved import time_in_turns
from alembert.bench.rows import Row
from alembert.data.corpus.corpus import write_corpus
from alembert.data.splits import Files
from alembert.export import deployed
from alembert.io.errors import UserError
from alembert.models.loading import load_config, load_tokenizer
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe, from_yaml, with_run
from alembert.runs.job import Job
from alembert.runs.run import run

SHORT = {
    "stages.general.steps": "6",
    "stages.general.batch_size": "8",
    "stages.general.max_length": "32",
    "stages.task.epochs": "2",
    "stages.task.min_steps": "0",
    "stages.task.max_length": "32",
}


def short(name: str, teacher: str, **more: str) -> Recipe:
    config = load_config(teacher)
    if name == "finetune":
        return with_settings(finetune(config), {"stages.linear": "null"} | SHORT | more)
    return with_settings(recipe_of(name, config), SHORT | more)


def test_finetune_then_distil_on_a_corpus_and_a_task(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer, layers=4)
    corpus = corpus_file(tmp_path / "corpus.txt")
    train, test = (
        task_file(tmp_path / "train.csv", rows=240),
        task_file(tmp_path / "test.csv", seed=9),
    )
    words, teacher = tmp_path / "words", tmp_path / "teacher"
    run(Job(recipe=short("finetune", body), out=words, student=body, corpus=corpus, model_at="."))
    assert not any("is left out" in line for line in news)  # a line of --verbose
    longer = short(
        "finetune", body, **{"stages.task.epochs": "30", "stages.task.learning_rate": "3e-3"}
    )
    judged = run(
        Job(
            recipe=with_run(longer, seed=1),
            out=teacher,
            student=str(words),
            files=Files(train=train, evaluation=test),
            model_at=".",
        )
    )
    assert judged["student"]["accuracy"] > 0.8  # the words tell the label
    job = Job(
        recipe=short("distilbert", str(teacher)), out=tmp_path / "run", teacher=str(teacher),
        general_teacher=str(words), corpus=corpus,
        files=Files(
            train=train, evaluation=test, unlabelled=task_file(tmp_path / "u.csv", labelled=False)
        ),
    )  # fmt: skip
    metrics = run(job)
    out = tmp_path / "run"
    assert metrics["retention"] == metrics["student"]["accuracy"] / metrics["teacher"]["accuracy"]
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert from_yaml(out / "recipe.yaml") == job.recipe
    student, info = AutoModelForSequenceClassification.from_pretrained(
        out / "student", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert type(student).__name__ == "DistilBertForSequenceClassification"
    assert student.config.num_hidden_layers == 2
    assert list(student.config.id2label.values()) == ["down", "flat", "up"]
    logged = [json.loads(line) for line in (out / "stages/01-general/log.jsonl").open()]
    assert {"SoftLabels", "HardLabels", "HiddenCosine", "tokens_per_second"} <= logged[-1].keys()
    assert sorted(p.name for p in (out / "stages").iterdir()) == ["01-general", "02-task"]
    assert not list(out.rglob("*.partial"))


def test_a_prepared_corpus_teaches_what_its_text_does(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    text = corpus_file(tmp_path / "corpus.txt")
    prepared = write_corpus([text], load_tokenizer(body), 32, tmp_path / "corpus")
    recipe = short("finetune", body)
    for corpus in (text, str(prepared.folder)):
        out = tmp_path / f"from-{Path(corpus).name}"
        run(Job(recipe=recipe, out=out, student=body, corpus=corpus, model_at="."))
    weights = [path.read_bytes() for path in tmp_path.glob("from-*/model.safetensors")]
    assert len(weights) == 2
    assert weights[0] == weights[1]
    longer = short("finetune", body, **{"stages.general.max_length": "64"})
    job = Job(recipe=longer, out=tmp_path / "longer", student=body, corpus=corpus, model_at=".")
    run(job)
    assert f"{corpus}: prepared for 32 tokens, not for 64" in news


def test_the_same_command_again_does_nothing_and_another_is_refused(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    files = Files(train=task_file(tmp_path / "train.csv"), evaluation=task_file(tmp_path / "e.csv"))
    job = Job(
        recipe=short("distilbert", teacher), out=tmp_path / "run", teacher=teacher, files=files
    )
    first = run(job)
    weights = (tmp_path / "run/student/model.safetensors").stat().st_mtime_ns
    assert run(job) == first
    assert "nothing to do" in news[-1]
    assert (tmp_path / "run/student/model.safetensors").stat().st_mtime_ns == weights
    other = short("distilbert", teacher, **{"stages.task.learning_rate": "0.5"})
    with pytest.raises(UserError, match=r"stages.1.learning_rate is .* there and 0.5 here"):
        run(Job(recipe=other, out=tmp_path / "run", teacher=teacher, files=files))
    seeded = with_run(job.recipe, seed=1)
    with pytest.raises(UserError, match=r"run\.seed is 0 there and 1 here"):
        run(Job(recipe=seeded, out=tmp_path / "run", teacher=teacher, files=files))


def test_a_finished_stage_is_not_run_again(
    news: list[str],
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    files = Files(train=task_file(tmp_path / "train.csv"), evaluation=task_file(tmp_path / "e.csv"))
    job = Job(
        recipe=short("distilbert", teacher), out=tmp_path / "run", teacher=teacher, files=files
    )
    measured: list[list[Row]] = []

    def once(*given: Any, **more: Any) -> list[Row]:
        """The times of the first run, for the verdict weighs them."""
        measured.append(measured[0] if measured else time_in_turns(*given, **more))
        return measured[-1]

    monkeypatch.setattr(deployed, "time_in_turns", once)
    first = run(job)
    (tmp_path / "run/metrics.json").unlink()
    news.clear()
    assert run(job) == first
    assert len(measured) == 2
    assert not any("steps of" in line for line in news)


def test_training_data_decides_nothing_about_the_judged_file(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    train = task_file(tmp_path / "train.csv")
    weights = []
    for name in ("a", "b"):  # another --eval file: the same student
        evaluation = task_file(tmp_path / f"{name}.csv", seed=ord(name))
        files = Files(train=train, evaluation=evaluation)
        run(
            Job(
                recipe=short("distilbert", teacher),
                out=tmp_path / name / "run",
                teacher=teacher,
                files=files,
            )
        )
        weights.append((tmp_path / name / "run/student/model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert"])
def test_every_teacher_it_knows_gives_a_student(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification", kind)
    files = Files(train=task_file(tmp_path / "train.csv"), evaluation=task_file(tmp_path / "e.csv"))
    metrics = run(
        Job(recipe=short("distilbert", teacher), out=tmp_path / "r", teacher=teacher, files=files)
    )
    assert 0 <= metrics["student"]["accuracy"] <= 1


def test_layers_may_be_named_in_pairs(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification", layers=4)
    pairs = {"stages.task.objective.HiddenCosine.layers": "[[1, 2], [2, 4]]"}
    job = Job(
        recipe=short("distilbert", teacher, **pairs),
        out=tmp_path / "run",
        teacher=teacher,
        files=Files(train=task_file(tmp_path / "train.csv")),
    )
    assert run(job) == {}
    logged = (tmp_path / "run/stages/01-task/log.jsonl").read_text()
    assert "HiddenCosine" in logged


def test_a_file_of_other_rows_than_those_trained_on_is_refused(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    train = task_file(tmp_path / "train.csv")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("text_a,text_b,label\ngood film,bad book,up\n")
    for where in ("unlabelled", "evaluation", "valid"):
        files = Files(train=train, **{where: str(pairs)})
        job = Job(
            recipe=short("distilbert", teacher), out=tmp_path / "run", teacher=teacher, files=files
        )
        with pytest.raises(UserError, match=r"pairs\.csv: its rows are pairs of texts and those"):
            run(job)


def test_texts_that_are_learnt_from_and_judged_by_are_told(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    recipe = shrunk(recipe_of("distilbert", load_config(teacher)))
    train = task_file(tmp_path / "train.csv")
    files = Files(train=train, valid=train, evaluation=train)
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files))
    assert any("of the 60 texts to evaluate on are learnt from, too" in line for line in news)
