"""Training from Python does what the command line does, and returns a model that predicts."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.cli import main
from alembert.io.answers import Prediction

SHORT = {"max_length": 32, "epochs": 1.0}


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
    teacher = alembert.finetune(body, tmp_path / "teacher", train=train, eval=test, **SHORT)
    student = alembert.distill(
        teacher, "tinybert", out=tmp_path / "run", train=train, eval=test, layers=1,
        hidden_size=8, settings={"augment": None, "stages.*.batch_size": 16}, **SHORT,
    )  # fmt: skip
    metrics = student.metrics
    assert metrics["retention"] == metrics["student"]["accuracy"] / metrics["teacher"]["accuracy"]
    first = student.predict(["good film", "bad book"])
    assert all(isinstance(each, Prediction) for each in first)
    second = alembert.load(student.export().folder).predict(["good film", "bad book"])
    assert [each.label for each in first] == [each.label for each in second]
    assert [each.score for each in first] == pytest.approx([x.score for x in second], abs=1e-4)


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
