"""The command line has no capability of its own: each verb calls a function of alembert.api."""

import ast
import inspect
from pathlib import Path

import pytest
import typer
from support.runs import corpus_file, saved, task_file
from transformers import BertTokenizerFast

from alembert import api
from alembert.cli import main
from alembert.io.errors import UserError
from alembert.recipes.schema import Recipe

CLI = Path(main.__file__).parent
PRINTERS = {"alembert.bench.show", "alembert.search.tune", "alembert.recipes.schema"}
VERBS = set(typer.main.get_command(main.app).commands)  # type: ignore[attr-defined]


def test_there_is_a_function_for_every_verb() -> None:
    assert "quickstart" in VERBS
    for verb in VERBS:
        assert inspect.isfunction(getattr(api, verb)), verb
        assert inspect.getdoc(getattr(api, verb))


@pytest.mark.parametrize("file", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_a_verb_imports_its_function_and_what_prints(file: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("alembert."):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    own = ("alembert.api.", "alembert.cli.", "alembert.io.")
    rest = {name for name in found if not name.startswith(own)}
    assert {name for name in rest if not name.startswith(tuple(PRINTERS))} == set()


def test_texts_are_varied_tokenised_and_a_vocabulary_trimmed_from_python(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    model = saved(tmp_path / "words", tokenizer, "words")
    train = task_file(tmp_path / "train.csv")
    rows = api.augment(train, tmp_path / "varied.csv", mlm=model, copies=1)
    assert rows == len((tmp_path / "varied.csv").read_text().splitlines()) - 1
    made = api.corpus([corpus_file(tmp_path / "c.txt")], model, tmp_path / "corpus", max_length=16)
    assert max(len(row["input_ids"]) for row in made) <= 16
    smaller = api.trim(model, tmp_path / "smaller", data=[train])
    assert smaller.path == tmp_path / "smaller"
    assert news[-1].startswith(f"{smaller.path}: made, ")


def test_recipes_are_named_and_made_for_a_teacher(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    assert "TinyBERT" in api.recipes()["tinybert"]
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    assert isinstance(api.recipe("tinybert"), Recipe)
    made = api.recipe("distilbert", teacher, layers=1)
    assert made.student["n_layers"] == 1


def test_a_model_is_measured_exported_timed_and_asked_from_python(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    model = saved(tmp_path / "model", tokenizer, "classification")
    test = task_file(tmp_path / "test.csv", seed=9)
    assert 0 <= api.evaluate(model, test, max_length=32)["accuracy"] <= 1
    with pytest.raises(UserError, match="exactly one of --data and --corpus"):
        api.evaluate(model)
    by_torch = api.predict(model, ["good film"])
    assert [each.backend for each in api.export(model, int8=True).variants] == ["onnx", "int8"]
    assert api.predict(model, ["good film"], backend="onnx")[0].label == by_torch[0].label
    [row] = api.bench(
        [model], backends=["onnx"], threads=[1], length=8, seconds=0.01, json=tmp_path / "b.json"
    )
    assert row.parameters > 0
    assert (tmp_path / "b.json").is_file()
