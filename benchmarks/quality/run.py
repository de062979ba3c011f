"""Runs an experiment: a command of alembert for each arm, task and seed, and what came of it.

    python -m benchmarks.quality.run distilbert DATA OUT --tasks sst2 mrpc --seeds 0 1 2
    python -m benchmarks.quality.run tinybert DATA OUT --corpus wiki.txt --arms '4x192-no-*'
    python -m benchmarks.quality.run length DATA OUT --arms teacher

DATA is what benchmarks.lab.data wrote. OUT gets the run folders, TASK/ARM-SEED and corpus/ARM, and
results.json, a row for each run. What is there is not made again; models that an arm needs are
made first, or given: --models words=DIR. The arms are those of benchmarks/quality/experiments.py.
"""

import csv
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from alembert.api import builtin_teacher
from benchmarks.lab import base_size, results
from benchmarks.lab.data import split_files
from benchmarks.lab.results import Row
from benchmarks.lab.workers import Used, measured
from benchmarks.quality.experiments import CORPUS, EXPERIMENTS, Arm, Experiment

KEY = ("task", "recipe", "seed")
PAIRS = ("mrpc", "stsb")


def alembert(command: Sequence[str], log: Path) -> Used:
    """One command of alembert as a process of one thread."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return measured(["-m", "alembert", *command], log, OMP_NUM_THREADS=threads)


@dataclass(frozen=True)
class Place:
    """Where an experiment's models and files lie, and what is asked of it beside its table."""

    experiment: Experiment
    data: Path
    out: Path
    corpus: str | None = None
    pretrained: str | None = None
    teachers: Path | None = None  # a folder of TASK/teacher-SEED; None: out
    models: Mapping[str, str] = field(default_factory=dict)  # made before, by the names of arms
    settings: Mapping[str, str] = field(default_factory=dict)  # of every arm
    do: Callable[[Sequence[str], Path], Used] = alembert

    @property
    def results(self) -> Path:
        return self.out / "results.json"

    def model(self, name: str, task: str, seed: int) -> str:
        """The folder of a model that an arm needs; it is made where it is not there."""
        if name in self.models:
            return self.models[name]
        if name == "pretrained":
            if self.pretrained is None and self.experiment.base:
                return str(base_size.made(self.out))
            return self.pretrained or builtin_teacher()
        arm, root, on = CORPUS.get(name), self.out, "corpus"
        if name == "teacher":
            arm, root, on = self.experiment.teacher, self.teachers or self.out, task
            seed = seed if self.experiment.teacher_seed is None else self.experiment.teacher_seed
        assert arm is not None, f"no arm is named {name}"
        home = folder(root, arm, on, seed)
        place = home if arm.recipe == "finetune" else home / "student"
        if not (place / "config.json").is_file():
            made(arm, on, seed, self)
        return str(place)

    def files(self, arm: Arm, task: str) -> list[str]:
        """The options that name the texts."""
        if arm.data == "corpus":
            if self.corpus is None:
                raise SystemExit(f"{arm.name} is made on a corpus: name a file with --corpus")
            return ["--corpus", self.corpus]
        train, valid, test = split_files(self.data, task)
        options = ["--eval", test, *(["--valid", valid] if self.experiment.valid else [])]
        if arm.share == 1:
            return ["--train", train, *options]
        labelled, rest = split(Path(train), self.out / task / "parts", arm.share)
        # who learns from labels alone has nothing to learn of the others
        options += ["--unlabelled", rest] if arm.teacher == "teacher" else []
        return ["--train", labelled, *options]


def folder(root: Path, arm: Arm, task: str, seed: int) -> Path:
    return root / task / (arm.name if arm.data == "corpus" else f"{arm.name}-{seed}")


def command(arm: Arm, task: str, seed: int, place: Place) -> list[str]:
    """The words of alembert that make an arm."""
    if arm.recipe == "finetune":
        assert arm.start is not None
        words = ["finetune", place.model(arm.start, task, seed)]
    else:
        assert arm.teacher is not None
        pairs = arm.of_pairs if task in PAIRS else ""
        words = ["distill", pairs or arm.recipe, "--teacher", place.model(arm.teacher, task, seed)]
        words += ["--with-undistilled"] if arm.undistilled else []
        for option, name in (("--student", arm.start), ("--mlm", arm.mlm)):
            words += [option, place.model(name, task, seed)] if name is not None else []
        sizes = {"layers": arm.layers, "hidden-size": arm.hidden_size, "vocabulary": arm.vocabulary}
        for option, size in sizes.items():
            words += [f"--{option}", str(size)] if size is not None else []
    words += [*place.files(arm, task), *(["--windows"] if arm.windows else [])]
    for name, value in {**arm.settings, **arm.by_task.get(task, {}), **place.settings}.items():
        words += ["--set", f"{name}={value}"]
    return [*words, "--seed", str(seed)]


