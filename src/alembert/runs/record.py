"""What a run folder says of itself, read without loading a model."""

import json
import math
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from alembert.inference import manifest as deployed
from alembert.io.errors import UserError

# what a page cannot do without, of a file that is there
ENVIRONMENT = {"arguments": dict}
METRICS = {"metric": str, "student": dict}
ROW = {
    "model": str, "backend": str, "threads": int, "batch": int, "cpu_ms": dict, "latency_ms": dict
}  # fmt: skip
COURSE = ("stage", "data", "weighted terms", "training")


@dataclass(frozen=True)
class Stage:
    """What was logged: `rows` of losses, `valid` (step, value) of the metric on held-out texts."""

    name: str
    rows: list[dict[str, float]]
    facts: dict[str, Any]

    @property
    def terms(self) -> list[str]:
        """The names of the loss's terms; the whole loss first where there is more than one."""
        apart = {"step", "loss", "gradient_norm", "learning_rate", "tokens_per_second"}
        names = dict.fromkeys(name for row in self.rows for name in row)
        found = [name for name in names if name not in apart and not name.startswith("valid_")]
        return ["loss", *found] if len(found) > 1 else found

    def series(self, name: str) -> list[tuple[float, float]]:
        """(step, value) wherever it was logged."""
        return [(row["step"], row[name]) for row in self.rows if name in row]


@dataclass(frozen=True)
class Size:
    """Of a saved model: shape in words ("6 layers of 384"), parameters, megabytes of weights."""

    kind: str
    shape: str
    parameters: int
    size_mb: float


class RunRecord:
    """A run folder. Raises UserError for a folder that is none, or a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder: name what distill made with --out")
        if not (path / "recipe.yaml").is_file():
            inside = sorted(str(place.parent) for place in path.glob("*/recipe.yaml"))
            hint = f": it holds runs: name {' '.join(inside)}" if inside else ""
            hint = hint or ": name what distill or finetune made with --out"
            raise UserError(f"{path}: not a run folder, it has no recipe.yaml{hint}")
        self.path = path
        self.recipe: dict[str, Any] = _yaml(path / "recipe.yaml")
        self.environment: dict[str, Any] = fields_of(path / "environment.json", ENVIRONMENT)
        self.metrics: dict[str, Any] = fields_of(path / "metrics.json", METRICS)
        timed = path / "bench.json"
        self.bench: list[dict[str, Any]] = fields_of(timed, {"rows": list}).get("rows", [])
        for row in self.bench:
            _check(timed, row, ROW)
        self.arguments: dict[str, Any] = self.environment.get("arguments", {})
        self.files: dict[str, Any] = self.arguments.get("files") or {}
        self.finished = (path / "metrics.json").is_file() and self.student is not None
        self.name = path.resolve().name

    @cached_property
    def student(self) -> Path | None:
        """The folder of the result: a fine-tuned model's is the run's own; None before."""
        places = (self.path / "student", self.path)
        return next((place for place in places if (place / "config.json").is_file()), None)

    @cached_property
    def teacher(self) -> str | None:
        """The teacher as it is found from here: of a run on a corpus alone the general one."""
        path = self.arguments.get("teacher")
        if not self.files:
            path = self.arguments.get("general_teacher") or path
        return None if path is None else self.found(path)

    def found(self, path: str) -> str:
        """A path as it was given, seen from here or from a folder above the run; else as it is."""
        homes = (Path(), *self.path.resolve().parents)
        return next((str(home / path) for home in homes if (home / path).exists()), path)

    @property
    def stages(self) -> list[Stage]:
        """The stages that have logged something, in order."""
        found = []
        for place in sorted((self.path / "stages").glob("*")):
            if (place / "log.jsonl").is_file():
                name, rows = place.name.partition("-")[2], _logged(place / "log.jsonl")
                found.append(Stage(name, rows, _json(place / "facts.json") or {}))
        return found

    @property
    def command(self) -> str:
        """What was typed, without the folders of the command itself."""
        words = self.environment.get("command", [])
        if not words:
            return ""
        name = Path(words[0]).name
        return shlex.join(["alembert" if name == "cli.py" else name, *words[1:]])

    @property
    def course(self) -> list[tuple[str, ...]]:
        """A row for each stage that ran (before any did: that may run); COURSE names its cells."""
        ran = [stage.name for stage in self.stages]
        rows: list[tuple[str, ...]] = []
        for stage in self.recipe.get("stages", ()):
            if ran and stage["name"] not in ran:
                continue
            terms = ", ".join(f"{term['weight']:g} {term['kind']}" for term in stage["objective"])
            steps = stage.get("steps")
            epochs = stage.get("epochs") or 0
            length = f"{steps:,} steps" if steps else f"{epochs:g} epoch{'s' * (epochs != 1)}"
            told = (
                f"{length}, {stage['batch_size']} a step, learning rate {stage['learning_rate']:g}"
            )
            rows.append((stage["name"], stage["data"], terms, told))
        return rows

    @property
    def max_length(self) -> int:
        """Tokens of a text at most: of the task, or, without one, of the corpus."""
        data, stages = "task" if self.files else "corpus", self.recipe.get("stages", ())
        return max((s["max_length"] for s in stages if s["data"] == data), default=128)

    @property
    def deployed(self) -> deployed.Manifest | None:
        """What the student was exported to."""
        if self.student is None or not (self.student / deployed.FILE).is_file():
            return None
        return deployed.read_manifest(self.student)

    @property
    def writable(self) -> bool:
        return os.access(self.path, os.W_OK)


def size_of(model: str | Path) -> Size | None:
    """What a folder's config and weights say; None for a hub id or a folder that is gone."""
    folder = Path(model)
    if (folder / "student" / "config.json").is_file() and not (folder / "config.json").is_file():
        folder = folder / "student"
    config = _json(folder / "config.json")
    if config is None:
        return None
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    width = config.get("hidden_size", config.get("dim"))
    files = list(folder.glob("*.safetensors"))
    parameters = 0
    for file in files:
        try:
            with safe_open(file, "pt") as weights:
                shapes = [weights.get_slice(name).get_shape() for name in weights.offset_keys()]
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: cannot be read ({error})") from error
        parameters += sum(math.prod(shape) for shape in shapes)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return Size(config.get("model_type", ""), f"{layers} layers of {width}", parameters, megabytes)


def _logged(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log: one that a killed run or a full disk broke is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def fields_of(path: Path, needed: Mapping[str, type]) -> dict[str, Any]:
    """A JSON file's fields, none where there is no file or nothing in it."""
    found = _json(path) or {}
    if found:
        _check(path, found, needed)
    return dict(found)


def _check(path: Path, found: Any, needed: Mapping[str, type]) -> None:
    for name, kind in needed.items():
        if not isinstance(found, dict) or not isinstance(found.get(name), kind):
            raise UserError(f"{path}: cannot be read (no {name!r} in it): mend or delete it")


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): mend or delete it") from error


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no recipe")
    return found
