"""Validation of a stage's student on held-out texts, which ends stages of open length."""

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from scipy.special import log_softmax
from transformers import PreTrainedModel

from alembert.data.batches import Batches
from alembert.data.encoded import Encoded
from alembert.data.questions.windows import Windows
from alembert.data.splits import Splits
from alembert.data.tasks import Task
from alembert.evaluation import own_metric, predict
from alembert.evaluation.metrics import Logits, labelled_rows, metrics
from alembert.evaluation.spans.scores import (
    THRESHOLD,
    has_unanswerable,
    threshold_of,
    with_best_threshold,
)
from alembert.evaluation.spans.scores import loss as windows_loss
from alembert.io.named import is_named
from alembert.recipes.schema import Stage
from alembert.training.distillation import Distillation
from alembert.training.monitor import Length, Validation, Validator, length_of, validation_steps

log = logging.getLogger(__name__)

MIN_STEPS = 25  # between two validations
TIME_SHARE = 0.1  # of a stage's time that its validations may take
BATCH_SIZE = 64  # held-out texts in one forward pass


def validator_for(
    stage: Stage,
    distillation: Distillation,
    splits: Splits,
    pad: int,
    length: Length,
    rows: int,
    accelerator: Accelerator,
) -> Validator | None:
    """Return the validator of a stage on a task, or None where its result would not be used.

    A stage that reads logits is validated by the task's metric, another by its own loss.
    """
    if not stage.reads_logits and stage.until is None and not stage.patience:
        return None
    measure, data = measure_of(stage, distillation, splits, pad, accelerator), splits.valid
    name = name_of(stage, splits)
    if stage.until is not None:
        every = _every(stage, rows, len(data))
        at = validation_steps(length.cap, stage.evaluations) or range(every, length.cap + 1, every)
        return Validator(measure, name, at, stage.until.patience)
    epochs = round(length.cap * stage.batch_size / rows)
    times = stage.evaluations or min(max(epochs, 3), 10)
    return Validator(measure, name, validation_steps(length.cap, times), stage.patience)


def name_of(stage: Stage, splits: Splits) -> str:
    """Return the name of what a stage's student is measured by: the task's metric, or its loss."""
    return splits.task.metric if stage.reads_logits else "loss"


def measure_of(
    stage: Stage, distillation: Distillation, splits: Splits, pad: int, accelerator: Accelerator
) -> Callable[[], Validation]:
    """Return a function that measures a stage's student on the held-out texts."""
    task, data = splits.task, splits.valid
    if not stage.reads_logits:
        return _by_objective(distillation, data, pad, accelerator)

    def by_metric() -> Validation:
        logits = predict.predict(distillation.student, data, pad, title="held-out texts")
        read = with_best_threshold(data, logits)
        value = metrics(task, logits, read)[task.metric]
        return Validation(value, loss(task, logits, read), _error(task, logits, read, value))

    return by_metric


def keep_threshold(student: PreTrainedModel, splits: Splits, pad: int) -> None:
    """Write into a student's config the threshold of "no answer" that held-out questions say.

    Where all of these have an answer there is none, and no answer is never given.
    """
    data = splits.valid
    if not isinstance(data, Windows):
        return
    setattr(student.config, THRESHOLD, None)
    if has_unanswerable(data):
        threshold = threshold_of(predict.predict(student, data, pad, title="held-out texts"), data)
        setattr(student.config, THRESHOLD, threshold)
        log.info(
            '"no answer" is the answer where its score is higher than the best span\'s by more '
            f"than {threshold:.3g}, which held-out questions say"
        )


def _every(stage: Stage, rows: int, held_out: int) -> int:
    """Return the steps between two validations: a quarter of an epoch, or more if they are dear.

    A forward pass costs a third of a training step's time a text.
    """
    quarter = rows / stage.batch_size / 4
    return math.ceil(max(quarter, held_out / 3 / TIME_SHARE / stage.batch_size, MIN_STEPS))


def _by_objective(
    distillation: Distillation, data: Encoded, pad: int, accelerator: Accelerator
) -> Callable[[], Validation]:
    """Return a function that measures the stage's own loss on held-out texts."""
    batches = Batches(rows=data, batch_size=BATCH_SIZE, seed=0, pad_token_id=pad)

    def measure() -> Validation:
        total = 0.0
        distillation.eval()
        with torch.no_grad(), accelerator.autocast():
            for step in range(-(-len(data) // BATCH_SIZE)):
                batch = {k: v.to(accelerator.device) for k, v in batches(step).items()}
                total += float(distillation(batch)[0]) * len(batch["input_ids"])
        distillation.train()
        return Validation(None, total / len(data))

    return measure


def loss(task: Task, logits: Logits, data: Encoded) -> float:
    """Return the mean loss on labelled rows: cross entropy, or squared error of scores."""
    if isinstance(data, Windows):
        return windows_loss(logits, data)
    rows = labelled_rows(task, logits, data)
    labels = rows.labels
    if task.kind in ("classification", "tokens"):
        known = np.flatnonzero(labels < rows.logits.shape[1])  # a label that train lacks has none
        parts = np.array_split(known, -(-len(known) // BATCH_SIZE) or 1)  # all would take memory
        log_p = [
            log_softmax(rows.logits[part].astype(np.float64), axis=-1)[
                range(len(part)), labels[part]
            ]
            for part in parts
        ]
        return float(-np.concatenate(log_p).mean())
    values = rows.logits.astype(np.float64)
    if task.kind == "regression":
        return float(((values - labels) ** 2).mean())
    labels = labels[:, : values.shape[1]]
    return float((np.logaddexp(0, values) - labels * values).mean())


def _error(task: Task, logits: Logits, data: Encoded, value: float) -> float:
    """Return the standard error of the task's metric, of one's own by a jackknife over texts."""
    if is_named(task.metric):
        return own_metric.standard_error(task.metric, labelled_rows(task, logits, data))
    return standard_error(task.metric, value, data.count)


def standard_error(metric: str, value: float, rows: int) -> float:
    """Return the large-sample standard error of a share or a correlation over so many rows."""
    if metric in ("pearson", "spearman", "matthews"):
        return float((1 - value**2) / math.sqrt(max(rows - 1, 1)))
    return math.sqrt(max(value * (1 - value), 0.0) / rows) if metric != "mse" else 0.0


def describe_length(stage: Stage, length: Length, rows: int) -> str:
    """Return a phrase on a stage's length in steps and epochs, for the log."""
    epoch = math.ceil(rows / stage.batch_size)
    if length.floor == length.cap:
        return f"{length.cap:,} steps of {stage.batch_size} ({length.cap / epoch:.3g} epochs)"
    return (
        f"{length.floor:,} to {length.cap:,} steps of {stage.batch_size} "
        f"({length.floor / epoch:.3g} to {length.cap / epoch:.3g} epochs)"
    )


def describe_stages(stages: Sequence[Stage], read: Callable[[Stage], int], classes: int) -> str:
    """Return a phrase with the length of each stage on a task, which reads so many rows."""
    phrases = []
    for stage in stages:
        if stage.data == "task":
            length = length_of(stage, read(stage), classes)
            phrases.append(f"stage '{stage.name}': {describe_length(stage, length, read(stage))}")
    return "; ".join(phrases)
