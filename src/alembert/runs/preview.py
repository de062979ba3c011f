"""A run before it is started: its rows in figures, its length, and what a few steps cost here."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from alembert.data.collate import pad, plan
from alembert.data.labels import label_ids, label_names
from alembert.data.splits import Files
from alembert.data.summary import show
from alembert.data.summary.summary import Summary, summarize
from alembert.evaluation import predict
from alembert.io.answers import QUESTIONS
from alembert.io.environment import peak_mb
from alembert.io.files import caching_in
from alembert.objectives.label_terms import HardLabels
from alembert.recipes.schema import Recipe, Stage, replaced
from alembert.runs.job import Job
from alembert.runs.run import accelerator_of, texts_of
from alembert.runs.stages import validation
from alembert.runs.stages.linear_teacher import rows_read, rows_read_of
from alembert.runs.stages.prepare import prepare_stage
from alembert.runs.texts import class_weights
from alembert.runs.texts.encoded_task import EncodedTask
from alembert.runs.texts.ensemble import RunTexts
from alembert.training.callbacks import Callback, Callbacks, Progress
from alembert.training.logit_cache import WithTeacherLogits, are_read_often, with_traces
from alembert.training.loop import train
from alembert.training.monitor import Length, length_of
from alembert.training.sparse_embedding import restrict, token_ids_in

SHARES = (1 / 6, 1 / 2, 5 / 6)  # of an epoch's batches by size: those whose steps are timed


@dataclass(frozen=True, kw_only=True)
class StageEstimate:
    """A stage's steps from the fewest to the most, and the measured seconds of one."""

    name: str
    floor: int
    cap: int
    batch_size: int
    step_seconds: float
    teacher_seconds: float  # of the teacher's logits of all rows, which are computed once


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The time of a run from its fewest to its most steps, and its peak memory, on one device."""

    recipe: str
    device: str
    stages: tuple[StageEstimate, ...]
    least_seconds: float
    most_seconds: float
    memory_mb: float

    def __str__(self) -> str:
        stages = ", ".join(
            f"a step of stage '{stage.name}' {_time(stage.step_seconds)}" for stage in self.stages
        )
        teacher = sum(stage.teacher_seconds for stage in self.stages)
        stages += f", the teacher's logits {_time(teacher)}" if teacher else ""
        least, most = _time(self.least_seconds), _time(self.most_seconds)
        return (
            f"estimate of {self.recipe} on {self.device}, from a few steps: {stages}; the run "
            f"{least} to {most}, peak memory {self.memory_mb / 1000:.2g} GB"
        )


@dataclass(frozen=True)
class Preview:
    """What a training would read and do. `estimate` is None where no teacher is given.

    `refusal` is the line with which a training would end: of rows that cannot be read.
    """

    summary: Summary
    lengths: str  # a phrase on the steps of the stages
    estimate: Estimate | None
    refusal: str | None

    def __str__(self) -> str:
        task, rows = show.first_lines(self.summary)
        first = (task, f"{rows}; {self.lengths}")
        measured = str(self.estimate or "no estimate of time and memory: it needs --teacher")
        return "\n".join((*first, *show.lines(self.summary), measured))

    def json(self) -> str:
        """All figures as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def preview(files: Files, recipe: Recipe) -> Preview:
    """Return the figures of the files, and the length of a recipe's stages on them.

    Raises UserError as a training does.
    """
    most = _list_all(files)
    stages = [stage for stage in recipe.stages if stage.data == "task"]
    max_length = max((stage.max_length for stage in stages), default=128)
    summary = summarize(files, None, max_length, None, recipe.run.seed, recipe.metric)
    _check_labels(files, summary)
    if summary.task.kind == QUESTIONS:  # frozen vectors answer none
        stages = [stage for stage in stages if stage.teacher != "linear"]
    apart = not any(stage.imitates for stage in stages)  # no teacher labels other texts
    train = summary.labelled + (0 if apart else summary.unlabelled)
    others, task = (summary.unlabelled if apart else 0), summary.task
    lengths = validation.describe_stages(
        stages, lambda stage: rows_read(stage, task, train, others), len(task.labels)
    )
    return Preview(summary, lengths, None, _refusal(files, most))


