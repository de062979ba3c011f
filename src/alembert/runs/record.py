"""A run folder's recipe, metrics, log and other files, read without loading a model."""

import math
import shlex
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from alembert.bench.rows import weights_mb
from alembert.inference import manifest as deployed
from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import model_folder, read_json
from alembert.io.parsing import COUNT, FLAG, NUMBER, POSITIVE, TEXT, json_of, misfit, yaml_of
from alembert.runs.folder import CHOSEN

# the shapes of the files, as far as they are read here and in the report
ENVIRONMENT = {
    "arguments": {
        "teacher?": TEXT, "general_teacher?": TEXT, "student?": TEXT, "corpus?": TEXT,
        "more_teachers?": [TEXT], "callbacks?": [TEXT], "files?": {}, "seed?": COUNT,
    },
    "command?": [TEXT], "versions?": {str: TEXT}, "hardware?": {"cpu?": TEXT},
}  # fmt: skip
FILES = {
    "train?": TEXT, "valid?": TEXT, "evaluation?": TEXT, "unlabelled?": TEXT, "task?": TEXT,
    "text?": TEXT, "text_pair?": TEXT, "label?": TEXT, "kind?": TEXT, "skip_bad_rows?": COUNT,
    "fix_offsets?": FLAG, "windows?": FLAG,
}  # fmt: skip
_PAIRS = {
    "retention?": (NUMBER, NUMBER), "difference?": (NUMBER, NUMBER),
    "gain_kept?": {"value": NUMBER, "low": NUMBER, "high": NUMBER},
}  # fmt: skip
METRICS = {
    "metric": TEXT, "student": {str: NUMBER}, "teacher?": {str: NUMBER}, "task?": TEXT,
    "parameters?": {str: COUNT}, "retention?": NUMBER, "ensemble?": {str: NUMBER}, "n?": COUNT,
    "headline?": TEXT, "teacher_int8?": {str: NUMBER}, "deployed?": {"backend": TEXT},
    "verdict?": TEXT, "slices?": {str: {str: {"n": COUNT, "small": FLAG}}},
    "intervals?": _PAIRS | {
        "student?": (NUMBER, NUMBER), "of_deployed?": _PAIRS,
        "balanced?": {"metric": TEXT, "of_deployed?": _PAIRS} | _PAIRS,
    },
}  # fmt: skip
BENCH = {
    "rows": [{
        "model": TEXT, "backend": TEXT, "threads": COUNT, "batch": POSITIVE, "size_mb?": NUMBER,
        "length?": NUMBER,
        "cpu_ms": {"median": NUMBER}, "latency_ms": {"median": NUMBER},
        "ratios?": [{"to": TEXT, "value": NUMBER, "same": FLAG}],
    }]
}  # fmt: skip
RECIPE = {
    "name?": TEXT, "paper?": TEXT, "deviations?": [TEXT], "run?": {"seed?": COUNT},
    "stages?": [{
        "name": TEXT, "data": TEXT, "objective": [{"weight": NUMBER, "kind": TEXT}],
        "steps?": COUNT, "epochs?": NUMBER, "batch_size": COUNT, "learning_rate": NUMBER,
        "max_length": COUNT,
    }],
}  # fmt: skip
FACTS = {
    "step": COUNT, "seconds": NUMBER, "best?": NUMBER, "best_step?": COUNT, "texts?": COUNT,
    "held_out?": COUNT,
}  # fmt: skip
CONFIG: dict[str, Any] = {"model_type?": TEXT}
OPEN = "until validation has stopped"  # in a deviation from a paper's length
STAGE_COLUMNS = ("stage", "data", "weighted terms", "training")


@dataclass(frozen=True)
class Stage:
    """A stage's log: rows of step, losses and valid_METRIC; `facts` is empty before its end."""

    name: str
    rows: list[dict[str, float]]
    facts: dict[str, Any]

    @property
    def terms(self) -> list[str]:
        """The names of the loss's terms, after "loss" itself where there is more than one."""
        no_terms = {"step", "loss", "gradient_norm", "learning_rate", "tokens_per_second"}
        names = dict.fromkeys(name for row in self.rows for name in row)
        terms = [name for name in names if name not in no_terms and not name.startswith("valid_")]
        return ["loss", *terms] if len(terms) > 1 else terms

    def series(self, name: str) -> list[tuple[float, float]]:
        """Return (step, value) of each row that has the name."""
        return [(row["step"], row[name]) for row in self.rows if name in row]


