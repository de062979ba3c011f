"""Runs are shown in trackers: their own readers find the curves in the run's folder.

TensorBoard and MLflow are read back by their own libraries. Weights & Biases and Trackio run in
their offline modes, without a server or an account.
"""

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.models import tiny
from support.stages import rows, stage, trained
from torch import Tensor

from alembert.io.errors import UserError
from alembert.training.callbacks import Callbacks
from alembert.training.monitor import Validation, Validator
from alembert.training.trackers import Tracker, check

CONFIG = {"recipe": "mine", "seed": 3, "s.learning_rate": 1e-3}
VALIDATOR = Validator(lambda: Validation(0.75, 1.5), "own:recall", {10, 20})
METRICS = {"metric": "own:recall", "student": {"own:recall": 0.5}, "parameters": {"student": 9}}


def needs(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def tracked(
    name: str, folder: Path, kills: Sequence[int] = (), earlier: int = 0
) -> list[dict[str, float]]:
    """The rows of log.jsonl of a run that is shown by this tracker, and killed at these steps."""
    for stop in (*kills, None):

        def batches(step: int, stop: int | None = stop) -> dict[str, Tensor]:
            if step == stop:
                raise KeyboardInterrupt
            return rows(step)

        tracker = Tracker(name, folder, CONFIG)
        callbacks = Callbacks((), [tracker])
        callbacks.earlier = earlier
        student = tiny("bert", "classification")
        try:
            trained(student, stage(steps=20), folder / "s", None, batches, VALIDATOR, callbacks)
        except KeyboardInterrupt:
            tracker.close()
        else:
            tracker.close(METRICS)
            tracker.close()  # the run closes it again, which changes nothing
    return [json.loads(line) for line in (folder / "s/log.jsonl").read_text().splitlines()]


def losses(log: list[dict[str, float]]) -> dict[float, float]:
    return {row["step"]: row["loss"] for row in log if "loss" in row}


def test_tensorboard_shows_the_curves_of_a_run(tmp_path: Path) -> None:
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = tracked("tensorboard", tmp_path, earlier=100)
    events = EventAccumulator(str(tmp_path / "tracking/tensorboard"))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("s/loss")}
    assert shown == pytest.approx({100 + step: loss for step, loss in losses(log).items()})
    assert [event.value for event in events.Scalars("s/valid_own.recall")] == [0.75, 0.75]
    (last,) = events.Scalars("test/student/own.recall")
    assert (last.step, last.value) == (120, 0.5)
    assert {"s/learning_rate", "s/HardLabels", "s/gradient_norm"} <= {*events.Tags()["scalars"]}


@pytest.mark.slow
def test_mlflow_shows_the_curves_of_a_run_and_a_resumed_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mlflow")
    needs("sqlalchemy")
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    log = tracked("mlflow", tmp_path, kills=[13])
    assert not mlflow.is_tracking_uri_set()
    assert "MLFLOW_TRACKING_URI" not in os.environ
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/tracking/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'alembert'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == tmp_path.name
    assert run.data.params == {"recipe": "mine", "seed": "3", "s.learning_rate": "0.001"}
    history = client.get_metric_history(run.info.run_id, "s/loss")
    shown = {metric.step: metric.value for metric in history}
    assert shown == pytest.approx(losses(log))
    assert [*shown] == [10, 20]
    assert run.data.metrics["s/valid_own.recall"] == 0.75
    assert run.data.metrics["test/student/own.recall"] == 0.5
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_wandb_keeps_a_run_here_in_its_offline_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    tracked("wandb", tmp_path, kills=[13])
    ids = json.loads((tmp_path / "tracking/ids.json").read_text())
    files = [*tmp_path.glob("tracking/wandb/offline-run-*/*.wandb")]
    assert {file.name for file in files} == {f"run-{ids['run']}.wandb"}
    assert b"s/loss" in b"".join(file.read_bytes() for file in files)
    import wandb

    wandb.teardown()  # else it stays offline in this process


def test_wandb_without_a_key_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))
    monkeypatch.setenv("NETRC", str(tmp_path / "nobody" / ".netrc"))
    with pytest.raises(UserError, match=r"^--track wandb: .*wandb login"):
        tracked("wandb", tmp_path)


def test_trackio_keeps_a_run_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("trackio")
    import sqlite3

    import trackio.utils

    home = tmp_path / "trackio"
    for module in [m for name, m in sys.modules.items() if name.split(".")[0] == "trackio"]:
        if hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", home)
    tracked("trackio", tmp_path)
    (base,) = home.glob("*.db")
    with sqlite3.connect(base) as database:
        seen: list[Any] = database.execute("select step, metrics from metrics").fetchall()
    assert {step for step, values in seen if b"s/loss" in bytes(values)} == {10, 20}
    assert home == trackio.utils.TRACKIO_DIR


def test_a_tracker_that_is_not_there_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alembert.training.trackers.find_spec", lambda _: None)
    with pytest.raises(UserError, match="--track mlflow: mlflow is not installed: pip install mlf"):
        check("mlflow")
    with pytest.raises(UserError, match="--track clearml: choose one of tensorboard, wandb, mlflo"):
        check("clearml")
