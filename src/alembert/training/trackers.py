"""Trackers: a run's losses and metrics as curves in another tool, through accelerate's trackers."""

import os
import secrets
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembert.io.errors import UserError
from alembert.io.files import read_json, write_json
from alembert.training.callbacks import Callback, Progress

NAMES = ("tensorboard", "wandb", "mlflow", "trackio")  # each is also its package
FOLDER = "tracking"  # in the folder of a run
ERRORS = {"wandb": "Error", "mlflow": "MlflowException"}  # a tool's own, by its name
PROJECT = "alembert"
EVERY = 10  # steps, as in log.jsonl

Config = dict[str, str | int | float]


def check(name: str) -> None:
    """Raise UserError for a tracker that there is not, or that is not installed."""
    if name not in NAMES:
        raise UserError(f"--track {name}: choose one of {', '.join(NAMES)}")
    if find_spec(name) is None:
        raise UserError(f"--track {name}: {name} is not installed: pip install {name}")


class Tracker(Callback):
    """Sends a run's losses, learning rate and metrics to a tool; is opened at the first stage.

    Names are STAGE/NAME, and steps are counted over all stages. A resumed run goes on in the
    tool's own run, whose id is in ids.json.
    """

    def __init__(self, name: str, run_folder: Path, config: Config) -> None:
        check(name)
        self.name, self.config, self.run_name = name, config, run_folder.resolve().name
        self.folder = run_folder.resolve() / FOLDER
        self._tracker: Any = None  # accelerate's
        self._step = 0
        self._put_back: Callable[[], None] = lambda: None

    def start(self, progress: Progress) -> None:
        if self._tracker is None:
            self._open()

    def step(self, progress: Progress) -> None:
        if progress.step % EVERY == 0:
            self._send(progress, {**progress.losses, "learning_rate": progress.learning_rate})

    def validation(self, progress: Progress) -> None:
        self._send(
            progress, {f"valid_{name}": value for name, value in progress.validation.items()}
        )

    def close(self, metrics: Mapping[str, Any] | None = None) -> None:
        """End the tool's run, after the values of metrics.json if there are any."""
        if self._tracker is None:
            return
        for role in ("teacher", "student"):
            values = (metrics or {}).get(role, {})
            self._log({f"test/{role}/{name}": value for name, value in values.items()}, self._step)
        self._tracker.finish()
        self._put_back()
        self._tracker = None

    def _send(self, progress: Progress, values: Mapping[str, float]) -> None:
        self._step = progress.earlier + progress.step
        named = {f"{progress.stage}/{name}": value for name, value in values.items()}
        self._log(named, self._step)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        if values:
            self._tracker.log({n.replace(":", "."): v for n, v in values.items()}, step=step)

    def _open(self) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        at = self.folder / "ids.json"
        ids = read_json(at) if at.is_file() else {"run": secrets.token_hex(4)}
        resumed = self.name in ids
        self.folder.mkdir(exist_ok=True)
        options = getattr(self, f"_{self.name}")(ids)
        self._tracker = LOGGER_TYPE_TO_CLASS[self.name](**options)
        error = getattr(import_module(self.name), ERRORS.get(self.name, ""), UserError)
        try:
            self._tracker.start()
        except error as why:  # no key, no server
            self._tracker = None
            raise UserError(f"--track {self.name}: {why}") from why
        ids[self.name] = ids["run"]
        if self.name == "mlflow":
            ids[self.name] = self._tracker.tracker.info.run_id
        if not resumed:
            self._tracker.store_init_configuration(self.config)
        write_json(at, ids)

    def _tensorboard(self, ids: Mapping[str, str]) -> dict[str, Any]:
        return {"run_name": self.name, "logging_dir": str(self.folder)}

    def _mlflow(self, ids: Mapping[str, str]) -> dict[str, Any]:
        mlflow = import_module("mlflow")

        if not mlflow.is_tracking_uri_set():  # by MLFLOW_TRACKING_URI, or in Python
            mlflow.set_tracking_uri(f"sqlite:///{self.folder / 'mlflow.db'}")
            self._put_back = _without_uri
        return {
            "experiment_name": PROJECT,
            "logging_dir": str(self.folder / "artifacts"),
            "run_id": ids.get("mlflow"),
            "run_name": self.run_name,
        }

    def _wandb(self, ids: Mapping[str, str]) -> dict[str, Any]:
        given = {"dir": str(self.folder), "name": self.run_name, "id": ids["run"]}
        return {"run_name": PROJECT, "resume": "allow", **given}

    def _trackio(self, ids: Mapping[str, str]) -> dict[str, Any]:
        name = f"{self.run_name}-{ids['run']}"
        return {"run_name": PROJECT, "name": name, "resume": "allow", "embed": False}


def _without_uri() -> None:
    """Leave MLflow as it was before it was told where a run is kept."""
    import mlflow

    mlflow.set_tracking_uri("")
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # mlflow sets it, for child processes
