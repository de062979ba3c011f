"""Trainings of one candidate: brief ones, and the full one that ends in an exported student."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from alembert.data.splits import Files, Splits
from alembert.evaluation import predictions
from alembert.evaluation.spans import listed
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.export import deployed, static
from alembert.io import checksums, progress
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep_checksums, keep_json, read_json
from alembert.recipes.schema import Recipe, Stage, replaced, with_run
from alembert.runs.folder import CHOSEN
from alembert.runs.folder.writing import copy_file
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.search import held_out
from alembert.search.latency import Reference, Sample, beside_teacher, spent
from alembert.search.space import Shape
from alembert.training.monitor import length_of

log = logging.getLogger(__name__)

ANSWERS = (predictions.FILE, listed.FILE)  # of a run's models to each evaluated text
HOME = "searched"  # folder in that of a search: its identity and a record of each training


@dataclass(frozen=True, kw_only=True)
class Task:
    """The teacher, texts and settings that all candidates share."""

    out: Path
    teacher: str
    config: PreTrainedConfig
    files: Files
    splits: Splits  # the files as the teacher's tokenizer reads them
    max_length: int
    seed: int
    precision: str
    sample: Sample  # texts that models are timed on
    metric: str | None = None  # None: the usual one of the task

    @property
    def home(self) -> Path:
        return self.out / HOME

    @cached_property
    def reference(self) -> Reference:
        """The teacher, to time beside students."""
        return Reference.of(self.teacher, self.splits.task.kind, self.sample)

    @property
    def rows(self) -> int:
        """The number of training texts."""
        return len(self.splits.train)

    @property
    def classes(self) -> int:
        """The number of labels."""
        return len(self.splits.task.labels)

    def job(self, recipe: Recipe, vocabulary: str, out: Path, files: Files) -> Job:
        return Job(
            recipe=with_run(
                recipe,
                seed=self.seed,
                precision=self.precision,
                vocabulary="task" if vocabulary == "task" else None,
            ),
            out=out,
            teacher=self.teacher,
            files=files,
            describes=False,  # the search has done so
        )

    def recipe(self, shape: Shape, epochs: float | None) -> Recipe:
        """Return a shape's recipe for these texts, of its usual length or of so many epochs."""
        recipe = shape.recipe_for(self.config)
        changes: dict[str, Any] = {"max_length": self.max_length}
        if epochs is not None:
            changes |= {"epochs": epochs, "steps": None, "until": None, "min_steps": 0}
        recipe = replaced(recipe, metric=self.metric)
        return _changed(recipe, [changes] * len(recipe.stages))


def _changed(recipe: Recipe, changes: list[dict[str, Any]]) -> Recipe:
    pairs = zip(recipe.stages, changes, strict=True)
    stages: tuple[Stage, ...] = tuple(replaced(stage, **new) for stage, new in pairs)
    return replaced(recipe, stages=stages)


def shortened(recipe: Recipe, steps: int, rows: int, classes: int) -> Recipe:
    """Return the recipe with `steps` steps, divided as its own are, and one validation a stage.

    It makes no variants of the texts, and has the first objective of each stage.
    """
    usual = [length_of(stage, rows, classes).cap for stage in recipe.stages]
    changes = [
        {"steps": max(round(steps * each / sum(usual)), 1), "epochs": None, "until": None,
         "min_steps": 0, "evaluations": 1, "alternatives": ()}
        for each in usual
    ]  # fmt: skip
    return replaced(_changed(recipe, changes), augment=None)


def usual_steps(task: Task, shape: Shape) -> int:
    """Return the most steps of a shape's full training."""
    stages = task.recipe(shape, None).stages
    return sum(length_of(stage, task.rows, task.classes).cap for stage in stages)


def train_steps(
    task: Task, shape: Shape, vocabulary: str, steps: int
) -> tuple[dict[str, Any], Rows]:
    """Train for so many steps, unless there is a record of it.

    Returns the record, with held_out and cost, and what the student says of the held-out texts.
    """
    name = f"{shape.name}-{vocabulary}-{steps}"
    record, out = task.home / "trials" / f"{name}.json", task.home / "trials" / name
    answers = record.with_suffix(".safetensors")
    rows = held_out.kept(answers, task.splits) if is_whole(record) else None
    if rows is None:
        recipe = shortened(task.recipe(shape, None), steps, task.rows, task.classes)
        with spent() as cost, _quiet(), progress.doing(f"training {shape.name} briefly"):
            job = task.job(recipe, vocabulary, out, replace(task.files, evaluation=None))
            run(job)
            logits, read = held_out.logits_of(str(job.result), task.splits, task.max_length)
        rows = Rows.of(task.splits.task, logits, read)
        result = {"name": shape.name, "vocabulary": vocabulary, "steps": steps,
                  "held_out": _held_out(out), **cost}  # fmt: skip
        held_out.keep(answers, rows)
        keep_json(record, result)
        log.info(
            f"{shape.name}, vocabulary {vocabulary}, {steps:,} steps: {result['held_out']:.4f}"
        )
    shutil.rmtree(out, ignore_errors=True)  # of an interrupted search, too
    return dict(read_json(record)), rows


