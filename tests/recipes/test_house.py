"""The house recipe: its shape, and the objective that held-out texts choose."""

from pathlib import Path

import pytest
import torch
from support.runs import saved, shrunk, task_file
from transformers import BertConfig, BertTokenizerFast
from transformers.models.deberta_v2 import DebertaV2Config
from transformers.models.mpnet import MPNetConfig

from alembert import distill
from alembert.data.splits import Files
from alembert.evaluation.uncertainty import intervals
from alembert.io.errors import UserError
from alembert.io.files import read_json
from alembert.models.loading import load_config, load_model
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe, from_yaml, to_yaml, validated
from alembert.runs.job import Job
from alembert.runs.record import RunRecord
from alembert.runs.run import run
from alembert.runs.stages import choice, training
from alembert.training.monitor import Length


def recipe_for(teacher: str) -> Recipe:
    recipe = shrunk(recipe_of("house", load_config(teacher), layers=1, hidden_size=8))
    return with_settings(recipe, {"augment.copies": "1"})


def job_in(folder: Path, recipe: Recipe, teacher: str, out: str = "run") -> Job:
    files = Files(
        train=task_file(folder / "train.csv"), valid=task_file(folder / "valid.csv", 30, 1)
    )
    return Job(recipe=recipe, out=folder / out, teacher=teacher, files=files)


def test_it_is_half_as_deep_and_half_as_wide_with_a_twelfth_of_the_multiplications() -> None:
    teacher = BertConfig()
    student = recipe_of("house", teacher).student
    assert (student["num_hidden_layers"], student["hidden_size"]) == (6, 384)
    assert student["intermediate_size"] == 768

    def multiplications(layers: int, width: int, inner: int) -> int:
        return layers * (4 * width**2 + 2 * width * inner)

    assert 12 * multiplications(6, 384, 768) == multiplications(12, 768, 3072)


def test_layers_that_are_copied_whole_keep_their_inner_size() -> None:
    recipe = recipe_of("house", BertConfig(), hidden_size=768)
    assert recipe.student["intermediate_size"] == 3072
    assert recipe.projections == "none"


def test_attention_is_compared_where_both_have_the_same_relative_positions() -> None:
    for config, terms in (
        (DebertaV2Config(), ["HiddenMSE"]),  # its student has none
        (MPNetConfig(), ["HiddenMSE", "AttentionMSE"]),
    ):
        recipe = recipe_of("house", config)
        assert [term.kind for term in recipe.stages[1].objective] == terms
        assert (recipe.student["model_type"] == "mpnet") == ("AttentionMSE" in terms)


def test_alternatives_are_written_as_yaml_and_read_again(tmp_path: Path) -> None:
    recipe = recipe_of("house", BertConfig())
    (tmp_path / "my.yaml").write_text(to_yaml(recipe))
    assert from_yaml(tmp_path / "my.yaml") == recipe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alternatives": [[{"kind": "HiddenMSE"}]]}, "compare logits or labels alone"),
        ({"data": "corpus", "until": None, "steps": 2}, "are for a task"),
    ],
)
def test_alternatives_that_cannot_be_tried_are_refused(
    change: dict[str, object], said: str
) -> None:
    plain = recipe_of("house", BertConfig()).model_dump(mode="json")
    answers = next(stage for stage in plain["stages"] if stage["name"] == "answers")
    answers |= change
    with pytest.raises(UserError, match=said):
        validated(plain, "my.yaml")


def test_the_first_objective_is_taken_unless_another_is_surely_better(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch, news: list[str]
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    recipe = recipe_for(teacher)
    for sure, found in ((100.0, 0), (-100.0, None)):
        monkeypatch.setattr(intervals, "SURE", sure)
        monkeypatch.setattr(choice, "LEAST", 3)
        job = job_in(tmp_path, recipe, teacher, f"run{sure:g}")
        run(job)
        made = read_json(next(job.out.glob("stages/*-answers")) / choice.FILE)
        best = max(range(3), key=lambda number: made["values"][number])
        assert made["taken"] == (best if found is None else found)
        assert len(made["values"]) == 3
        assert made["steps"] == 3
        assert not list(job.out.glob("stages/*/tried"))
        as_chosen = from_yaml(job.out / "chosen.yaml").stages[-1]
        stage = recipe.stages[-1]
        assert as_chosen.objective == (stage.objective, *stage.alternatives)[made["taken"]]
        assert not as_chosen.alternatives
        terms = next(row for row in RunRecord(job.out).stage_rows if row[0] == "answers")[2]
        assert terms == ", ".join(f"{t.weight:g} {t.kind}" for t in as_chosen.objective)
    assert sum("stage 'answers': takes" in line for line in news) == 2


def test_a_run_as_chosen_ends_in_the_same_weights(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    run(job_in(tmp_path, recipe_for(teacher), teacher))
    run(job_in(tmp_path, from_yaml(tmp_path / "run" / "chosen.yaml"), teacher, "again"))
    first, second = (
        load_model(str(tmp_path / name / "student"), "classification").state_dict()
        for name in ("run", "again")
    )
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.slow
def test_a_choice_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    whole = job_in(tmp_path, recipe_for(teacher), teacher, "whole")
    run(whole)
    cut, train, calls = job_in(tmp_path, recipe_for(teacher), teacher, "cut"), training.train, []

    def killed(*given: object, **more: object) -> object:
        calls.append(given[-1])
        if len(calls) == 3:  # the stage on layers, the first objective, and now the second
            raise KeyboardInterrupt
        return train(*given, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(cut)
    run(cut)
    where = f"stages/02-answers/{choice.FILE}"
    assert read_json(whole.out / where) == read_json(cut.out / where)
    first, second = (
        load_model(str(job.result), "classification").state_dict() for job in (whole, cut)
    )
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_an_encoder_without_a_head_is_fine_tuned_first(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "length_of", lambda *_: Length(2, 2))
    encoder = saved(tmp_path / "encoder", tokenizer, "encoder")
    settings = {f"stages.{name}.{field}": value for name in ("layers", "answers")
                for field, value in {"steps": "2", "batch_size": "8"}.items()}  # fmt: skip
    student = distill(
        encoder, train=task_file(tmp_path / "train.csv"), out=tmp_path / "run", layers=1,
        hidden_size=8, max_length=32, settings=settings, export=False, baselines=False,
    )  # fmt: skip
    assert any("is fine-tuned first" in line for line in news)
    assert distill(
        encoder, train=task_file(tmp_path / "train.csv"), out=tmp_path / "run", layers=1,
        hidden_size=8, max_length=32, settings=settings, export=False, baselines=False,
    ).path == student.path  # fmt: skip
    assert (tmp_path / "run" / "teacher" / "config.json").is_file()
    assert student.predict("a very good film").label in ("down", "flat", "up")
    assert read_json(tmp_path / "run" / "environment.json")["arguments"]["teacher"] == str(
        tmp_path / "run" / "teacher"
    )
