"""Logits and labels -> the metrics of a task."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as span_f1_score
from seqeval.metrics import precision_score as span_precision_score
from seqeval.metrics import recall_score as span_recall_score
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from alembert.data.encoded import IGNORED, Encoded
from alembert.data.tasks import Task, is_bio
from alembert.io.errors import UserError

Logits = NDArray[np.float32] | list[NDArray[np.float32]]


def metrics(task: Task, logits: Logits, data: Encoded) -> dict[str, float]:
    """The task's metric first, then the others of its kind; rows without a label do not count."""
    if task.kind == "tokens":
        found = _of_tags(task, logits, data)
    else:
        outputs = np.asarray(logits)
        known = data.labels != IGNORED
        if task.kind != "classification":
            known = ~np.isnan(data.labels.reshape(len(data), -1)).any(1)
        kinds = {
            "classification": _of_classes,
            "regression": _of_scores,
            "multilabel": _of_several,
        }
        if not known.any():
            raise UserError("no row has a label to judge by; name the column with --label")
        found = kinds[task.kind](task, outputs[known], data.labels[known])
    return {task.metric: found[task.metric], **found}


def _of_classes(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    said = logits.argmax(1)
    macro = float(f1_score(labels, said, average="macro", zero_division=0))
    one = macro
    if len(task.labels) == 2:
        # by convention the second class is the positive one; MRPC's and QQP's sorted names
        # (equivalent, not_equivalent) put it first
        positive = 0 if task.labels[1].casefold().startswith("not_") else 1
        one = float(f1_score(labels, said, pos_label=positive, zero_division=0))
    return {
        "accuracy": float(accuracy_score(labels, said)),
        "f1": one,
        "macro_f1": macro,
        "matthews": float(matthews_corrcoef(labels, said)),
    }


def _of_scores(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    said = logits.reshape(-1).astype(np.float64)
    true = labels.astype(np.float64)
    # where one side never varies, correlation is not defined: nothing was learnt, so 0
    varied = len(said) > 1 and np.ptp(said) > 0 and np.ptp(true) > 0
    return {
        "pearson": float(pearsonr(said, true).statistic) if varied else 0.0,
        "spearman": float(spearmanr(said, true).statistic) if varied else 0.0,
        "mse": float(np.mean((said - true) ** 2)),
    }


def _of_several(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    said = (logits > 0).astype(int)  # a probability over one half
    true = labels.astype(int)
    return {
        "micro_f1": float(f1_score(true, said, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(true, said, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(true, said)),  # all labels of a row right
    }


def _of_tags(task: Task, logits: Logits, data: Encoded) -> dict[str, float]:
    said: list[list[str]] = []
    true: list[list[str]] = []
    for i, row in enumerate(logits):
        labels = np.array(data[i]["labels"])
        places = labels != IGNORED
        if places.any():
            said.append([task.labels[c] for c in row.argmax(1)[places]])
            true.append([task.labels[c] for c in labels[places]])
    if not true:
        raise UserError("no word has a tag to judge by; name the column with --label")
    right = [a == b for s, t in zip(said, true, strict=True) for a, b in zip(s, t, strict=True)]
    found = {"accuracy": float(np.mean(right))}
    if is_bio(task.labels):
        found["span_f1"] = float(span_f1_score(true, said, zero_division=0))
        found["span_precision"] = float(span_precision_score(true, said, zero_division=0))
        found["span_recall"] = float(span_recall_score(true, said, zero_division=0))
    return found
