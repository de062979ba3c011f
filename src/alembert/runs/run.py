"""The steps of a run in order: stages, export, evaluation; finished ones are not repeated."""

import logging
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from alembert.data.encoded import describe_cut
from alembert.data.questions.windows import Windows
from alembert.data.summary.describe import describe_shared, describe_splits, describe_task
from alembert.evaluation.spans.scores import with_threshold
from alembert.export import deployed
from alembert.export.choose import KEEP, Criterion
from alembert.io.files import read_json
from alembert.io.locks import locked
from alembert.models.loading import load_config
from alembert.models.precision import precision_of
from alembert.objectives.objective import describe
from alembert.runs import evaluate
from alembert.runs.checks import check_job
from alembert.runs.folder import METRICS, UNDISTILLED, cleaning, identity, writing
from alembert.runs.folder.repair import repair
from alembert.runs.job import Job
from alembert.runs.stages import validation
from alembert.runs.stages.choice import keep_chosen
from alembert.runs.stages.linear_teacher import rows_read_of
from alembert.runs.stages.run_stage import run_stage
from alembert.runs.texts import ensemble, slices
from alembert.runs.texts.encoded_task import (
    augmented,
    encode_for_teacher,
    encode_task,
    trim_to_task,
)
from alembert.runs.texts.ensemble import RunTexts
from alembert.runs.undistilled import without_teacher
from alembert.training import distributed
from alembert.training.callbacks import Callbacks
from alembert.training.teacher import Teachers
from alembert.training.trackers import Tracker

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, Any]:
    """Run the remaining steps of a job and return the content of metrics.json.

    Of several processes (torchrun, accelerate launch), only the main one writes files; the command
    line prints what that one logs.
    Raises UserError for a job that cannot be run.
    """
    timeout = timedelta(hours=4)  # for the other processes while the main one evaluates
    state = distributed.init_distributed(timeout)
    leads = state.is_main_process
    job.check_stages()
    slices.check(job)
    with ExitStack() as held:
        distributed.main_process_first(state, lambda: _claim(job, held) if leads else None)
        if _finished(job):
            log.info(f"{job.out}: finished before; nothing to do")
            metrics = dict(read_json(job.out / "metrics.json"))
            if missing := [name for name in job.slices if name not in metrics.get("slices", {})]:
                log.info(
                    f"--slice {missing[0]}: was not measured then: alembert evaluate "
                    f"{job.out} --data F --slice {missing[0]}"
                )
            return metrics
        work, texts = distributed.main_process_first(state, lambda: texts_of(job, leads))
        if leads:
            writing.keep_skipped(job)
        accelerator, splits = accelerator_of(job), texts.student.splits
        if splits is not None and (cut := describe_cut(splits.train, splits.valid, splits.test)):
            log.info(cut)
        last: Path | None = None
        describes = job.describes
        tracked = [Tracker(name, job.out, _config(job)) for name in job.track]
        callbacks = Callbacks(job.callbacks, tracked)
        for tracker in tracked:
            held.callback(tracker.close)
        for number, stage in enumerate(job.stages, start=1):
            stage_folder = job.out / "stages" / f"{number:02d}-{stage.name}"
            trained = (stage_folder / "model" / "config.json").is_file()
            if not trained and not cleaning.is_cleaned(stage_folder, job.result):
                if describes:
                    _describe(work, texts)
                    describes = False
                run_stage(work, stage, stage_folder, last, texts, accelerator, callbacks)
            elif (stage_folder / "facts.json").is_file():
                callbacks.pass_by(read_json(stage_folder / "facts.json"))
            state.wait_for_everyone()
            last = stage_folder / "model"
        assert last is not None
        if job.undistilled and splits is not None:
            log.info(f"the same student without its teacher, in {job.out / UNDISTILLED}")
            run(without_teacher(work, splits.task.kind))
        if leads:
            if last.is_dir():  # else it was removed when the result was there
                writing.copy_model(last, job.result)
            keep_chosen(job.out)
            if job.export:
                _export(job, texts)
            metrics = evaluate.evaluate_run(job, texts)
            if size := cleaning.remove_checkpoints(job.out):
                log.info(
                    f"{job.out}: checkpoints of {size / 1e6:,.1f} MB are removed, which only an "
                    f"unfinished run needs; alembert clean {job.out} removes models of stages, too"
                )
            for tracker in tracked:
                tracker.close(metrics)
        state.wait_for_everyone()
        return dict(read_json(job.out / "metrics.json"))