@dataclass(frozen=True)
class Size:
    """A saved model's shape in words ("6 layers of 384"), parameters, and megabytes of weights."""

    kind: str
    shape: str
    parameters: int
    size_mb: float


class RunRecord:
    """A run folder; UserError where it is none, or a file of it cannot be read."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder: name what distill made with --out")
        if not (path / "recipe.yaml").is_file():
            inside = sorted(str(recipe.parent) for recipe in path.glob("*/recipe.yaml"))
            hint = f": it holds runs: name {' '.join(inside)}" if inside else ""
            hint = hint or ": name what distill or finetune made with --out"
            raise UserError(f"{path}: not a run folder, it has no recipe.yaml{hint}")
        self.path = path
        as_chosen = path / CHOSEN
        self.recipe = _yaml(as_chosen if as_chosen.is_file() else path / "recipe.yaml")
        self.environment: dict[str, Any] = fields_of(path / "environment.json", ENVIRONMENT)
        self.metrics: dict[str, Any] = fields_of(path / "metrics.json", METRICS)
        _check_metrics(path / "metrics.json", self.metrics)
        bench = path / "bench.json"
        timed = fields_of(bench, BENCH)
        self.bench: list[dict[str, Any]] = timed.get("rows", [])
        hardware = timed.get("hardware")
        self.processor = str(hardware.get("cpu", "")) if isinstance(hardware, dict) else ""
        self.arguments: dict[str, Any] = _given(self.environment.get("arguments", {}))
        self.files: dict[str, Any] = self.arguments.get("files") or {}
        if self.files:
            _check(path / "environment.json", self.files, FILES)
            self.files = {name.rstrip("?"): None for name in FILES} | self.files
        apart = self.recipe.get("run") or self.arguments  # of a folder of an earlier version
        self.seed = int(apart.get("seed") or 0)
        self.finished = (path / "metrics.json").is_file() and self.student is not None
        self.name = path.resolve().name
        if self.student is not None:
            checksums.check_folder(self.student)

    @cached_property
    def student(self) -> Path | None:
        """The folder of the result, of fine-tuning the run folder itself; None before the end."""
        folders = (self.path / "student", self.path)
        return next((folder for folder in folders if (folder / "config.json").is_file()), None)

    @cached_property
    def teacher(self) -> str | None:
        """The resolved path of the teacher; on a corpus alone, of the general teacher."""
        path = self.arguments.get("teacher")
        if not self.files:
            path = self.arguments.get("general_teacher") or path
        return None if path is None else self.resolved(path)

    def resolved(self, path: str) -> str:
        """Return the path relative to the working folder, or to one above the run, if it exists."""
        bases = (Path(), *self.path.resolve().parents)
        return next((str(base / path) for base in bases if (base / path).exists()), path)

    @property
    def stages(self) -> list[Stage]:
        """The stages that have a log, in order."""
        stages = []
        for folder in sorted((self.path / "stages").glob("*")):
            if (folder / "log.jsonl").is_file():
                name, rows = folder.name.partition("-")[2], _logged(folder / "log.jsonl")
                stages.append(Stage(name, rows, fields_of(folder / "facts.json", FACTS)))
        return stages

    @property
    def command(self) -> str:
        """The command line of the run, with the program's name instead of its path."""
        words = self.environment.get("command", [])
        if not words:
            return ""
        name = Path(words[0]).name
        return shlex.join(["alembert" if name == "cli.py" else name, *words[1:]])

    @property
    def stage_rows(self) -> list[tuple[str, ...]]:
        """A row of STAGE_COLUMNS for each stage that ran, or for all before the first has run."""
        ran = {stage.name: stage.facts.get("step") for stage in self.stages}
        rows: list[tuple[str, ...]] = []
        for stage in self.recipe.get("stages", ()):
            if ran and stage["name"] not in ran:
                continue
            terms = ", ".join(f"{term['weight']:g} {term['kind']}" for term in stage["objective"])
            steps, epochs = stage.get("steps") or ran.get(stage["name"]), stage.get("epochs")
            length = f"{steps:,} steps" if steps else "open length"
            if epochs:
                length = f"{epochs:g} epoch{'s' * (epochs != 1)}"
            training = (
                f"{length}, {stage['batch_size']} a step, learning rate {stage['learning_rate']:g}"
            )
            rows.append((stage["name"], stage["data"], terms, training))
        return rows

    @property
    def deviations(self) -> list[str]:
        """The recipe's differences from its paper, without an open length that was set."""
        stages = self.recipe.get("stages", ())
        is_open = any("until" in stage for stage in stages if stage["data"] == "task")
        told = self.recipe.get("deviations", [])
        return [line for line in told if is_open or OPEN not in line]

    @property
    def max_length(self) -> int:
        """The most tokens of a text of the task, or, without one, of the corpus."""
        data, stages = "task" if self.files else "corpus", self.recipe.get("stages", ())
        return max((s["max_length"] for s in stages if s["data"] == data), default=128)

    @property
    def deployed(self) -> deployed.Manifest | None:
        """The manifest of the student's export, or None."""
        if self.student is None or not (self.student / deployed.FILE).is_file():
            return None
        return deployed.read_manifest(self.student)


