"""Metrics of a sample drawn from the texts, as functions of how often each text is drawn.

Shape letters here: N texts, D draws, R rows (texts, or the words of all texts), K classes. A metric
is computed from sums over texts (right answers, counts of each class, moments), so that thousands
of samples are a few products of matrices, and no text is predicted or copied again. With counts of
1 the value is that of `metrics`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from seqeval.metrics.sequence_labeling import get_entities

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task, beta_of, precision_of
from alembert.evaluation import own_metric
from alembert.evaluation.metrics import Logits, labelled_rows, positive_class, positives
from alembert.evaluation.own_metric import Labelled
from alembert.evaluation.spans.scores import NAMES
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.io.named import is_named

Counts = NDArray[np.float64]  # (N, D): how often each text is in each draw
Values = NDArray[np.float64]  # (D,): NaN where the metric is not defined
Statistic = Callable[[Counts], Values]
Sums = Callable[[Counts], NDArray[np.float64]]  # to (K, D)

CELLS = 4_000_000  # counts of texts that a caller makes at once, 32 MB


@dataclass(frozen=True)
class Rows:
    """A model's labelled rows on a task. unseen are labels that it has not, as in `Encoded`."""

    task: Task
    labelled: Labelled
    unseen: Sequence[str]

    @classmethod
    def of(cls, task: Task, logits: Logits, data: Encoded) -> "Rows":
        """Return the rows of encoded data that have a label."""
        return cls(task, labelled_rows(task, logits, data), data.unseen)


def statistic(
    task: Task, metric: str, rows: Labelled, texts: NDArray[np.int64], unseen: Sequence[str] = ()
) -> Statistic:
    """Return the metric of a model as a function of the counts of `texts`.

    texts (N,) are numbers as in rows.texts, ascending; rows of other texts are left out. unseen are
    labels that the task has not, as in `Encoded`.
    """
    where = np.searchsorted(texts, rows.texts)
    there = where < len(texts)
    there[there] = texts[where[there]] == rows.texts[there]
    rows = Labelled(rows.logits[there], rows.labels[there], where[there])
    if is_named(metric):
        return _own(metric, rows)
    if beta_of(metric) is not None or precision_of(metric) is not None:
        scores, true = positives(task, rows)
        return _positives(metric, scores, true > 0, rows, len(texts))
    if metric.startswith("span_"):
        return _spans(metric, rows, task.labels, unseen, len(texts))
    if task.kind == QUESTIONS:
        return _means(rows, NAMES.index(metric))
    if task.kind == "regression":
        return _scores(metric, rows)
    if task.kind == "multilabel":
        return _labels(metric, rows, len(texts))
    return _classes(metric, rows, task.labels, len(texts))


def _means(rows: Labelled, column: int) -> Statistic:
    """The mean score of the questions drawn."""
    return lambda counts: _share(
        rows.logits[:, column] @ counts[rows.texts], counts[rows.texts].sum(0)
    )


def _summed(values: NDArray[np.float64], rows: Labelled, texts: int) -> Sums:
    """Return a function of counts that sums values (R, K) over the rows drawn."""
    by_text = np.zeros((texts, values.shape[1]))
    np.add.at(by_text, rows.texts, values)
    return lambda counts: by_text.T @ counts


def _counted(ids: NDArray[np.int64], rows: Labelled, texts: int, size: int) -> Sums:
    """Return a function of counts that counts each id (R,) below `size` among the rows drawn."""
    known = ids >= 0
    at = (rows.texts[known], ids[known])
    matrix = sparse.csr_array((np.ones(known.sum()), at), shape=(texts, size)).T.tocsr()
    return lambda counts: np.asarray(matrix @ counts)


