"""The quickstart's table has a row of each model in torch, and one as it is deployed."""

import json
from pathlib import Path
from typing import Any

import pytest

from alembert.api.first_run import _compared
from alembert.api.model import Model
from alembert.cli.train import _print_table


def timed(model: str, backend: str, ms: float, size_mb: float) -> dict[str, Any]:
    ratio = {
        "to": "teacher:torch",
        "of": "cpu",
        "value": 8 / ms,
        "low": 1,
        "high": 9,
        "same": False,
    }
    return {
        "model": model, "backend": backend, "threads": 1, "batch": 1, "length": 9,
        "latency_ms": {"median": ms, "min": ms}, "cpu_ms": {"median": ms, "min": ms},
        "tokenize_ms": None, "throughput": 1.0, "tokens_per_second": 1.0, "size_mb": size_mb,
        "parameters": 9, "peak_rss_mb": None, "rounds": 3,
        "ratios": [] if (model, backend) == ("teacher", "torch") else [ratio],
    }  # fmt: skip


def run_folder(folder: Path, rows: list[dict[str, Any]], deployed: dict[str, Any]) -> Model:
    """A finished run's files, as far as the table reads them."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text("name: tinybert\nstages: []\n")
    metrics = {
        "task": "classification", "metric": "accuracy", "parameters": {"teacher": 9, "student": 3},
        "teacher": {"accuracy": 0.8}, "student": {"accuracy": 0.76}, "retention": 0.95, **deployed,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "bench.json").write_text(json.dumps({"rows": rows}))
    return Model(folder)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Model]:
    rows = [
        timed("teacher", "torch", 8, 91), timed("teacher", "onnx", 4, 91),
        timed("teacher", "int8", 2, 24), timed("student", "torch", 4, 70),
        timed("student", "onnx", 2, 70), timed("student", "int8", 0.5, 18),
        timed("tfidf", "scikit-learn", 0.25, 0),
    ]  # fmt: skip
    deployed = {
        "deployed": {"backend": "int8", "accuracy": 0.74}, "teacher_int8": {"accuracy": 0.79},
        "baselines": {"majority": {"accuracy": 0.1}, "tfidf": {"accuracy": 0.7}},
    }  # fmt: skip
    return {
        "teacher": Model(tmp_path / "teacher"),
        "TinyBERT": run_folder(tmp_path / "one", rows, deployed),
        "MobileBERT": run_folder(tmp_path / "two", [rows[0], rows[3]], {}),
    }


def test_each_model_has_a_row_in_torch_and_one_as_it_is_deployed(models: dict[str, Model]) -> None:
    table = _compared(models)
    assert {name: (row["accuracy"], row["size_mb"]) for name, row in table.items()} == {
        "teacher": (0.8, 91), "teacher, int8": (0.79, 24), "TinyBERT": (0.76, 70),
        "TinyBERT, int8": (0.74, 18), "MobileBERT": (0.76, 70), "TF-IDF": (0.7, 0),
    }  # fmt: skip


def test_the_table_is_printed_with_times_beside_the_teacher(
    models: dict[str, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    _print_table(_compared(models))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == "teacher torch fp32 91 MB 0.800 - 8.00 ms"
    assert lines[4] == "int8 18 MB 0.740 92.5 % 0.50 ms (16.0x)"
    assert lines[6] == "TF-IDF scikit-learn - 0.700 - 0.25 ms (32.0x)"