def preview_job(job: Job) -> Preview:
    """Return the figures of a job's files, and what its stages cost here.

    A few steps of each stage are trained in a temporary folder. Raises UserError as a run does.
    """
    assert job.files is not None
    most = _list_all(job.files)
    job.check_stages()
    with TemporaryDirectory() as place, caching_in(Path(place)):
        work, texts = texts_of(replace(job, out=Path(place)), True)
        splits = texts.student.splits
        assert splits is not None
        lengths = validation.describe_stages(
            work.stages, partial(rows_read_of, splits), len(splits.task.labels)
        )
        known = texts.teachers[job.task_teacher].labels if job.task_teacher else None
        summary = summarize(
            job.files, texts.student.tokenizer, job.max_length, known, job.seed, job.recipe.metric
        )
        estimate = _estimate(work, texts, Path(place))
    return Preview(summary, lengths, estimate, _refusal(job.files, most))


def _list_all(files: Files) -> int:
    """Have all bad rows listed and none refused; return how many the user has allowed."""
    files.skips.all_listed = True
    return files.skips.most


def _refusal(files: Files, most: int) -> str | None:
    rows = files.skips.rows
    if len(rows) <= most:
        return None
    return (
        f"{rows[0].file}, {rows[0].row}: {rows[0].why} ({len(rows):,} such rows: "
        f"--skip-bad-rows {len(rows)} leaves them out)"
    )


def _check_labels(files: Files, summary: Summary) -> None:
    """Raise UserError for files whose labels are those of another task, as their encoding does."""
    task = summary.task
    if task.kind in ("regression", QUESTIONS):
        return
    form = files.labelled(files.train, None).form
    for source in filter(None, (files.valid, files.test)):
        read = files.labelled(source, task.labels, form)
        names = label_names(read.rows, read.columns, source.name)
        label_ids(names, task.labels, source.name, [])


def _estimate(job: Job, texts: RunTexts, place: Path) -> Estimate:
    accelerator = accelerator_of(job)
    gpu = accelerator.device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    stages = [_measured(job, stage, texts, place, accelerator) for stage in job.stages]
    least = sum(stage.teacher_seconds + stage.floor * stage.step_seconds for stage in stages)
    most = sum(stage.teacher_seconds + stage.cap * stage.step_seconds for stage in stages)
    memory = torch.cuda.max_memory_allocated() / 1e6 if gpu else peak_mb()
    count = torch.get_num_threads()
    threads = f"this CPU with {count} thread{'s' * (count > 1)}"
    return Estimate(
        recipe=job.recipe.name,
        device=torch.cuda.get_device_name() if gpu else threads,
        stages=tuple(stages),
        least_seconds=least,
        most_seconds=most * (1 + validation.TIME_SHARE),
        memory_mb=memory,
    )