def train_fully(task: Task, shape: Shape, vocabulary: str, epochs: float | None) -> dict[str, Any]:
    """Train to the end, export, evaluate and time, unless recorded; return the record."""
    name = f"{shape.name}-{vocabulary}" + (f"-{epochs:g}-epochs" if epochs is not None else "")
    record, out = task.home / "full" / f"{name}.json", task.home / "full" / name
    if not is_whole(record):
        job = replace(
            task.job(task.recipe(shape, epochs), vocabulary, out, task.files),
            export=True, baselines=task.files.evaluation is not None,
        )  # fmt: skip
        with spent() as cost:
            metrics = run(job)
        with spent() as exporting:
            exported = _exported(job.result)
        result = {
            "name": shape.name, "vocabulary": vocabulary, "held_out": _held_out(out),
            "run": str(out.relative_to(task.out)), "metrics": metrics, **exported, **cost,
            "export": exporting,
        }  # fmt: skip
        keep_json(record, result)
    result = dict(read_json(record))
    if result.get("timed_on") != task.sample.digest or "teacher_ms" not in result:
        ms, teacher_ms = beside_teacher(
            out / "student", result["backend"], task.reference, task.sample
        )
        result |= {"latency_ms": ms, "teacher_ms": teacher_ms, "timed_on": task.sample.digest}
        keep_json(record, result)
    for each in (out / "vocabulary", *out.glob("stages/*/checkpoint"), *out.glob("stages/*/model")):
        shutil.rmtree(each, ignore_errors=True)
    return result


def _exported(student: Path) -> dict[str, Any]:
    """Return the backend that a student is deployed in, and its sizes."""
    if (exported := deployed.found(student)) is None:
        raise UserError(
            f"{student}: it cannot be exported, which a search measures: the line above says why"
        )
    facts = exported.manifest
    chosen = facts.variant(None, student)
    if chosen.backend not in ("int8", static.BACKEND):
        log.info(
            f"{student}: int8 keeps too little of its metric, or is slower: it is deployed as "
            f"{chosen.backend}"
        )
    return {"backend": chosen.backend, "parameters": facts.parameters, "size_mb": chosen.size_mb}


def is_whole(record: Path) -> bool:
    """Whether a record of the search is there and whole; a damaged one is named and removed."""
    if checksums.damaged(record.parent, []):
        log.warning(f"{record.parent / checksums.FILE}: is damaged: it is removed")
        (record.parent / checksums.FILE).unlink()
    if checksums.damaged(record.parent, [record.name]):
        log.warning(f"{record}: is damaged: this part of the search is done again")
        record.unlink()
    return record.is_file()


def publish(run_folder: Path, out: Path) -> None:
    """Copy the winner's run to `out`, which then looks like a run of distill.

    Raises UserError for a damaged file of that run.
    """
    for folder in (run_folder, run_folder / "student"):
        checksums.check_folder(folder)
    (out / checksums.FILE).unlink(missing_ok=True)
    for name in ("report.html", CHOSEN, "bench.json", *ANSWERS, "metrics.json"):
        (out / name).unlink(missing_ok=True)  # of an earlier winner
    for name in ("student", "stages"):
        with atomic(out / name) as partial:
            shutil.copytree(run_folder / name, partial)
    names = ("recipe.yaml", CHOSEN, "environment.json", "bench.json", *ANSWERS, "metrics.json")
    for name in names:
        if (run_folder / name).is_file():
            copy_file(run_folder / name, out / name)
    known = checksums.recorded(run_folder)
    keep_checksums(out, {name: known[name] for name in names if name in known})


def _held_out(out: Path) -> float:
    """Return the best value of the last stage on the held-out texts."""
    return float(read_json(sorted(out.glob("stages/*"))[-1] / "facts.json")["best"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back the news of a brief training, but for its progress; one line tells its end."""
    news = logging.getLogger("alembert")
    level = news.level
    progress.log.setLevel(news.getEffectiveLevel())
    news.setLevel(logging.WARNING)
    try:
        yield
    finally:
        news.setLevel(level)
        progress.log.setLevel(logging.NOTSET)
