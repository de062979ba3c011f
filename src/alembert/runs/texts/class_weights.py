"""Class weights: a recipe's, by name or "balanced", become one for each id of a task's labels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from alembert.data.encoded import IGNORED
from alembert.data.labels import list_names
from alembert.data.splits import Splits
from alembert.data.tasks import Task
from alembert.io.errors import UserError
from alembert.objectives.label_terms import HardLabels
from alembert.recipes.schema import Stage, replaced


def with_class_weights(stage: Stage, splits: Splits | None) -> Stage:
    """Return the stage with class weights by id in its HardLabels, if it has class weights.

    Raises UserError for data without classes, unknown names, and classes without a weight.
    """
    objective = tuple(
        replaced(term, class_weights=_by_id(term, stage, splits))
        if isinstance(term, HardLabels) and term.class_weights is not None
        else term
        for term in stage.objective
    )
    return stage if objective == stage.objective else replaced(stage, objective=objective)


def describe(stage: Stage, splits: Splits | None) -> str | None:
    """Return a line with the stage's class weights, or None."""
    weights = next((t.class_weights for t in stage.objective if isinstance(t, HardLabels)), None)
    if not isinstance(weights, tuple) or splits is None:
        return None
    pairs = [f"{name} {w:.3g}" for name, w in zip(splits.task.labels, weights, strict=True)]
    return f"class weights: {list_names(pairs)}"


def balanced(labels: NDArray[np.integer], count: int) -> tuple[float, ...]:
    """Return N / (C n_c) for each of `count` classes, of labels (N,) without -100 (scikit-learn's).

    C counts the classes with rows; a class without rows gets 1, which is never used.
    """
    rows = np.bincount(labels[labels != IGNORED], minlength=count)
    total = rows.sum() / (rows > 0).sum()
    return tuple((total / np.where(rows > 0, rows, total)).tolist())


def _by_id(term: HardLabels, stage: Stage, splits: Splits | None) -> tuple[float, ...]:
    """Return the weight of each label id; UserError where they do not fit the task."""
    where, weights = f"stage '{stage.name}': HardLabels.class_weights", term.class_weights
    if stage.data != "task" or splits is None:
        raise UserError(f"{where}: a corpus has no classes: leave it out")
    task = splits.task
    if task.kind not in ("classification", "tokens"):
        raise UserError(f"{where}: they weigh classes or tags, and this is {task.kind}: drop them")
    if weights == "balanced":
        return balanced(splits.train.labels, len(task.labels))
    if isinstance(weights, Mapping):
        return _by_name(weights, task, where)
    assert isinstance(weights, tuple)
    if len(weights) != len(task.labels):
        raise UserError(
            f"{where}: there are {len(weights)} weights and {len(task.labels)} classes, "
            f"{list_names(task.labels)}: give one for each, in their order, or by name"
        )
    return weights


def _by_name(weights: Mapping[str, float], task: Task, where: str) -> tuple[float, ...]:
    if unknown := [name for name in weights if name not in task.labels]:
        raise UserError(
            f"{where}: {unknown[0]!r} is none of the classes, {list_names(task.labels)}: "
            "fix its name"
        )
    if missing := [name for name in task.labels if name not in weights]:
        raise UserError(f"{where}: class {missing[0]!r} has no weight: give it one (1, say)")
    return tuple(weights[name] for name in task.labels)
