"""Every teacher that docs/teachers.md names, with every recipe: what the page says is what happens.

Teachers have two layers 32 wide and drawn weights; all stages of a recipe run, on a corpus and on a
task, two steps each.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.models import FIELDS
from support.news import logged
from support.runs import corpus_file, saved, task_file
from support.vocabulary import VOCABULARY
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models.architectures import ANATOMIES
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.choose import choose_recipe
from alembert.recipes.overrides import with_settings
from alembert.runs.job import Job
from alembert.runs.run import run

PAGE = Path(__file__).parents[2] / "docs" / "teachers.md"
RECIPES = ("distilbert", "tinybert", "minilm", "mobilebert")
SIZES = {"hidden_size": 32, "intermediate_size": 64}
SHORT = {"stages.*.steps": "2", "stages.*.batch_size": "4", "stages.*.max_length": "16"}


def table() -> dict[str, tuple[str, ...]]:
    """The page's table: model type -> a cell for each of RECIPES."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert rows[0] == ["`model_type`", *(f"`{name}`" for name in RECIPES)]
    return {row[0].split("`")[1]: tuple(row[1:]) for row in rows[1:]}


TABLE = table()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and the teachers that were made so far."""
    home = tmp_path_factory.mktemp("teachers")
    task_file(home / "train.csv", 15)
    corpus_file(home / "corpus.txt", 10)
    return home


def reader(padding: int) -> BertTokenizerFast:
    """The tokenizer of tests with the padding at this id, 0 or 1."""
    words = list(VOCABULARY)
    words[0], words[padding] = words[padding], words[0]
    return BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})


def teacher(house: Path, kind: str, head: str) -> str:
    """A saved teacher of an architecture, made once."""
    if not (house / f"{kind}-{head}").is_dir():
        sizes = {} if kind == "mobilebert" else SIZES
        tokenizer = reader(FIELDS.get(kind, {}).get("pad_token_id", 0))
        saved(house / f"{kind}-{head}", tokenizer, head, kind, **sizes)
    return str(house / f"{kind}-{head}")


def distilled(
    house: Path, kind: str, recipe: str, out: Path, settings: dict[str, str]
) -> list[str]:
    """What a run from corpus to task says."""
    task, words = (teacher(house, kind, head) for head in ("classification", "words"))
    config = load_config(task)
    narrow = config.hidden_size // 2 if recipe in ("tinybert", "minilm") else None
    chosen = with_settings(choose_recipe(recipe, config, None, 1, narrow), SHORT | settings)
    job = Job(
        recipe=chosen,
        out=out,
        teacher=task,
        general_teacher=words,
        corpus=str(house / "corpus.txt"),
        files=Files(train=str(house / "train.csv")),
    )
    with logged() as lines:
        run(job)
    return lines


def trained(out: Path) -> list[str]:
    """The stages of a run, each of which took two steps and logged losses that are numbers."""
    places = sorted(out.glob("stages/*"))
    for place in places:
        log = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
        found = [entry["loss"] for entry in log if "loss" in entry]
        assert found
        assert all(math.isfinite(loss) for loss in found)
        assert json.loads((place / "facts.json").read_text())["step"] == 2
    return [place.name.split("-", 1)[1] for place in places]


def test_the_page_names_every_architecture_whose_layers_are_known() -> None:
    assert {*TABLE, "ibbert"} == {*ANATOMIES}  # IB-BERT is MobileBERT's own teacher


def pairings() -> Iterator[Any]:
    """Every teacher with every recipe; slow but for BERT's and one recipe of each other teacher."""
    for i, kind in enumerate(TABLE):
        for k, recipe in enumerate(RECIPES):
            quick = kind == "bert" or i % len(RECIPES) == k
            yield pytest.param(kind, recipe, marks=[pytest.mark.slow] * (not quick))


@pytest.mark.parametrize(("kind", "recipe"), list(pairings()))
def test_a_teacher_teaches_as_the_page_says(
    kind: str, recipe: str, house: Path, tmp_path: Path
) -> None:
    cell, settings = TABLE[kind][RECIPES.index(recipe)], {}
    if less := re.search(r"less `(\w+)`", cell):
        says = rf"^stage '[\w-]+' of recipe '{recipe}' compares .*{less[1]}.* with a '{kind}'"
        settings = {f"stages.*.objective.{less[1]}": "null"}
    elif cell == "scratch":
        says = rf"^layers of '{kind}' cannot be copied .*--set init.start=scratch"
        settings = {"init.start": "scratch"}
    if settings:
        with pytest.raises(UserError, match=says) as refused:
            distilled(house, kind, recipe, tmp_path / "run", {})
        assert "\n" not in str(refused.value)
        assert "=".join(*settings.items()) in str(refused.value)  # the mend, which is then taken
        assert not (tmp_path / "run").exists()
    said = distilled(house, kind, recipe, tmp_path / "run", settings)
    start = [line for line in said if line.startswith("start: ")]
    assert any("embeddings alone" in line for line in start) == ("embeddings" in cell)
    assert any("relative positions" in line for line in start) == ("°" in cell)
    whole = recipe_of(recipe, load_config(teacher(house, kind, "words")), layers=1)
    assert trained(tmp_path / "run") == [stage.name for stage in whole.stages]


def test_an_encoder_that_is_not_on_the_page_teaches_from_scratch_alone(
    house: Path, tmp_path: Path
) -> None:
    assert "ernie" not in TABLE
    with pytest.raises(UserError, match=r"^layers of 'ernie' cannot be copied"):
        distilled(house, "ernie", "distilbert", tmp_path / "run", {})
    scratch = {"init.start": "scratch"}
    for recipe, term in (("minilm", "Relations"), ("mobilebert", "AttentionKL")):
        with pytest.raises(UserError, match=rf"{term}\) with a 'ernie', whose queries and keys"):
            distilled(house, "ernie", recipe, tmp_path / "run", scratch)
    assert not (tmp_path / "run").exists()
    distilled(house, "ernie", "distilbert", tmp_path / "run", scratch)
    assert trained(tmp_path / "run") == ["general", "task"]


def test_of_another_tokenizer_answers_are_learnt_and_nothing_else(
    house: Path, tmp_path: Path
) -> None:
    master, student = teacher(house, "mpnet", "classification"), teacher(house, "bert", "words")
    files = Files(train=str(house / "train.csv"))

    def learnt(recipe: str, **settings: str) -> list[str]:
        chosen = choose_recipe(recipe, load_config(master), student)
        chosen = with_settings(chosen, SHORT | settings)
        run(Job(recipe=chosen, out=tmp_path / recipe, teacher=master, student=student, files=files))
        return trained(tmp_path / recipe)

    assert learnt("minilm") == ["task"]
    with pytest.raises(UserError, match=r"HiddenCosine of stage 'task' compares them token by to"):
        learnt("distilbert")
    answers = {"stages.task.objective": "[{kind: SoftLabels}]"}
    assert learnt("distilbert", **answers) == ["task"]
