"""A task's first stage after a corpus: with what that taught, or anew, as held-out texts say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.runs import corpus_file, saved, shrunk, task_file
from torch import Tensor
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.files import read_json
from alembert.models.loading import load_config, load_model
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.stages import choice


def job_in(folder: Path, tokenizer: BertTokenizerFast, out: str, corpus: bool) -> Job:
    teacher = folder / "teacher"
    if not teacher.is_dir():
        saved(teacher, tokenizer, "classification")
    recipe = recipe_of("tinybert", load_config(str(teacher)), layers=1, hidden_size=8)
    files = Files(
        train=task_file(folder / "train.csv"), valid=task_file(folder / "valid.csv", 30, 1)
    )
    return Job(
        recipe=with_settings(shrunk(recipe), {"augment": "null"}), out=folder / out,
        teacher=str(teacher), files=files,
        corpus=corpus_file(folder / "corpus.txt") if corpus else None,
    )  # fmt: skip


def weights(job: Job) -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_model(str(job.result), "classification").state_dict()
    return state


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(("scores", "anew"), [((-2.0, -1.0), True), ((-1.0, -2.0), False)])
def test_the_better_of_two_starts_is_taken(
    scores: tuple[float, float], anew: bool, tmp_path: Path, tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch, news: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(choice, "LEAST", 2)
    without = job_in(tmp_path, tokenizer, "without", corpus=False)
    run(without)
    given, measure = iter(scores), choice._score_after

    def made_up(*trial: object) -> float:
        assert measure(*trial) < 0  # type: ignore[arg-type]  # a loss of layers
        return next(given)

    monkeypatch.setattr(choice, "_score_after", made_up)
    made = job_in(tmp_path, tokenizer, "with", corpus=True)
    run(made)
    assert read_json(next(made.out.glob("stages/*-intermediate")) / choice.START)["anew"] is anew
    assert equal(weights(made), weights(without)) is anew
    says = "anew from the teacher" if anew else "with what the corpus taught"
    assert any(f"starts {says}" in line for line in news)
    assert not list(made.out.glob("stages/*/tried"))


def test_a_recipe_may_keep_what_the_corpus_taught(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    made = job_in(tmp_path, tokenizer, "run", corpus=True)
    kept = with_settings(made.recipe, {"stages.intermediate.start": "before"})
    run(replace(made, recipe=kept))
    assert not list(made.out.glob(f"stages/*/{choice.START}"))