def _share(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return top / bottom, and 0 where the bottom is 0."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)


def _f1(right: Values, predicted: Values, true: Values) -> Values:
    return _share(2 * right, predicted + true)


def _classes(metric: str, rows: Labelled, labels: Sequence[str], texts: int) -> Statistic:
    """Metrics of classes, or of the tags of words, by the counts of right answers and classes."""
    true, predicted = rows.labels.astype(np.int64), rows.logits.argmax(1)
    hits = np.where(true == predicted, true, -1)
    size = max(len(labels), int(true.max(initial=0)) + 1)
    if metric == "accuracy":
        ones = np.stack((hits >= 0, np.ones(len(true))), axis=1).astype(np.float64)
        both = _summed(ones, rows, texts)
        return lambda counts: _share(*both(counts))
    of_true, of_predicted, of_right = (
        _counted(ids, rows, texts, size) for ids in (true, predicted, hits)
    )

    def value(counts: Counts) -> Values:
        t, p, right = of_true(counts), of_predicted(counts), of_right(counts)
        if metric == "matthews":
            return _matthews(t, p, right)
        f1 = _f1(right, p, t)
        if metric == "f1" and len(labels) == 2:
            return np.asarray(f1[positive_class(labels)])
        return _share(f1.sum(0), ((t + p) > 0).sum(0).astype(np.float64))

    return value


def _matthews(t: Values, p: Values, right: Values) -> Values:
    """Matthews' correlation of K classes by their counts (K, D): Gorodkin 2004, equation 8."""
    total = t.sum(0)
    spread = (total**2 - (t**2).sum(0)) * (total**2 - (p**2).sum(0))
    return _share(right.sum(0) * total - (t * p).sum(0), np.sqrt(np.maximum(spread, 0)))


def _labels(metric: str, rows: Labelled, texts: int) -> Statistic:
    """Metrics of several labels a text."""
    true = rows.labels.astype(np.int64)
    predicted = np.pad(rows.logits > 0, ((0, 0), (0, true.shape[1] - rows.logits.shape[1])))
    if metric == "accuracy":
        right = (predicted == true).all(1)
        both = _summed(np.stack((right, np.ones(len(true))), 1).astype(np.float64), rows, texts)
        return lambda counts: _share(*both(counts))
    parts = [
        _summed(part.astype(np.float64), rows, texts)
        for part in (predicted & (true > 0), predicted, true)
    ]

    def value(counts: Counts) -> Values:
        right, p, t = (part(counts) for part in parts)
        if metric == "micro_f1":
            return _f1(right.sum(0), p.sum(0), t.sum(0))
        return np.asarray(_f1(right, p, t).mean(0))

    return value


def _positives(
    metric: str,
    scores: NDArray[np.number],
    true: NDArray[np.bool_],
    rows: Labelled,
    texts: int,
) -> Statistic:
    """F-beta, or the recall at a precision, of the positives (R, K) of all texts together."""
    if (beta := beta_of(metric)) is not None:
        said = scores > 0
        each = [part.sum(1) for part in (said & true, said, true)]
        sums = _summed(np.stack(each, 1).astype(np.float64), rows, texts)

        def f_beta(counts: Counts) -> Values:
            right, p, t = sums(counts)
            return _share((1 + beta**2) * right, beta**2 * t + p)

        return f_beta
    least = precision_of(metric) or 0.0
    at = np.repeat(rows.texts, scores.shape[1])
    order = np.argsort(-scores.ravel(), kind="stable")
    ordered, hits, at = scores.ravel()[order], true.ravel()[order], at[order]
    ends = np.append(np.diff(ordered) != 0, True)  # equal scores are found together

    def recall(counts: Counts) -> Values:
        found = np.zeros(counts.shape[1])
        for k, column in enumerate(counts.T):
            drawn = column[at]
            right, all_found = (drawn * hits).cumsum(), drawn.cumsum()
            enough = ends & (right >= least * all_found) & (all_found > 0)
            if right[-1] and enough.any():
                found[k] = right[enough].max() / right[-1]
        return found

    return recall


def _spans(
    metric: str, rows: Labelled, labels: Sequence[str], unseen: Sequence[str], texts: int
) -> Statistic:
    """Metrics of spans of BIO tags, by each text's numbers of right, predicted and true spans."""
    names = np.array([*labels, *unseen])
    ends = np.flatnonzero(np.diff(rows.texts)) + 1
    tags = (names[rows.logits.argmax(1)], names[rows.labels.astype(np.int64)])
    found = np.zeros((texts, 3))
    firsts = rows.texts[np.concatenate(([0], ends)).astype(np.int64)] if len(rows.texts) else ends
    for text, *pair in zip(firsts, *(np.split(each, ends) for each in tags), strict=False):
        predicted, true = (set(get_entities(row.tolist())) for row in pair)
        found[text] = len(predicted & true), len(predicted), len(true)

    def value(counts: Counts) -> Values:
        right, p, t = found.T @ counts
        if metric == "span_precision":
            return _share(right, p)
        return _share(right, t) if metric == "span_recall" else _f1(right, p, t)

    return value


def _scores(metric: str, rows: Labelled) -> Statistic:
    """Metrics of scores, by moments of the scores or of their ranks among those drawn."""
    predicted = rows.logits.reshape(-1).astype(np.float64)
    true = rows.labels.astype(np.float64)
    if metric == "mse":
        error = (predicted - true) ** 2
        return lambda counts: (error @ counts[rows.texts]) / counts[rows.texts].sum(0)
    by_rank = metric == "spearman"
    sizes = [len(true) if by_rank else float(np.ptp(each)) for each in (predicted, true)]

    def value(counts: Counts) -> Values:
        drawn = counts[rows.texts]
        total, centred, spreads = drawn.sum(0), [], []
        for each, size in zip((predicted, true), sizes, strict=True):
            x = _ranks(each, drawn) if by_rank else (each - each.mean())[:, None]
            x = x - (x * drawn).sum(0) / total
            spread = np.sqrt((x * x * drawn).sum(0))
            centred.append(x)
            spreads.append(np.where(spread > 1e-9 * size, spread, 0))  # 0 for equal values
        return _share((centred[0] * centred[1] * drawn).sum(0), spreads[0] * spreads[1])

    return value


def _ranks(values: Values, drawn: Counts) -> NDArray[np.float64]:
    """Return the mean rank (R, D) of each value among those drawn, ties sharing one."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    sizes = np.add.reduceat(drawn[order], starts, axis=0)
    return np.asarray((sizes.cumsum(0) - sizes / 2 + 0.5)[group])


def _own(metric: str, rows: Labelled) -> Statistic:
    """A metric of one's own, called once a draw; NaN where it raises or returns no number.

    A draw may lack a class, which functions such as scikit-learn's refuse with ValueError.
    """

    def value(counts: Counts) -> Values:
        found = np.full(counts.shape[1], np.nan)
        for k, column in enumerate(counts.T):
            chosen = np.repeat(np.arange(len(rows.texts)), column[rows.texts].astype(np.int64))
            if len(chosen):
                drawn = Labelled(rows.logits[chosen], rows.labels[chosen], rows.texts[chosen])
                try:
                    found[k] = own_metric.value(metric, drawn)
                except (UserError, ValueError, ZeroDivisionError):
                    continue
        return found

    return value
