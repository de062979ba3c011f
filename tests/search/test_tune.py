"""Settings are tried as runs of their own, judged on held-out texts, and the best is a recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs import saved, task_file
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.io.files import keep_json, read_json
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import from_yaml
from alembert.runs.job import Job
from alembert.search import tune

HEAT, RATE = "stages.task.objective.SoftLabels.temperature", "stages.task.learning_rate"


def test_a_grid_is_every_mix_in_order_and_a_draw_of_it_is_seeded() -> None:
    found = tune.grid([f"{HEAT}=1,2", f"{RATE}=1e-3,0.5"], None, 0)
    assert found == [
        {HEAT: "1", RATE: '"1e-3"'}, {HEAT: "1", RATE: "0.5"},
        {HEAT: "2", RATE: '"1e-3"'}, {HEAT: "2", RATE: "0.5"},
    ]  # fmt: skip
    assert tune.grid(["a=[[1, 2], [2, 4]],first"], None, 0) == [
        {"a": "[[1, 2], [2, 4]]"}, {"a": '"first"'}
    ]  # fmt: skip
    drawn = [tune.grid([f"{HEAT}={','.join(map(str, range(50)))}"], 3, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(each) for each in drawn] == [3, 3, 3]


@pytest.mark.parametrize(
    ("tries", "trials", "says"),
    [
        (["a"], None, "--try a: write it as FIELD=V1,V2"),
        (["a="], None, "--try a=: write it as"),
        (["a=[1"], None, "is no list of values"),
        (["a=1", "a=2"], None, "--try a=2: is given twice"),
        (["a=1"], 0, "--trials 0: must be 1 or more"),
    ],
)
def test_a_try_that_is_none_is_named(tries: list[str], trials: int | None, says: str) -> None:
    with pytest.raises(UserError, match=says):
        tune.grid(tries, trials, 0)


def test_the_best_on_held_out_texts_becomes_a_recipe_and_nothing_is_run_twice(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    short = {"stages.task.steps": "2", "stages.task.max_length": "32"}
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), short)
    base = Job(
        recipe=recipe,
        out=tmp_path / "tuned",
        teacher=teacher,
        files=Files(train=task_file(tmp_path / "train.csv")),
    )
    with pytest.raises(UserError, match="there is no field 'heat' here"):
        tune.tune(base, ["stages.task.heat=1"], None)
    assert not base.out.exists()
    values, real = {1.0: 0.25, 4.0: 0.75, 2.0: 0.5}, tune.run
    asked: list[float] = []

    def known(job: Job) -> Any:
        """A run whose held-out value is a known one."""
        heat = job.recipe.stages[1].objective[0].temperature  # type: ignore[union-attr]
        fresh = not (job.out / "metrics.json").is_file()
        asked.extend([heat] * fresh)
        assert job.files is not None
        assert job.files.evaluation is None
        found = real(job)
        facts = job.out / "stages/01-task/facts.json"
        keep_json(facts, read_json(facts) | {"best": values[heat]})
        return found

    monkeypatch.setattr(tune, "run", known)
    tune.tune(base, [f"{HEAT}=1,4"], None)
    trials = tune.tune(base, [f"{HEAT}=1,4,2"], None)
    assert asked == [1.0, 4.0, 2.0]
    assert [trial.value for trial in trials] == [0.75, 0.5, 0.25]
    assert from_yaml(tmp_path / "tuned/recipe.yaml") == with_settings(recipe, {HEAT: "4"})
    kept = json.loads((tmp_path / "tuned/trials.json").read_text())
    assert (kept["metric"], kept["planned"]) == ("accuracy", 3)
    assert [row["settings"] for row in kept["trials"]] == [{HEAT: 4}, {HEAT: 2}, {HEAT: 1}]
    assert kept["seconds"] == pytest.approx(sum(row["seconds"] for row in kept["trials"]))
    assert not list((tmp_path / "tuned").rglob("checkpoint"))


def test_a_trial_that_diverges_is_left_out_and_the_others_count(
    news: list[str], tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    short = {"stages.task.steps": "3", "stages.task.max_length": "32", "stages.task.warmup": "0"}
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), short)
    base = Job(
        recipe=recipe,
        out=tmp_path / "tuned",
        teacher=teacher,
        files=Files(train=task_file(tmp_path / "train.csv")),
    )
    trials = tune.tune(base, [f"{RATE}=1.0e+30,1.0e-4"], None)
    assert trials[0].value is not None
    assert trials[1].value is None
    assert any(line.startswith("this trial is left out: step ") for line in news)
    assert sum(": classification of 3 classes (down, flat, up), metric" in x for x in news) == 1
    assert tune.table(trials, "accuracy").row_count == 2
    kept = json.loads((tmp_path / "tuned/trials.json").read_text())
    assert [row["value"] for row in kept["trials"]] == [trials[0].value, None]
    assert from_yaml(tmp_path / "tuned/recipe.yaml") == with_settings(recipe, {RATE: "0.0001"})
    with pytest.raises(UserError, match="tuned: every trial diverged: try lower learning rates"):
        tune.tune(base, [f"{RATE}=1.0e+30"], None)
    assert not (tmp_path / "tuned/recipe.yaml").exists()  # it was of other values