def _measured(
    job: Job, stage: Stage, texts: RunTexts, place: Path, accelerator: Accelerator
) -> StageEstimate:
    """Train a few steps of a stage and time those that stand for the others.

    The first step, untimed, warms up; the second, of the longest texts, needs the most memory.
    """
    splits = texts.student.splits
    assert splits is not None
    stage = class_weights.with_class_weights(stage, splits)
    length = length_of(stage, rows_read_of(splits, stage), len(splits.task.labels))
    groups = _sample(splits.train.lengths, stage.batch_size, job.seed)[: max(length.cap, 1)]
    chosen = np.concatenate(groups)
    few = replace(texts, student=_only(texts.student, chosen), teacher=_only(texts.teacher, chosen))
    folder = place / stage.name
    short = replaced(stage, steps=len(groups), epochs=None, until=None, min_steps=0)
    if stage.teacher == "linear":  # a step on its soft labels takes as long as one on the labels
        short = replaced(short, teacher="run", objective=(HardLabels(),))
    distillation, rows, _ = prepare_stage(job, short, folder, None, few, accelerator)
    teacher = 0.0
    if stage.teacher == "linear":
        read = rows_read_of(splits, stage)
        teacher = _logits_seconds(distillation.student, few.student, read)
    elif isinstance(rows, WithTeacherLogits) and texts.teacher.splits is not None:
        path = job.imitated_teacher(stage)
        assert path is not None
        model = few.teachers[path].model(few.student.head(stage))
        teacher = _logits_seconds(model, few.teacher, len(texts.teacher.splits.train))
    elif are_read_often(length, stage.batch_size, len(splits.train)):
        began, part = time.perf_counter(), len(rows) / len(splits.train)
        asked, rows = rows, with_traces(distillation, rows, texts.student.pad, accelerator, part)
        teacher = 0.0 if rows is asked else (time.perf_counter() - began) / part
    ids = (splits.train.input_ids, splits.valid.input_ids)
    restrict(distillation.student, token_ids_in(ids, texts.student.pad))
    ends = np.cumsum([len(group) for group in groups])

    def batches(step: int) -> dict[str, Tensor]:
        numbers = range(ends[step] - len(groups[step]), ends[step])
        return pad([rows[i] for i in numbers], texts.student.pad)

    stopwatch = _Stopwatch(len(groups), accelerator.device.type == "cuda")
    with suppress(_MeasuredError):
        train(
            distillation, short, batches, Length(len(groups), len(groups)), folder,
            seed=job.seed, accelerator=accelerator, callbacks=Callbacks((stopwatch,)),
        )  # fmt: skip
    accelerator.free_memory()
    return StageEstimate(
        name=stage.name,
        floor=length.floor,
        cap=length.cap,
        batch_size=stage.batch_size,
        step_seconds=float(np.mean(stopwatch.seconds[-len(SHARES) :])),
        teacher_seconds=teacher,
    )


class _MeasuredError(Exception):
    """Ends a training whose steps have been timed, before it writes a checkpoint."""


class _Stopwatch(Callback):
    """Times each of so many steps, and then ends the training."""

    def __init__(self, steps: int, gpu: bool) -> None:
        self.steps, self.gpu, self.seconds, self._since = steps, gpu, list[float](), 0.0

    def start(self, progress: Progress) -> None:
        self._since = time.perf_counter()

    def step(self, progress: Progress) -> None:
        if self.gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self._since)
        self._since = now
        if len(self.seconds) == self.steps:
            raise _MeasuredError


def _sample(lengths: list[int], batch_size: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the row numbers of batches: a usual one, that of the longest rows, those of SHARES."""
    epoch = plan(lengths, batch_size, seed, 0)
    batches = [np.array(epoch[i], np.int64) for i in range(len(epoch))]
    batches.sort(key=lambda rows: len(rows) * max(lengths[row] for row in rows))
    usual = [batches[int(share * len(batches))] for share in SHARES]
    longest = np.argsort(lengths, kind="stable")[-batch_size:]
    return [usual[1], longest, *usual]


def _only(task: EncodedTask, rows: NDArray[np.int64]) -> EncodedTask:
    """Return the task with these rows of train alone."""
    assert task.splits is not None
    return replace(task, splits=replace(task.splits, train=task.splits.train.take(rows)))


def _logits_seconds(model: PreTrainedModel, few: EncodedTask, rows: int) -> float:
    """Return the seconds that a model takes for the logits of so many rows, measured on a few."""
    assert few.splits is not None
    sample = few.splits.train
    start = time.perf_counter()
    predict.predict(model, sample, few.pad)
    return (time.perf_counter() - start) * rows / len(sample)


def _time(seconds: float) -> str:
    """A time of two digits: 0.031 s, 4.2 min, 1.3 h."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:,.0f} {unit}" if count >= 10 else f"{count:.2g} {unit}"
    return f"{seconds:.2g} s"