def _finished(job: Job) -> bool:
    """Return whether nothing is left to do: no export that can be made, and nothing to compare."""
    if not (job.out / METRICS).is_file() or not (job.result / "config.json").is_file():
        return False
    metrics = read_json(job.out / METRICS)
    wanted = {"baselines": job.baselines, UNDISTILLED: job.undistilled}
    if metrics and any(asked and name not in metrics for name, asked in wanted.items()):
        return False
    exports = job.export and job.files is not None and deployed.found(job.result) is None
    return not exports or not deployed.can_export()


def _export(job: Job, texts: RunTexts) -> None:
    """Export the student of a task, unless that is done, chosen by the held-out texts."""
    splits = texts.student.splits
    if splits is None or deployed.found(job.result) is not None or not deployed.can_export():
        return
    (job.out / METRICS).unlink(missing_ok=True)  # of a run that was finished without an export
    valid = splits.valid
    if isinstance(valid, Windows):
        valid = with_threshold(valid, load_config(str(job.result)).to_dict())
    criterion = Criterion(valid, splits.task, texts.student.pad, KEEP)
    deployed.export_student(job.result, criterion)


def _describe(job: Job, texts: RunTexts) -> None:
    """Report which task was read, its rows, and the length of the stages on it."""
    splits = texts.student.splits
    if splits is None or job.files is None:
        return
    log.info(describe_task(job.files.train.name, splits.columns, splits.task))
    read, classes = partial(rows_read_of, splits), len(splits.task.labels)
    lengths = validation.describe_stages(job.stages, read, classes)
    log.info(f"{describe_splits(splits)}; {lengths}")
    if (shared := describe_shared(splits)) is not None:
        log.info(shared)


def _claim(job: Job, held: ExitStack) -> None:
    held.enter_context(locked(job.out))
    repair(job.out, job.result)
    identity.check_run(job)


def _config(job: Job) -> dict[str, str | int | float]:
    """Return the settings of a run that trackers show beside its curves."""
    config: dict[str, str | int | float] = {"recipe": job.recipe.name, "seed": job.seed}
    if job.teacher is not None:
        config["teacher"] = job.teacher
    for stage in job.stages:
        config |= {
            f"{stage.name}.objective": describe(stage.objective),
            f"{stage.name}.learning_rate": stage.learning_rate,
            f"{stage.name}.batch_size": stage.batch_size,
        }
    return config


def accelerator_of(job: Job) -> Accelerator:
    """Return what places the stages on a GPU or the CPU, in the job's precision."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return distributed.accelerator(precision_of(job.precision, device), device.type == "cpu")


def texts_of(job: Job, leads: bool) -> tuple[Job, RunTexts]:
    """Return the job that the stages run, and its texts as their models encode them.

    The job differs from `job` where the vocabulary is trimmed.
    """
    teachers = Teachers()
    student_task = encode_task(job, teachers[job.tokenizer_source], teachers)
    if line := check_job(job, student_task, teachers):
        log.info(line)
    ensemble.check(job, student_task, teachers)
    student_task = augmented(job, student_task, teachers)
    first = teachers[job.task_teacher] if job.task_teacher else None
    teacher_task = encode_for_teacher(job, student_task, first, teachers)
    others = ensemble.members(job, student_task, teachers)
    if job.vocabulary is None:
        return job, RunTexts(
            student=student_task, teacher=teacher_task, full_teacher=teacher_task,
            teachers=teachers, others=others,
        )  # fmt: skip
    work, trimmed = trim_to_task(job, student_task, leads, teachers)
    return work, RunTexts(
        student=trimmed, teacher=trimmed, full_teacher=teacher_task, teachers=teachers,
        others=others,
    )  # fmt: skip
