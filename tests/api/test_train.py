"""Training from Python does what the command line does, and returns a model that predicts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.runs import saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.cli import main
from alembert.io import checksums
from alembert.io.answers import Prediction
from alembert.io.errors import UserError

SHORT = {"max_length": 32, "epochs": 1.0}
LINEAR = {"stages.linear.steps": 4}


def test_public_names_are_there_and_nothing_heavy_is_imported_for_them() -> None:
    line = "import alembert, sys; print(sorted({'torch', 'numpy', 'typer'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
    for name in alembert.__all__:
        assert getattr(alembert, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'fine_tune'"):
        _ = alembert.fine_tune


def test_a_teacher_is_made_distilled_exported_and_predicts_as_its_export(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", seed=9)
    teacher = alembert.finetune(
        body, tmp_path / "teacher", train=train, eval=test, **SHORT, settings=LINEAR
    )
    student = alembert.distill(
        teacher, "tinybert", out=tmp_path / "run", train=train, eval=test, layers=1,
        hidden_size=8, settings={"augment": None, "stages.*.batch_size": 16}, export=False, **SHORT,
    )  # fmt: skip
    metrics = student.metrics
    assert metrics["retention"] == metrics["student"]["accuracy"] / metrics["teacher"]["accuracy"]
    first = student.predict(["good film", "bad book"])
    assert all(isinstance(each, Prediction) for each in first)
    second = alembert.load(student.export().folder).predict(["good film", "bad book"])
    assert [each.label for each in first] == [each.label for each in second]
    assert [each.score for each in first] == pytest.approx([x.score for x in second], abs=1e-4)


@pytest.mark.slow
def test_python_and_the_command_line_make_the_same_weights(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, train = saved(tmp_path / "body", tokenizer), task_file(tmp_path / "train.csv")
    made = alembert.finetune(body, tmp_path / "a", train=train, **SHORT)
    line = f"alembert finetune {body} --train {train} --out {tmp_path / 'b'} --max-length 32"
    monkeypatch.setattr(sys, "argv", [*line.split(), "--epochs", "1"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code in (0, None)
    weights = [(path / "model.safetensors").read_bytes() for path in (made.path, tmp_path / "b")]
    assert weights[0] == weights[1]


def test_a_misspelt_keyword_is_refused_as_python_does(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        alembert.finetune("m", tmp_path / "out", epoch=3)  # type: ignore[call-arg]
    assert not (tmp_path / "out").exists()


def test_the_recipe_of_a_run_repeats_it_unless_a_keyword_says_otherwise(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    train = task_file(tmp_path / "train.csv")

    def made(name: str, recipe: str, **more: Any) -> tuple[Any, bytes, dict[str, Any]]:
        out = tmp_path / name
        alembert.distill(teacher, recipe, out=out, train=train, export=False, **SHORT, **more)
        arguments = json.loads((out / "environment.json").read_text())["arguments"]
        weights = (out / "student" / "model.safetensors").read_bytes()
        return yaml.safe_load((out / "recipe.yaml").read_text())["run"], weights, arguments

    first, weights, arguments = made("first", "distilbert", seed=3, precision="fp32")
    assert (first["seed"], first["precision"]) == (3, "fp32")
    assert arguments.keys().isdisjoint(first)  # each fact has one home
    again, same, _ = made("again", str(tmp_path / "first" / "recipe.yaml"))
    assert (again, same) == (first, weights)
    other, _, _ = made("other", str(tmp_path / "first" / "recipe.yaml"), seed=4)
    assert other == first | {"seed": 4}


@pytest.mark.slow
def test_a_run_of_before_the_section_run_goes_on_with_its_seed(
    tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    train, out = task_file(tmp_path / "train.csv"), tmp_path / "run"
    alembert.distill(teacher, out=out, train=train, seed=3, export=False, **SHORT)
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    environment = json.loads((out / "environment.json").read_text())
    run = recipe.pop("run")
    before = {"seed": run["seed"], "precision": run["precision"], "vocabulary": None}
    environment["arguments"] |= before | {"caching": None}
    del environment["digests"]
    for sums in list(out.rglob(checksums.FILE)):  # that version wrote neither
        sums.unlink()
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (out / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(UserError, match=r"run\.seed is 3 there and 0 here"):
        alembert.distill(teacher, out=out, train=train, export=False, **SHORT)
    alembert.distill(teacher, out=out, train=train, seed=3, export=False, **SHORT)
    assert any("nothing to do" in line for line in news)


def test_columns_and_a_folder_that_are_wrong_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").write_text("mine")
    with pytest.raises(UserError) as wrong:
        alembert.distill(
            "teacher", train=task_file(tmp_path / "train.csv"), text="Mial", label="Escalate",
            out=tmp_path / "notes",
        )  # fmt: skip
    said = str(wrong.value)
    assert "--text Mial: " in said
    assert "--label Escalate: " in said
    assert "holds x.txt and no run" in said
    assert (tmp_path / "notes" / "x.txt").read_text() == "mine"
