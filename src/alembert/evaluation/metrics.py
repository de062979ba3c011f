"""The metrics of a task, from logits and labels."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as span_f1_score
from seqeval.metrics import precision_score as span_precision_score
from seqeval.metrics import recall_score as span_recall_score
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    fbeta_score,
    matthews_corrcoef,
    precision_recall_curve,
)

from alembert.data.encoded import IGNORED, Encoded
from alembert.data.questions.windows import Windows
from alembert.data.tasks import Task, beta_of, precision_of
from alembert.evaluation import own_metric
from alembert.evaluation.own_metric import Labelled
from alembert.evaluation.spans import scores as spans
from alembert.io.answers import is_bio
from alembert.io.errors import UserError
from alembert.io.named import is_named

Logits = NDArray[np.float32] | list[NDArray[np.float32]]
Numbers = NDArray[np.number]  # logits, or labels: class ids, scores or 0/1


def metrics(task: Task, logits: Logits, data: Encoded) -> dict[str, float]:
    """{name: value}, the task's metric first; rows without a label are left out.

    A metric of one's own, an F-beta or a recall at a precision is there if it is the task's.
    Raises UserError when no row has a label.
    """
    data = data.whole
    if isinstance(data, Windows):
        values = spans.metrics(logits, data)
    elif task.kind == "tokens":
        values = _token_classification(task, logits, data)
    else:
        outputs = np.asarray(logits)
        labelled = data.labelled
        kinds = {
            "classification": _classification,
            "regression": _regression,
            "multilabel": _multilabel,
        }
        if not labelled.any():
            raise UserError("no row has a label to evaluate on; name the column with --label")
        values = kinds[task.kind](task, outputs[labelled], data.labels[labelled])
    if beta_of(task.metric) is not None or precision_of(task.metric) is not None:
        rows = labelled_rows(task, logits, data)
        values[task.metric] = _of_positives(task.metric, *positives(task, rows))
    if is_named(task.metric):
        values[task.metric] = own_metric.value(task.metric, labelled_rows(task, logits, data))
    return {task.metric: values[task.metric], **values}


def labelled_rows(task: Task, logits: Logits, data: Encoded) -> Labelled:
    """The rows that have a label, of tags the words, as a metric of one's own takes them.

    Of questions they have the scores of each answer.
    """
    data = data.whole
    if isinstance(data, Windows):
        return spans.rows_of(logits, data)
    rows = np.concatenate([*logits]) if task.kind == "tokens" else np.asarray(logits)
    numbers = np.arange(len(data))
    texts = np.repeat(numbers, data.lengths) if data.per_token else numbers
    there = data.labelled
    shape = (-1,) if task.kind == "regression" else (-1, rows.shape[-1])
    return Labelled(rows[there].reshape(shape), data.labels[there], texts[there])


def positives(task: Task, rows: Labelled) -> tuple[Numbers, Numbers]:
    """The score, over 0 where it is predicted, and the truth of each thing that can be positive.

    Of two classes that is each text, (N, 1), by the difference of its logits; of several labels
    each of them, (N, C).
    """
    if task.kind == "multilabel":
        unseen = rows.labels.shape[1] - rows.logits.shape[1]  # labels that no model can predict
        scores = np.pad(rows.logits, ((0, 0), (0, unseen)), constant_values=-np.inf)
        return scores, rows.labels.astype(int)
    positive = positive_class(task.labels)
    scores = rows.logits[:, positive] - rows.logits[:, 1 - positive]
    # of equal logits the first class is predicted
    scores = np.where((scores == 0) & (positive == 0), np.finfo(np.float32).tiny, scores)
    return scores[:, None], (rows.labels == positive).astype(int)[:, None]


def _of_positives(metric: str, scores: Numbers, true: Numbers) -> float:
    """F-beta, or the recall at a precision, of all positives together; 0 where none is found."""
    scores, true = scores.ravel(), true.ravel()
    if (beta := beta_of(metric)) is not None:
        return float(fbeta_score(true, scores > 0, beta=beta, zero_division=0))
    least = precision_of(metric) or 0.0
    if not true.any():
        return 0.0
    precision, recall, _ = precision_recall_curve(true, np.maximum(scores, -3e38))
    return float(recall[precision >= least].max())


def positive_class(labels: Sequence[str]) -> int:
    """The id of the positive one of two classes, by convention the second."""
    # MRPC's and QQP's sorted names (equivalent, not_equivalent) put it first
    return 0 if labels[1].casefold().startswith("not_") else 1


def _classification(task: Task, logits: Numbers, labels: Numbers) -> dict[str, float]:
    predicted = logits.argmax(1)
    macro = float(f1_score(labels, predicted, average="macro", zero_division=0))
    one = macro
    if len(task.labels) == 2:
        positive = positive_class(task.labels)
        # of one class, since labels may hold others that the task has not
        one = float(
            f1_score(labels, predicted, labels=[positive], average="macro", zero_division=0)
        )
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1": one,
        "macro_f1": macro,
        "matthews": float(matthews_corrcoef(labels, predicted)),
    }


def _regression(task: Task, logits: Numbers, labels: Numbers) -> dict[str, float]:
    predicted = logits.reshape(-1).astype(np.float64)
    true = labels.astype(np.float64)
    # correlation is undefined for constant values; we report 0
    varied = len(predicted) > 1 and np.ptp(predicted) > 0 and np.ptp(true) > 0
    return {
        "pearson": float(pearsonr(predicted, true).statistic) if varied else 0.0,
        "spearman": float(spearmanr(predicted, true).statistic) if varied else 0.0,
        "mse": float(np.mean((predicted - true) ** 2)),
    }


def _multilabel(task: Task, logits: Numbers, labels: Numbers) -> dict[str, float]:
    predicted = (logits > 0).astype(int)  # a probability over one half
    true = labels.astype(int)
    unseen = true.shape[1] - predicted.shape[1]  # labels that no model can predict
    predicted = np.pad(predicted, ((0, 0), (0, unseen)))
    return {
        "micro_f1": float(f1_score(true, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(true, predicted, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(true, predicted)),  # rows with all labels right
    }


def _token_classification(task: Task, logits: Logits, data: Encoded) -> dict[str, float]:
    predicted: list[list[str]] = []
    true: list[list[str]] = []
    names = (*task.labels, *data.unseen)
    for i, row in enumerate(logits):
        labels = np.array(data[i]["labels"])
        words = labels != IGNORED
        if words.any():
            predicted.append([task.labels[c] for c in row.argmax(1)[words]])
            true.append([names[c] for c in labels[words]])
    if not true:
        raise UserError("no word has a tag to evaluate on; name the column with --label")
    pairs = zip(chain.from_iterable(predicted), chain.from_iterable(true), strict=True)
    values = {"accuracy": float(np.mean([a == b for a, b in pairs]))}
    if is_bio(task.labels):
        values["span_f1"] = float(span_f1_score(true, predicted, zero_division=0))
        values["span_precision"] = float(span_precision_score(true, predicted, zero_division=0))
        values["span_recall"] = float(span_recall_score(true, predicted, zero_division=0))
    return values
