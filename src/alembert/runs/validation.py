"""What a stage's student is worth on held-out texts, which choose how long it is trained."""

import math
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from scipy.special import log_softmax

from alembert.data.batches import Batches
from alembert.data.encoded import IGNORED, Encoded
from alembert.data.splits import Splits
from alembert.data.tasks import Task
from alembert.evaluation import predict
from alembert.evaluation.metrics import Logits, metrics
from alembert.recipes.schema import Stage
from alembert.training.distillation import Distillation
from alembert.training.monitor import Length, Validation, Validator, validation_steps

A_LOOK = 25  # steps at least between two looks
COST = 0.1  # share of a stage's time that its looks may take
BATCH = 64  # held-out texts at a time


def validator_for(
    stage: Stage,
    distillation: Distillation,
    splits: Splits,
    pad: int,
    length: Length,
    rows: int,
    accelerator: Accelerator,
) -> Validator | None:
    """How a stage on a task is looked at; None where nothing would come of it.

    A stage that compares answers is looked at by the task's metric, another by its own loss.
    """
    task, data = splits.task, splits.valid
    if not stage.reads_logits and stage.until is None and not stage.patience:
        return None

    def by_answers() -> Validation:
        logits = predict.predict(distillation.student, data, pad)
        value = metrics(task, logits, data)[task.metric]
        return Validation(
            value, loss(task, logits, data), standard_error(task.metric, value, len(data))
        )

    measure = (
        by_answers if stage.reads_logits else _by_objective(distillation, data, pad, accelerator)
    )
    name = task.metric if stage.reads_logits else "loss"
    if stage.until is not None:
        every = _every(stage, rows, len(data))
        at = validation_steps(length.cap, stage.evaluations) or range(every, length.cap + 1, every)
        return Validator(measure, name, at, stage.until.patience)
    epochs = round(length.cap * stage.batch_size / rows)
    times = stage.evaluations or min(max(epochs, 3), 10)
    return Validator(measure, name, validation_steps(length.cap, times), stage.patience)


def _every(stage: Stage, rows: int, held_out: int) -> int:
    """Steps between two looks: a quarter of an epoch, more where looks would cost too much.

    A text that is answered costs a third of one that is learnt from.
    """
    quarter = rows / stage.batch_size / 4
    return math.ceil(max(quarter, held_out / 3 / COST / stage.batch_size, A_LOOK))


def _by_objective(
    distillation: Distillation, data: Encoded, pad: int, accelerator: Accelerator
) -> Callable[[], Validation]:
    """The stage's own loss on held-out texts, by which it is trained."""
    batches = Batches(data, BATCH, 0, pad)

    def measure() -> Validation:
        total = 0.0
        distillation.eval()
        with torch.no_grad(), accelerator.autocast():
            for step in range(-(-len(data) // BATCH)):
                batch = {k: v.to(accelerator.device) for k, v in batches(step).items()}
                total += float(distillation(batch)[0]) * len(batch["input_ids"])
        distillation.train()
        return Validation(None, total / len(data))

    return measure


def loss(task: Task, logits: Logits, data: Encoded) -> float:
    """The mean loss of answers on labelled rows: cross entropy, or squared error of scores."""
    if task.kind == "tokens":
        found = np.concatenate([*logits]).astype(np.float64)
        labels = data.labels
    else:
        found, labels = np.asarray(logits, np.float64), data.labels
    if task.kind in ("classification", "tokens"):
        known = labels != IGNORED
        chances = log_softmax(found[known], axis=-1)
        return float(-chances[np.arange(known.sum()), labels[known]].mean())
    labels = labels.reshape(len(data), -1)
    known = ~np.isnan(labels).any(1)
    found, labels = found.reshape(len(data), -1)[known], labels[known]
    if task.kind == "regression":
        return float(((found - labels) ** 2).mean())
    return float((np.logaddexp(0, found) - labels * found).mean())


def standard_error(metric: str, value: float, rows: int) -> float:
    """Of a metric of so many rows, a share or a correlation, by the usual large-sample formulas."""
    if metric in ("pearson", "spearman", "matthews"):
        return float((1 - value**2) / math.sqrt(max(rows - 1, 1)))
    return math.sqrt(max(value * (1 - value), 0.0) / rows) if metric != "mse" else 0.0


def describe_length(
    stage: Stage, length: Length, rows: int, watch: Validator | None, held_out: int
) -> str:
    """What is said of a stage's length before its first step: steps and epochs."""
    epoch = math.ceil(rows / stage.batch_size)
    if stage.until is None or watch is None:
        return f"{length.cap:,} steps of {stage.batch_size} ({length.cap / epoch:.3g} epochs)"
    return (
        f"{length.floor:,} to {length.cap:,} steps of {stage.batch_size} "
        f"({length.floor / epoch:.3g} to {length.cap / epoch:.3g} epochs), until {watch.name} of "
        f"{held_out:,} held-out texts gets no better"
    )