def size_of(model: str | Path) -> Size | None:
    """Return a saved model's size by its config and weights; None for a hub id or no folder."""
    folder = model_folder(model)
    if not (folder / "config.json").is_file():
        return None
    config = fields_of(folder / "config.json", CONFIG)
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    width = config.get("hidden_size", config.get("dim"))
    parameters = 0
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as weights:
                shapes = [weights.get_slice(name).get_shape() for name in weights.offset_keys()]
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: cannot be read ({error})") from error
        parameters += sum(math.prod(shape) for shape in shapes)
    shape = f"{layers} layers of {width}"
    return Size(config.get("model_type", ""), shape, parameters, weights_mb(folder))


def _logged(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log, without a line that a killed run or a full disk cut off."""
    checksums.check(path, "delete it, and the stage is left out")
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            rows.append(json_of(line))
    kept = [row for row in rows if isinstance(row, dict) and "step" in row]
    for row in kept:
        _check(path, row, {str: NUMBER})
    return kept


def fields_of(path: Path, shape: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON file's fields, none where there is no file; UserError for another shape."""
    fields = _json(path)
    if fields is None or fields == {}:
        return {}
    _check(path, fields, shape)
    return _given(fields)


def _check_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Raise UserError where a model lacks a metric of the run, or the teacher's is 0 and kept."""
    if not metrics:
        return
    deployed = metrics.get("deployed", {})
    _check(path, {k: v for k, v in deployed.items() if k != "backend"}, {str: NUMBER})
    intervals = metrics.get("intervals", {})
    of_metrics = {metrics["metric"]: intervals}
    if balanced := intervals.get("balanced"):
        of_metrics[balanced["metric"]] = balanced
    for name, found in of_metrics.items():
        lacking = [role for role in ("student", "teacher") if name not in metrics.get(role, [name])]
        nothing = found.get("retention") and not metrics.get("teacher", {}).get(name)
        if lacking or nothing:
            reason = f"no {name!r} of the {lacking[0]}" if lacking else "a share of nothing is kept"
            raise UserError(f"{path}: cannot be read ({reason}): fix or delete it")


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those that are null, which are the same as missing ones."""
    return {name: value for name, value in fields.items() if value is not None}


def _check(path: Path, fields: Any, shape: Any) -> None:
    """Raise UserError for the content of a file that has another shape."""
    if reason := misfit(fields, shape):
        raise UserError(f"{path}: cannot be read ({reason}): fix or delete it")


def _json(path: Path) -> Any:
    return read_json(path, "fix or delete it") if path.is_file() else None


def _yaml(path: Path) -> dict[str, Any]:
    checksums.check(path, "put the file back, or make the run again in a new folder")
    try:
        fields = yaml_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path}: holds no recipe")
    _check(path, fields, RECIPE)
    return _given(fields)
