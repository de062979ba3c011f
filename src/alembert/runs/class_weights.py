"""Class weights of a recipe, by name or "balanced", become a weight for each id of a task."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from alembert.data.encoded import IGNORED
from alembert.data.labels import list_names
from alembert.data.splits import Splits
from alembert.data.tasks import Task
from alembert.io.errors import UserError
from alembert.objectives.objective import HardLabels
from alembert.recipes.schema import Stage


def weighed(stage: Stage, splits: Splits | None) -> Stage:
    """The stage with weights by id in its HardLabels; as it was where none are asked for.

    Raises UserError for data without classes, for names that are no classes and for classes left
    out.
    """
    objective = tuple(
        term.model_copy(update={"class_weights": _by_id(term, stage, splits)})
        if isinstance(term, HardLabels) and term.class_weights is not None
        else term
        for term in stage.objective
    )
    return stage if objective == stage.objective else stage.model_copy(
        update={"objective": objective}
    )  # fmt: skip


def said(stage: Stage, splits: Splits | None) -> str | None:
    """The line that tells a weighed stage's weights; None where there are none."""
    found = next((t.class_weights for t in stage.objective if isinstance(t, HardLabels)), None)
    if not isinstance(found, tuple) or splits is None:
        return None
    pairs = [f"{name} {w:.3g}" for name, w in zip(splits.task.labels, found, strict=True)]
    return f"class weights: {list_names(pairs)}"


def balanced(labels: NDArray[np.integer], count: int) -> tuple[float, ...]:
    """N / (C n_c) for each of `count` classes, of labels (N,) that are not -100 (scikit-learn's).

    C counts the classes that there are; one that has no row gets 1, and is never asked for.
    """
    rows = np.bincount(labels[labels != IGNORED], minlength=count)
    total = rows.sum() / (rows > 0).sum()
    return tuple((total / np.where(rows > 0, rows, total)).tolist())


def _by_id(term: HardLabels, stage: Stage, splits: Splits | None) -> tuple[float, ...]:
    where, asked = f"stage '{stage.name}': HardLabels.class_weights", term.class_weights
    if stage.data != "task" or splits is None:
        raise UserError(f"{where}: words of a corpus are no classes: leave it out")
    task = splits.task
    if task.kind not in ("classification", "tokens"):
        raise UserError(f"{where}: they weigh classes or tags, and this is {task.kind}: drop them")
    if asked == "balanced":
        return balanced(splits.train.labels, len(task.labels))
    if isinstance(asked, Mapping):
        return _by_name(asked, task, where)
    assert isinstance(asked, tuple)
    if len(asked) != len(task.labels):
        raise UserError(
            f"{where}: there are {len(asked)} weights and {len(task.labels)} classes, "
            f"{list_names(task.labels)}: give one for each, in their order, or by name"
        )
    return asked


def _by_name(asked: Mapping[str, float], task: Task, where: str) -> tuple[float, ...]:
    if strange := [name for name in asked if name not in task.labels]:
        raise UserError(
            f"{where}: {strange[0]!r} is none of the classes, {list_names(task.labels)}: "
            "mend its name"
        )
    if missing := [name for name in task.labels if name not in asked]:
        raise UserError(f"{where}: class {missing[0]!r} has no weight: give it one (1, say)")
    return tuple(asked[name] for name in task.labels)
