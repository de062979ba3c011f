"""Questions go the whole way: teacher, every recipe, unlabelled questions, metrics, threshold."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.questions import asked, learnable, squad
from support.runs import saved, shrunk
from transformers import AutoModelForQuestionAnswering, BertTokenizerFast

from alembert.data.encoded import Encoded
from alembert.data.questions.windows import Windows
from alembert.data.splits import Files
from alembert.evaluation.spans import listed
from alembert.evaluation.spans.best import found_in
from alembert.evaluation.uncertainty.compared import compare
from alembert.io.answers import NEVER
from alembert.io.errors import UserError
from alembert.models.loading import label_names_of, load_config, load_model
from alembert.recipes.choose import choose_recipe
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.report import model_card, page
from alembert.runs import evaluate
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.texts.encoded_task import augmented, encode_task
from alembert.training.teacher import Teachers

HEAD = "question answering"
SHORT = {"stages.task.steps": "4", "stages.task.batch_size": "8", "stages.task.max_length": "16"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Questions of which some have no answer, in contexts that take two windows of 16 tokens."""
    return Files(
        train=learnable(tmp_path / "train.json", 48, impossible=4),
        evaluation=learnable(tmp_path / "eval.json", 16, seed=1, impossible=4),
    )


def windows(data: Encoded) -> Windows:
    assert isinstance(data, Windows)
    return data


def teacher_in(tmp_path: Path, tokenizer: BertTokenizerFast, **more: Any) -> str:
    return saved(tmp_path / "teacher", tokenizer, HEAD, **more)


def test_fine_tuning_reports_exact_match_and_f1_beside_baselines(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files, news: list[str]
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    recipe = with_settings(finetune(load_config(body)), SHORT)
    job = Job(
        recipe=recipe, out=tmp_path / "run", student=body, files=files, model_at=".",
        baselines=True,
    )  # fmt: skip
    assert [stage.name for stage in job.stages] == ["task"]  # frozen vectors answer no question
    found = run(job)
    assert found["task"] == HEAD
    assert found["metric"] == "f1"
    assert found["n"] == 16
    assert set(found["student"]) == {"f1", "exact_match"}
    assert set(found["baselines"]) == {"majority", "first_sentence", "nearest_sentence"}
    assert found["baselines"]["majority"]["f1"] == 4 / 16  # of no answer, four are right
    low, high = found["intervals"]["student"]
    assert low <= found["student"]["f1"] <= high
    assert found["verdict"]
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "run")
    assert label_names_of(model.config) == ["start", "end"]
    assert math.isfinite(model.config.null_threshold)
    assert any('"no answer" is the answer where' in line for line in news)
    again = evaluate.judge(str(tmp_path / "run"), Files(train=files.evaluation), 16)
    assert again.metrics == pytest.approx(found["student"])
    assert windows(again.data).threshold == model.config.null_threshold


@pytest.mark.parametrize("name", ["distilbert", "tinybert", "minilm", "mobilebert", "house"])
def test_every_recipe_distils_questions_and_unlabelled_ones(
    name: str, tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = teacher_in(tmp_path, tokenizer)
    more = tmp_path / "more.jsonl"
    rows = [{"question": "is good", "context": f"the film was good {n}"} for n in range(8)]
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = Files(train=files.train, evaluation=files.evaluation, unlabelled=str(more))
    chosen = choose_recipe(name, load_config(teacher), layers=1, files=files)
    settings = {"augment.copies": "1"} if chosen.augment is not None else {}
    recipe = with_settings(shrunk(chosen), settings)
    found = run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files))
    assert {"teacher", "student", "headline"} <= found.keys()
    assert found["headline"] == "f1"
    load_model(str(tmp_path / "run"), HEAD)
    logs = [path.read_text().splitlines() for path in (tmp_path / "run").glob("stages/*/log.jsonl")]
    losses = [json.loads(line).get("loss", 0) for log in logs for line in log]
    assert losses
    assert all(0 <= loss < 1000 for loss in losses)


