"""Recipes are values: YAML out and in gives an equal one, and what is wrong is named."""

from pathlib import Path

import pytest
import yaml
from transformers import BertConfig

from alembert.io.errors import UserError
from alembert.recipes import RECIPES, recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import from_yaml, to_yaml, with_run

TEACHERS = [
    BertConfig(),
    BertConfig(num_hidden_layers=6, hidden_size=384),
    BertConfig(num_hidden_layers=24),
]


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("name", RECIPES)
def test_yaml_out_and_in_gives_an_equal_recipe(
    name: str, teacher: BertConfig, tmp_path: Path
) -> None:
    for recipe in (recipe_of(name, teacher), finetune(teacher)):
        (tmp_path / "r.yaml").write_text(to_yaml(recipe))
        assert from_yaml(tmp_path / "r.yaml") == recipe


def test_distilbert_of_bert_base_is_the_papers() -> None:
    recipe = recipe_of("distilbert", BertConfig())
    assert recipe.student["n_layers"] == 6
    general = recipe.stages[0]
    assert [(t.kind, t.weight) for t in general.objective] == [
        ("SoftLabels", 5.0), ("HardLabels", 2.0), ("HiddenCosine", 1.0),
    ]  # fmt: skip
    assert general.objective[0].temperature == 2.0
    assert (general.learning_rate, general.betas, general.clip) == (5e-4, (0.9, 0.98), 5.0)


def test_settings_change_a_copy() -> None:
    recipe = recipe_of("distilbert", BertConfig())
    changed = with_settings(recipe, {"stages.general.steps": "1000", "student.n_layers": "3"})
    assert (changed.stages[0].steps, changed.stages[0].epochs) == (1000, None)
    assert changed.student["n_layers"] == 3
    hotter = with_settings(recipe, {"stages.general.objective.SoftLabels.temperature": "4"})
    assert hotter.stages[0].objective[0].temperature == 4.0
    mobile = recipe_of("mobilebert", BertConfig(num_hidden_layers=1))
    regrouped = with_settings(mobile, {"stages.*.objective.AttentionKL.heads": "6"})
    assert [
        (stage.name, term.heads)
        for stage in regrouped.stages
        for term in stage.objective
        if term.kind == "AttentionKL"
    ] == [("transfer-1", 6), ("intermediate", 6)]  # the stages that have the term
    assert recipe.stages[0].steps is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("stages.general.stepz", "3", "no field 'stepz'"),
        ("stages.nowhere.steps", "3", "there is no 'nowhere': choose one of general, task"),
        ("stages.general.learning_rate", "-1", "learning_rate"),
        ("stages.general.learning_rate", "fast", "given: 'fast'"),
        ("stages.general.batch_size", "0", "batch_size"),
        ("projections", "many", "'none', 'layer' or 'shared'"),
        ("nothing.at.all", "1", "no field 'nothing'"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        with_settings(recipe_of("distilbert", BertConfig()), {key: value})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\nstages: []\nstudent: {}\n", "stages"),
        ("name: x\nstudent: {}\n", "stages: Field required"),
        ("- 1\n", "mapping"),
        ("a: [", "not a readable recipe"),
        ("name: x\nstudent: {}\ntemprature: 3\nstages: []\n", "temprature|stages"),
    ],
)
def test_a_wrong_file_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=f"mine.yaml.*({says})"):
        from_yaml(tmp_path / "mine.yaml")


def test_a_term_or_a_stage_that_is_set_to_null_is_left_out() -> None:
    recipe = recipe_of("tinybert", BertConfig())
    found = with_settings(recipe, {"stages.*.objective.AttentionMSE": "null"})
    kinds = [[term.kind for term in stage.objective] for stage in found.stages]
    assert kinds == [["HiddenMSE"], ["HiddenMSE"], ["SoftLabels"]]
    fewer = with_settings(recipe, {"stages.general": "null"})
    assert [stage.name for stage in fewer.stages] == ["intermediate", "prediction"]
    for key, says in (
        ("stages.*.objective.AttentionMES", "there is no field 'AttentionMES' here"),
        ("stages.prediction.objective.SoftLabels", "at least 1 item"),
        ("stages.task-2", "there is no field 'task-2' here"),
        ("stages.general.rates.0", "there is no field '0' here"),
    ):
        with pytest.raises(UserError, match=says):
            with_settings(recipe, {key: "null"})


