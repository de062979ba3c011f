"""How much of its teacher's quality a student keeps: with intervals, and above what is free.

One rule decides which metric the headline speaks of. Where over 60 % of the texts have one label,
accuracy and F1 flatter: whoever always gives that label is right as often. Matthews' correlation
(of two classes) or macro F1 (of more) then stands beside the task's metric, and the headline takes
the one of which the student keeps less. In both, the share of the gain over the majority is told:
(student - majority) / (teacher - majority), where the majority is whoever gives every text the most
frequent label of the training rows.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.data.encoded import Encoded
from alembert.data.questions.windows import Windows
from alembert.data.tasks import Task
from alembert.evaluation.baselines.linear import constant
from alembert.evaluation.metrics import Logits, labelled_rows
from alembert.evaluation.spans.sentences import no_answers
from alembert.evaluation.uncertainty.intervals import DRAWS, Drawn, Interval, bootstrap, of_share
from alembert.evaluation.uncertainty.resampling import Rows, statistic
from alembert.io.named import is_named
from alembert.io.progress import doing

UNBALANCED = 0.6  # of the texts have one label
OWN_ROWS, OWN_FEWEST = 4_000_000, 200  # rows given to a metric of one's own, and its fewest draws
NO_SHARES = ("matthews", "pearson", "spearman", "mse")
MAJORITY, DEPLOYED = "majority", "deployed"  # the latter is the student as it is exported


def majority(task: Task, train: Encoded, data: Encoded) -> Logits:
    """Return logits that give every row of `data` the most frequent label of the labelled rows.

    Of classes and tags they are the logarithms of the frequencies, of several labels their log
    odds, and of scores the mean.
    """
    if isinstance(data, Windows):
        return no_answers(data)
    train, data = train.whole, data.whole
    row = constant(task.kind, train.labels[train.labelled], len(task.labels)).bias
    if task.kind == "tokens":
        return [np.tile(row, (length, 1)) for length in data.lengths]
    return np.tile(row, (len(data), 1))


def balanced_metric(task: Task, labels: NDArray[np.int64]) -> tuple[str, float] | None:
    """Return the metric that fits unbalanced classes, and the share of the most frequent label.

    None where the classes are balanced enough, or the metric is not accuracy or F1 of classes.
    """
    if task.kind != "classification" or task.metric not in ("accuracy", "f1"):
        return None
    share = float(np.bincount(labels).max() / len(labels))
    if share <= UNBALANCED:
        return None
    return "matthews" if len(task.labels) == 2 else "macro_f1", share


def of_run(
    task: Task,
    logits: Mapping[str, Logits],
    data: Mapping[str, Encoded],
    train: Encoded,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what metrics.json says of sureness: n, intervals, retention and headline.

    logits has the teacher, if there is one, the student and any other model by its name. data has
    the rows as each reads them, by default as the student does. metrics has
    the values of both. There is no retention where the teacher's metric, or its interval, reaches
    0, and no gain where the teacher's lead over the majority does.
    """
    rows = labelled_rows(task, logits["student"], data["student"])
    texts = np.unique(rows.texts)
    models = {**logits, MAJORITY: majority(task, train, data["student"])}
    data = {**dict.fromkeys(models, data["student"]), **data}
    told: dict[str, Any] = {"n": len(texts)}
    told["intervals"] = _of_metric(task, task.metric, models, data, texts)
    if "teacher" not in logits:
        return told
    told["headline"] = task.metric
    shares = {task.metric: _retention(metrics, told["intervals"], task.metric)}
    if (balanced := balanced_metric(task, rows.labels)) is not None:
        name, share = balanced
        about = {"metric": name, "majority": share}
        told["intervals"]["balanced"] = about | _of_metric(task, name, models, data, texts)
        shares[name] = _retention(metrics, told["intervals"]["balanced"], name)
        told["headline"] = min(shares, key=lambda each: shares[each] or -math.inf)
    if (kept := shares[task.metric]) is not None:
        told["retention"] = kept
    return told


def _retention(
    metrics: Mapping[str, Any], intervals: Mapping[str, Any], metric: str
) -> float | None:
    if "retention" not in intervals:
        return None
    return float(metrics["student"][metric] / metrics["teacher"][metric])


def _of_metric(
    task: Task,
    metric: str,
    models: Mapping[str, Logits],
    data: Mapping[str, Encoded],
    texts: NDArray[np.int64],
) -> dict[str, Any]:
    """Return the bounds of each model's metric, and of what the student keeps of the teacher's.

    "lead" has those of the difference of what is deployed, or else of the student, to each other
    model.
    """
    rows = {name: Rows.of(task, logits, data[name]) for name, logits in models.items()}
    drawn, _ = drawn_of(rows, metric, texts)
    free = drawn.pop(MAJORITY)
    found: dict[str, Any] = {
        name: bounds.bounds
        for name, each in drawn.items()
        if (bounds := interval_of(each, metric, len(texts))) is not None
    }
    own = DEPLOYED if DEPLOYED in drawn else "student"
    found["lead"] = {
        name: bounds.bounds
        for name, each in (drawn | {MAJORITY: free}).items()
        if name != own and (bounds := (drawn[own] - each).interval) is not None
    }
    if "teacher" not in drawn:
        return found
    found |= _kept(drawn["student"], drawn["teacher"], free)
    if DEPLOYED in drawn:
        found["of_deployed"] = _kept(drawn[DEPLOYED], drawn["teacher"], free)
    return found


def _kept(student: Drawn, teacher: Drawn, free: Drawn) -> dict[str, Any]:
    """Return the bounds of the difference, of the share kept and of the share of the gain."""
    found: dict[str, Any] = {}
    if (difference := (student - teacher).interval) is not None:
        found["difference"] = difference.bounds
    kept = student.over(teacher)
    if kept is not None and (bounds := kept.interval) is not None:
        found["retention"] = bounds.bounds
    gain = (student - free).over(teacher - free)
    if gain is not None and (bounds := gain.interval) is not None:
        found["gain_kept"] = asdict(bounds)
    return found


def drawn_of(
    models: Mapping[str, Rows],
    metric: str,
    texts: NDArray[np.int64] | None = None,
    draws: int | None = None,
) -> tuple[dict[str, Drawn], int]:
    """Return each model's metric on the same samples, and the number of texts.

    The texts are by default those in which the last model has a label, and the draws as many as
    `draws_of` says.
    """
    *_, last = models.values()
    texts = np.unique(last.labelled.texts) if texts is None else texts
    statistics = {
        name: statistic(each.task, metric, each.labelled, texts, each.unseen)
        for name, each in models.items()
    }
    draws = draws or draws_of(metric, len(last.labelled.labels))
    with doing("intervals"):
        return bootstrap(statistics, len(texts), draws), len(texts)


def interval_of(drawn: Drawn, metric: str, texts: int) -> Interval | None:
    """Return the interval of one model's metric."""
    share = metric not in NO_SHARES and not is_named(metric)
    return of_share(drawn, texts) if share else drawn.interval


def draws_of(metric: str, rows: int) -> int | None:
    """Return the draws of a metric, None for as many as usual: one's own is called once a draw."""
    return min(DRAWS, max(OWN_FEWEST, OWN_ROWS // rows)) if is_named(metric) else None