def test_a_student_learns_to_answer_from_its_teacher_alone(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = teacher_in(tmp_path, tokenizer)
    torch.manual_seed(1)
    model = load_model(teacher, HEAD)
    torch.nn.init.normal_(model.qa_outputs.weight, std=3.0)
    model.save_pretrained(teacher)
    data = learnable(tmp_path / "train.json", 48)
    recipe = choose_recipe("distilbert", load_config(teacher), layers=2, files=Files(train=data))
    settings = {
        "stages.task.objective": "[{kind: SoftLabels}]", "stages.task.steps": "150",
        "stages.task.epochs": "null", "stages.task.batch_size": "16",
        "stages.task.max_length": "24", "stages.task.learning_rate": "0.01",
        "stages.task.min_steps": "0",
    }  # fmt: skip
    recipe = with_settings(recipe, settings)
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=Files(train=data)))
    log = (tmp_path / "run/stages/01-task/log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in log if '"loss"' in line]
    assert losses[-1] < losses[0] / 5
    both = [
        evaluate.judge(path, Files(train=data), 24) for path in (teacher, str(tmp_path / "run"))
    ]
    first, second = (found_in(each.logits, windows(each.data)) for each in both)
    same = sum(a.text == b.text for a, b in zip(first, second, strict=True))
    assert same > len(first) / 2


def test_variants_keep_the_answer_whole_and_follow_their_questions(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = teacher_in(tmp_path, tokenizer, hidden_size=16)
    recipe = with_settings(
        shrunk(choose_recipe("tinybert", load_config(teacher), layers=1, files=files)),
        {"augment.copies": "4", "augment.share": "1.0"},
    )
    job = Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files)
    teachers = Teachers()
    before = encode_task(job, teachers[teacher], teachers)
    after = augmented(job, before, teachers)
    assert before.splits is not None
    assert after.splits is not None
    assert after.splits.variants is not None
    plain, varied = windows(before.splits.train), windows(after.splits.train)
    count, rows = len(plain.questions), after.splits.variants.rows
    assert len(varied.questions) == count + len(rows)
    changed = 0
    for number, of in enumerate(after.splits.variants.of):
        question, original = varied.questions[count + number], plain.questions[of]
        changed += question.context != original.context
        assert question.answers is None
        for answer in original.answers or ():
            assert answer in question.context
            assert question.context.count(" ") == original.context.count(" ")
    assert changed
    owner = np.concatenate((np.arange(count), after.splits.variants.of))[varied.texts]
    assert owner.tolist() == sorted(owner.tolist())  # each question is followed by its variants


def test_a_static_student_is_refused_in_one_line(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = teacher_in(tmp_path, tokenizer)
    recipe = choose_recipe("static", load_config(teacher), files=files)
    with pytest.raises(UserError, match="recipe 'static-pairs': a static student reads no token"):
        run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files))
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("stages/*"))


def test_several_teachers_are_averaged_by_their_logits(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = teacher_in(tmp_path, tokenizer)
    other = saved(tmp_path / "other", tokenizer, HEAD, seed=3)
    recipe = shrunk(choose_recipe("distilbert", load_config(teacher), layers=1, files=files))
    job = Job(
        recipe=recipe, out=tmp_path / "run", teacher=teacher, more_teachers=(other,), files=files
    )
    assert "f1" in run(job)["ensemble"]


def test_a_model_of_another_kind_is_told_what_it_lacks(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    classifier = saved(tmp_path / "c", tokenizer, "classification")
    with pytest.raises(UserError, match="the model has no question answering head"):
        evaluate.judge(classifier, Files(train=files.evaluation), 16)


def test_where_all_questions_have_an_answer_one_is_always_given(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = teacher_in(tmp_path, tokenizer)
    one = asked("a", "is good", ("film", 4))
    path = squad(tmp_path / "q.json", [("the film was good", [one])])
    judged = evaluate.judge(teacher, Files(train=path), 16)
    assert windows(judged.data).threshold == NEVER


def test_models_are_compared_on_the_same_questions(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    paths = [teacher_in(tmp_path, tokenizer), saved(tmp_path / "b", tokenizer, HEAD, seed=2)]
    judged = {path: evaluate.judge(path, Files(train=files.evaluation), 16) for path in paths}
    found = compare(judged)
    assert (found.metric, found.n) == ("f1", 16)
    first, second = found.models
    assert second.difference is not None
    apart = second.metrics["f1"] - first.metrics["f1"]
    assert second.difference.value == pytest.approx(apart)


@pytest.mark.slow
def test_the_report_of_a_run_lists_what_is_answered_wrongly(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files, news: list[str]
) -> None:
    teacher = teacher_in(tmp_path, tokenizer)
    recipe = shrunk(choose_recipe("distilbert", load_config(teacher), layers=1, files=files))
    out = tmp_path / "run"
    job = Job(
        recipe=recipe, out=out, teacher=teacher, files=files, slices=("id",), export=True,
        baselines=True,
    )  # fmt: skip
    found = run(job)
    assert set(found["deployed"]) == {"backend", "f1", "exact_match"}
    assert "deployed" in found["intervals"]
    assert found["baselines"]["nearest_sentence"]["ms"] > 0
    timed = {row["model"] for row in json.loads((out / "bench.json").read_text())["rows"]}
    assert timed == {"teacher", "student", "first_sentence", "nearest_sentence"}
    assert run(job) == found
    assert any("finished before; nothing to do" in line for line in news)
    rows = listed.load(out)
    for role in ("teacher", "student", "deployed"):
        mean = sum(row.f1[role] for row in rows) / len(rows)
        assert mean == pytest.approx(found[role]["f1"])
    written = page.make([out], None).read_text()
    wrong = [row for row in rows if min(row.f1["teacher"], row.f1["deployed"]) < 1]
    assert wrong
    assert all(row.question in written for row in wrong)
    assert "What was lost and won" in written
    (out / listed.FILE).unlink()
    assert "there is no answers.json" in page.make([out], None).read_text()
    card = model_card.write(out)
    assert card is not None
    assert "pipeline_tag: question-answering" in card.read_text()
