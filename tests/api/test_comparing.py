"""Compare, slices and seeds of saved models and runs, from Python and from the command line."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command_line import command
from support.runs import saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.evaluation import predictions
from alembert.evaluation.uncertainty import compared
from alembert.io.errors import UserError
from alembert.runs import evaluate

SHORT = {"max_length": 32, "epochs": 12.0, "batch_size": 16, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """A model that learnt the task, in two seeds, one that did not, and a test file with slices."""
    home = tmp_path_factory.mktemp("compared")
    saved(home / "untrained", tokenizer, "classification")
    body = saved(home / "body", tokenizer)
    rows = Path(task_file(home / "plain.csv", 90, seed=5)).read_text().splitlines()
    sources = ["source", *(("mail", "chat", "chat")[i % 3] for i in range(90))]
    lines = [f"{row},{source}" for row, source in zip(rows, sources, strict=True)]
    (home / "test.csv").write_text("\n".join(lines) + "\n")
    train = task_file(home / "train.csv", 120)
    best = alembert.finetune(
        body, home / "seeds", train=train, eval=str(home / "test.csv"), text="text", label="label",
        slices=["source"], seeds=2, settings={"stages.linear.steps": 4}, **SHORT,
    )  # fmt: skip
    assert best.folder.parent == home / "seeds"
    return home


def test_seeds_are_runs_of_their_own_with_a_mean_and_the_best_held_out(home: Path) -> None:
    content = json.loads((home / "seeds" / "seeds.json").read_text())
    runs = content["runs"]
    assert [run["run"] for run in runs] == ["seed-0", "seed-1"]
    for run in runs:
        metrics = json.loads((home / "seeds" / run["run"] / "metrics.json").read_text())
        assert run["metrics"] == metrics
    values = [run["metrics"]["student"]["accuracy"] for run in runs]
    assert content["mean"]["student"]["mean"] == pytest.approx(sum(values) / 2)
    held_out = [run["held_out"] for run in runs]
    assert content["best"] == runs[held_out.index(max(held_out))]["run"]
    assert alembert.load(home / "seeds").folder == home / "seeds" / content["best"]


def test_the_predictions_of_a_run_have_the_value_of_each_text_in_a_column_of_slice(
    home: Path,
) -> None:
    found = predictions.load(alembert.load(home / "seeds").folder)
    assert found is not None
    rows = csv.DictReader((home / "test.csv").read_text().splitlines())
    told = {(row["text"], row["source"]) for row in rows}
    assert set(zip(found.texts, found.slices["source"], strict=True)) == told


def test_the_folder_of_seeds_answers_by_its_best(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = alembert.load(home / "seeds").folder
    more = f"--data {home / 'plain.csv'} --max-length 32"
    assert command(f"evaluate {home / 'seeds'} {more}", monkeypatch) == 0
    of_folder = capsys.readouterr().out
    assert command(f"evaluate {best} {more}", monkeypatch) == 0
    assert capsys.readouterr().out == of_folder


def test_a_single_seed_and_seeds_without_a_folder_are_refused(home: Path) -> None:
    train = str(home / "train.csv")
    with pytest.raises(UserError, match="--seeds 1: must be 2 or more"):
        alembert.finetune(str(home / "body"), home / "one", train=train, seeds=1)
    with pytest.raises(UserError, match="--seeds 2: needs a folder for its runs: give --out"):
        alembert.finetune(str(home / "body"), train=train, seeds=2)
    with pytest.raises(UserError, match="holds a single run: choose another --out"):
        alembert.finetune(str(home / "body"), home / "seeds" / "seed-0", train=train, seeds=2)


def test_a_run_has_the_metric_of_each_slice(home: Path) -> None:
    metrics = json.loads((home / "seeds" / "seed-0" / "metrics.json").read_text())
    found = metrics["slices"]
    assert {name: part["n"] for name, part in found["source"].items()} == {"chat": 60, "mail": 30}
    assert sum(part["n"] for part in found["length in tokens"].values()) == 90
    parts = found["source"].values()
    accuracy = sum(part["n"] * part["student"] for part in parts) / 90
    assert accuracy == pytest.approx(metrics["student"]["accuracy"])


def test_a_column_that_is_missing_is_refused_before_anything_is_trained(home: Path) -> None:
    given = {"train": str(home / "train.csv"), "slices": ["sorce"]}
    with pytest.raises(UserError, match=r"--slice sorce: .*test.csv has no such column; near are"):
        alembert.finetune(str(home / "body"), home / "no", eval=str(home / "test.csv"), **given)
    with pytest.raises(UserError, match="--slice sorce: is a column of --eval: give that too"):
        alembert.finetune(str(home / "body"), home / "no", **given)
    assert not (home / "no" / "stages").exists()


def test_models_are_compared_by_path_by_model_and_by_export(home: Path) -> None:
    trained = alembert.load(home / "seeds")
    if not (trained.path / "deploy.json").is_file():
        trained.export()
    data = str(home / "test.csv")
    found = alembert.compare(
        [trained, f"{trained.folder}:onnx", home / "untrained"], data, slices=["source"],
        max_length=32, text="text", label="label",
    )  # fmt: skip
    first, exported, untrained = found.models
    assert found.n == 90
    assert first.metrics["accuracy"] == trained.metrics["student"]["accuracy"]
    assert exported.difference is not None
    assert exported.difference.bounds == [0, 0]
    assert exported.p == 1
    assert untrained.metrics["accuracy"] == pytest.approx(1 / 3)
    assert untrained.difference is not None
    assert untrained.difference.value == pytest.approx(1 / 3 - first.metrics["accuracy"])
    assert set(found.slices) == {"source", "length in tokens"}
    with pytest.raises(UserError, match="untrained: is named twice"):
        alembert.compare([home / "untrained"] * 2, data, max_length=32)


def test_a_model_of_windows_is_compared_in_its_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "untrained", tmp_path / "windows")
    config = tmp_path / "windows" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "window_length": 16}))
    lengths = []

    def judge(path: str, files: Any, length: int | None, *_: Any) -> None:
        lengths.append(length)

    monkeypatch.setattr(evaluate, "judge", judge)
    monkeypatch.setattr(compared, "compare", lambda judged: judged)
    models, data = [tmp_path / "windows", home / "untrained"], str(home / "plain.csv")
    alembert.compare(models, data)
    alembert.compare(models, data, max_length=24)
    assert lengths == [None, 128, 24, 24]


def test_the_gate_ends_with_an_exit_code(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = str(alembert.load(home / "seeds").folder), str(home / "untrained")
    more = ["--data", str(home / "plain.csv"), "--max-length", "32", "--no-worse-by", "0.01"]
    assert command(["compare", good, bad, *more], monkeypatch) == 0
    assert "passed: no worse by 0.01" in capsys.readouterr().out
    assert command(["compare", bad, good, *more], monkeypatch) == 1
    assert "failed: worse by more than 0.01" in capsys.readouterr().out
    assert command(["compare", bad, good, *more, "--json", "--metric", "macro_f1"],
                   monkeypatch) == 1  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert (said["metric"], said["n"], said["passed"]) == ("macro_f1", 90, False)
    assert said["models"][1]["difference"]["low"] > 0


def test_evaluate_has_slices_where_they_are_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = alembert.load(home / "seeds"), str(home / "test.csv")
    found = model.evaluate(data, text="text", label="label", max_length=32, slices=["source"])
    assert found["slices"]["source"]["mail"]["n"] == 30
    assert "slices" not in model.evaluate(data, text="text", label="label", max_length=32)
    line = f"evaluate {model.folder} --data {data} --slice source --max-length 32"
    assert command(line, monkeypatch) == 0
    assert "source chat (n = 60): " in capsys.readouterr().out