def made(arm: Arm, task: str, seed: int, place: Place) -> Row:
    """Make an arm and write its row beside the others."""
    words, out = command(arm, task, seed, place), folder(place.out, arm, task, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    used = place.do([*words, "--out", str(out)], out.with_name(f"{out.name}.log"))
    row = {"task": task, "recipe": arm.name, "seed": seed, **outcome(out), "cpu_s": used.cpu_s}
    results.add(place.results, [row], KEY)
    print(json.dumps(row), flush=True)
    return row


def outcome(out: Path) -> Row:
    """What a run made: its metric, those that stand beside it, steps of each stage, and times."""
    metrics = json.loads((out / "metrics.json").read_text())
    stages = [json.loads(path.read_text()) for path in sorted(out.glob("stages/*/facts.json"))]
    name, free = metrics.get("metric"), metrics.get("baselines", {})
    beside = {role: metrics[role][name] for role in ("deployed", "undistilled") if role in metrics}
    roles = ("student", "teacher", "deployed", "undistilled")
    of_role = {role: metrics.get(role, {}).get("exact_match") for role in roles}
    if any(value is not None for value in of_role.values()):  # of questions
        beside["exact_match"] = of_role
    times = out / "bench.json"
    if times.is_file():
        rows = json.loads(times.read_text())["rows"]
        beside["cpu_ms"] = {
            f"{row['model']}:{row['backend']}": row["cpu_ms"]["median"] for row in rows
        }
    return {
        **beside,
        "metric": name,
        "value": metrics.get("student", {}).get(name),
        "teacher": metrics.get("teacher", {}).get(name),
        "baselines": {model: figures[name] for model, figures in free.items()},
        "steps": [stage["step"] for stage in stages],
        "best_steps": [stage["best_step"] for stage in stages],
    }


def split(train: Path, out: Path, share: float) -> tuple[str, str]:
    """A seeded share of the labelled rows, and the texts of the rest."""
    out.mkdir(parents=True, exist_ok=True)
    with train.open(newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(0).shuffle(rows)
    cut = round(share * len(rows))
    names = [name for name in rows[0] if name != "label"]
    labelled, texts = out / f"{share:.0%}.csv", out / f"{share:.0%}-rest.csv"
    for path, part, columns in ((labelled, rows[:cut], list(rows[0])), (texts, rows[cut:], names)):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(part)
    return str(labelled), str(texts)


def run(place: Place, arms: Sequence[Arm], tasks: Sequence[str], seeds: Sequence[int]) -> None:
    """All that has no row yet."""
    for seed in seeds:
        for task in tasks:
            for arm in arms:
                key = {"task": task, "recipe": arm.name, "seed": seed}
                if not any(key.items() <= row.items() for row in results.load(place.results)):
                    made(arm, task, seed, place)


def pairs(words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, ... as a dictionary."""
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def main() -> None:
    parser = results.arguments(__doc__)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", default=["*"], help="names, or patterns of them")
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--corpus", help="text of the arms that learn from a corpus")
    parser.add_argument(
        "--pretrained", help="default: the model that the quickstart brings, or of base size"
    )
    parser.add_argument("--teachers", type=Path, help="holds TASK/teacher-SEED; default: OUT")
    parser.add_argument("--teacher-seed", type=int, help="one teacher for all seeds, of this one")
    parser.add_argument("--models", nargs="+", default=[], metavar="ARM=FOLDER")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    given = parser.parse_args()
    experiment = EXPERIMENTS[given.experiment]
    arms = [
        arm for arm in experiment.arms if any(fnmatchcase(arm.name, each) for each in given.arms)
    ]
    if given.teacher_seed is not None:
        experiment = replace(experiment, teacher_seed=given.teacher_seed)
    place = Place(
        experiment, given.data, given.out, given.corpus, given.pretrained, given.teachers,
        pairs(given.models), pairs(given.set),
    )  # fmt: skip
    run(place, arms, given.tasks or experiment.tasks, given.seeds or experiment.seeds)


if __name__ == "__main__":
    main()