def test_rates_of_no_regular_expression_are_refused() -> None:
    with pytest.raises(UserError, match=r"'\(' is no regular expression \(missing \)"):
        with_settings(recipe_of("tinybert", BertConfig()), {"stages.*.rates": "[['(', 0]]"})


def test_an_unknown_recipe_and_too_many_layers_are_refused() -> None:
    with pytest.raises(UserError, match="no recipe 'distilbart'"):
        recipe_of("distilbart", BertConfig())
    with pytest.raises(UserError, match="--layers 13"):
        recipe_of("distilbert", BertConfig(), layers=13)
    with pytest.raises(UserError, match="--hidden-size 100"):
        recipe_of("distilbert", BertConfig(), hidden_size=100)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("stages.general.masking", "null", "set masking"),
        ("stages.general.objective.SoftLabels.temperature", ".inf", "finite"),
        ("stages.task.objective.SoftLabels.rows", "masked", "need masked words: set masking"),
        ("stages.task.betas", "[0.9, 1.0]", "less than 1"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_the_recipe(field: str, value: str, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        with_settings(recipe_of("distilbert", BertConfig()), {field: value})


def test_the_settings_of_a_run_are_in_its_recipe_and_come_back(tmp_path: Path) -> None:
    recipe = recipe_of("distilbert", BertConfig())
    asked = with_settings(recipe, {"run.seed": "3", "run.cache_teacher": "true"})
    asked = with_run(asked, precision="bf16", vocabulary="task")
    (tmp_path / "r.yaml").write_text(to_yaml(asked))
    assert from_yaml(tmp_path / "r.yaml") == asked
    run = asked.run
    assert (run.seed, run.precision, run.vocabulary) == (3, "bf16", "task")
    assert (run.cache_teacher, run.cache_top, run.cache_precision) == (True, 128, "bf16")


def test_a_recipe_file_of_before_the_section_run_is_read(tmp_path: Path) -> None:
    recipe = recipe_of("distilbert", BertConfig())
    before = {key: value for key, value in yaml.safe_load(to_yaml(recipe)).items() if key != "run"}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(before))
    assert from_yaml(tmp_path / "r.yaml") == recipe


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seed", "-1", "--seed -1: must be 0 or more"),
        ("precision", "fp8", "--precision fp8: choose auto, fp32, bf16 or fp16"),
        ("vocabulary", "corpus", "--vocabulary corpus: task, or leave it out"),
        ("cache_top", "0", "--cache-top 0: must be 1 or more"),
        ("cache_precision", "fp16", "--cache-precision fp16: choose bf16 or fp32"),
        ("sead", "1", "--set run.sead: there is no field 'sead' here: seed, precision"),
    ],
)
def test_a_setting_of_a_run_that_cannot_be_is_refused(field: str, value: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        with_settings(recipe_of("distilbert", BertConfig()), {f"run.{field}": value})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("stages.tsak.clip", "; did you mean 'task'?"),
        ("stages.task.learning_rat", "; did you mean 'learning_rate'?"),
        ("stages.task.objective.SoftLabel.weight", "; did you mean 'SoftLabels'?"),
        ("stages.task.temperature", "max_length"),  # a name elsewhere in the recipe is no hint
        ("stages.task.wholly_other", "max_length"),
    ],
)
def test_a_setting_that_there_is_not_is_answered_with_a_near_one(key: str, hint: str) -> None:
    with pytest.raises(UserError) as found:
        with_settings(recipe_of("distilbert", BertConfig()), {key: "1"})
    told = str(found.value)
    assert told.startswith(f"--set {key}: there is no")
    assert told.endswith(hint) if "?" in hint else hint in told and "did you mean" not in told
