"""Numbers behind the report: confusion, F1 of each class, disagreements, soft labels."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr
from seqeval.metrics import classification_report
from sklearn.metrics import confusion_matrix, f1_score

from alembert.evaluation.predictions import Predictions
from alembert.inference.predictions import sigmoid, softmax
from alembert.io.answers import is_bio

Floats = NDArray[np.float64]
TEMPERATURES = (1, 2, 4, 8)
CONFIDENCE = 0.85  # of the example: at T = 8 its probability is still a little above the others'


def softened(logits: NDArray[Any], temperature: float = 1.0, several: bool = False) -> Floats:
    """Return softmax(logits / T) over the last axis, or sigmoid(logits / T) of several labels."""
    return (sigmoid if several else softmax)(logits.astype(np.float64) / temperature)


def predicted(predictions: Predictions, role: str) -> NDArray[Any]:
    """Return a model's answers: (N,) ids or scores, or (N, C) 0/1 of several labels."""
    logits = predictions.stacked(role)
    if predictions.kind == "multilabel":
        return (logits > 0).astype(int)
    return logits[:, 0] if predictions.kind == "regression" else logits.argmax(1)


def confusion(predictions: Predictions, role: str) -> NDArray[np.int64]:
    """Return the (C, C) counts of texts: a row is a true class, a column a predicted one."""
    ids = range(len(predictions.labels))
    answers = predicted(predictions, role)
    return np.asarray(confusion_matrix(predictions.known(), answers, labels=ids))


@dataclass(frozen=True)
class ConfusedPair:
    """A true class, a wrong one predicted for it, and how often each model does so."""

    true: str
    predicted: str
    counts: dict[str, int]
    support: int  # texts of the true class


def confused_pairs(predictions: Predictions, most: int = 15) -> list[ConfusedPair]:
    """Return the pairs that the student confuses most often, by the share of the true class."""
    counts = {role: confusion(predictions, role) for role in predictions.logits}
    wrong = counts[predictions.own] / np.maximum(counts[predictions.own].sum(1, keepdims=True), 1)
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(wrong, axis=None, kind="stable")[::-1][:most]
    pairs = [divmod(int(cell), len(predictions.labels)) for cell in worst if wrong.flat[cell]]
    return [
        ConfusedPair(
            predictions.labels[true],
            predictions.labels[other],
            {role: int(table[true, other]) for role, table in counts.items()},
            int(counts[predictions.own][true].sum()),
        )
        for true, other in pairs
    ]


@dataclass(frozen=True)
class ClassScore:
    """Each model's F1 of one label, or of one kind of span; `support` counts where it is true."""

    name: str
    f1: dict[str, float]
    support: int

    @property
    def lost(self) -> float:
        """The teacher's F1 less the student's; of a single model, 1 less its F1."""
        return self.f1.get("teacher", 1.0) - self.f1.get("student", self.f1.get("model", 0.0))


def class_scores(predictions: Predictions) -> list[ClassScore]:
    """Return the scores of every label that is true somewhere, the greatest loss first."""
    if predictions.kind == "tokens" and is_bio(predictions.labels):
        names, f1, support = _spans(predictions)
    else:
        names, known = predictions.labels, predictions.known().astype(int)
        ids, several = range(len(names)), predictions.kind == "multilabel"
        f1 = {
            role: f1_score(
                known, predicted(predictions, role), average=None, labels=ids, zero_division=0
            )
            for role in predictions.logits
        }
        support = known.sum(0) if several else np.bincount(known, minlength=len(names))
    rows = [
        ClassScore(name, {role: float(f1[role][c]) for role in f1}, int(support[c]))
        for c, name in enumerate(names)
    ]
    return sorted((row for row in rows if row.support), key=lambda row: -row.lost)


def _spans(predictions: Predictions) -> tuple[Sequence[str], dict[str, Any], Any]:
    """Return the kinds of spans, each model's F1 of them, and their counts."""
    names = np.array(predictions.labels)
    true = [names[row].tolist() for row in predictions.truth]
    reports = {
        role: classification_report(
            true, [names[row.argmax(1)].tolist() for row in rows], output_dict=True, zero_division=0
        )
        for role, rows in predictions.logits.items()
    }
    kinds = [name for name in reports[predictions.own] if not re.fullmatch(r"\w+ avg", name)]
    f1 = {
        role: [report.get(kind, {}).get("f1-score", 0) for kind in kinds]
        for role, report in reports.items()
    }
    return kinds, f1, [reports[predictions.own][kind]["support"] for kind in kinds]


@dataclass(frozen=True)
class Disagreement:
    """One text, its truth, and each model's answer with its probability (or the score)."""

    text: str
    truth: str
    answers: dict[str, str]
    right: Mapping[str, bool | None]


def disagreements(predictions: Predictions, most: int = 12) -> list[Disagreement]:
    """Return the texts where student and teacher, or a single model and the truth, differ most.

    The measure is the Jensen-Shannon divergence of the two distributions, summed over several
    labels and over the words that they tag differently; of scores it is their difference.
    """
    if predictions.kind == "tokens":
        differ = _distance(predictions) * (
            predicted(predictions, predictions.own) != _compared(predictions)
        )
        parts = np.split(differ, np.cumsum([len(t) for t in predictions.truth])[:-1])
        distances = np.array([part.sum() for part in parts])
    else:
        distances = _distance(predictions)
    worst = np.argsort(-distances, kind="stable")[:most]
    return [_shown(predictions, int(i)) for i in worst if distances[i] > 0]


def _compared(predictions: Predictions) -> NDArray[Any]:
    """Return the answers that the student's are compared with: the teacher's, else the truth."""
    if "teacher" in predictions.logits:
        return predicted(predictions, "teacher")
    return predictions.known()


def _distance(predictions: Predictions) -> Floats:
    """Return a distance for each text, (N,); of tags for each word."""
    several = predictions.kind == "multilabel"
    if predictions.kind == "regression":
        gap = predicted(predictions, predictions.own) - _compared(predictions)
        return np.abs(np.asarray(gap, np.float64))
    p = softened(predictions.stacked(predictions.own), several=several)
    if "teacher" in predictions.logits:
        q = softened(predictions.stacked("teacher"), several=several)
    else:
        known = predictions.known()
        q = known if several else np.eye(len(predictions.labels))[known]
    if several:  # each label is a distribution of two
        p, q = (np.stack((each, 1 - each), -1) for each in (p, q))
        return np.asarray(_divergence(p, q).sum(1))
    return _divergence(p, q)


def _divergence(p: Floats, q: Floats) -> Floats:
    """Return the Jensen-Shannon divergence over the last axis, in nats: from 0 to ln 2."""
    middle = (p + q) / 2  # scipy's jensenshannon takes a root, which is NaN where p is nearly q
    return np.asarray((rel_entr(p, middle) + rel_entr(q, middle)).sum(-1) / 2)


def _shown(predictions: Predictions, i: int, roles: Sequence[str] | None = None) -> Disagreement:
    """Return a text with the answers of these models, by default of all but what is compared."""
    text, truth, kind = predictions.texts[i], predictions.truth[i], predictions.kind
    every = predictions.logits | predictions.more
    logits = {role: every[role][i] for role in roles or predictions.logits}
    if kind == "regression":
        answers = {role: f"{float(row[0]):.2f}" for role, row in logits.items()}
        return Disagreement(text, f"{float(truth):.2f}", answers, dict.fromkeys(answers))
    names, several = np.array(predictions.labels), kind == "multilabel"
    ids = {role: row > 0 if several else row.argmax(-1) for role, row in logits.items()}
    right = {role: bool((row == truth).all()) for role, row in ids.items()}
    given: dict[str, Any] = {"truth": truth > 0 if several else truth, **ids}
    if kind == "tokens":
        # words on which the truth and all models agree are left out
        differing = [k for k in range(len(truth)) if len({int(t[k]) for t in given.values()}) > 1]
        answers = {
            role: ", ".join(f"{predictions.words[i][k]}: {names[row[k]]}" for k in differing)
            for role, row in given.items()
        }
    elif several:
        answers = {role: ", ".join(names[row]) or "none" for role, row in given.items()}
    else:
        answers = {role: f"{names[ids[role]]} {softened(row).max():.0%}"
                   for role, row in logits.items()} | {"truth": str(names[int(truth)])}  # fmt: skip
    return Disagreement(text, answers.pop("truth"), answers, right)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One text that a model answers otherwise than its teacher, or both wrongly.

    kind: "lost" (the teacher alone is right), "won" (the other alone) or "both wrong". sure: the
    least probability of the other's answers. words: the number of the text's words. slices: its
    value in each column of --slice.
    """

    kind: str
    shown: Disagreement
    sure: float
    words: int
    slices: tuple[str, ...]


def outcomes(predictions: Predictions) -> list[Outcome]:
    """Return the texts that a teacher or the model compared with it answers wrongly.

    It is the deployed export where there is one, else the student. Lost texts come first, and of
    those the surest errors. A text with several labels or tags is right when all of them are. Of
    scores, and without a teacher, the list is empty.
    """
    if predictions.kind == "regression" or "teacher" not in predictions.logits:
        return []
    roles = ("teacher", judged(predictions))
    found = []
    for i, text in enumerate(predictions.texts):
        shown = _shown(predictions, i, roles)
        first, second = (bool(shown.right[role]) for role in roles)
        if not (first and second):
            kind = "lost" if first else "won" if second else "both wrong"
            sure = _sureness((predictions.logits | predictions.more)[roles[1]][i], predictions.kind)
            values = tuple(column[i] for column in predictions.slices.values())
            outcome = Outcome(
                kind=kind, shown=shown, sure=sure, words=len(text.split()), slices=values
            )
            found.append(outcome)
    order = ("lost", "won", "both wrong")
    return sorted(found, key=lambda each: (order.index(each.kind), -each.sure))


def judged(predictions: Predictions) -> str:
    """Return the name of the model that stands for the run: deployed, or its own in torch."""
    return "deployed" if "deployed" in predictions.more else predictions.own


def _sureness(logits: NDArray[Any], kind: str) -> float:
    chances = softened(logits, several=kind == "multilabel")
    if kind == "multilabel":
        return float(np.maximum(chances, 1 - chances).min())
    return float(chances.max(-1).min()) if chances.size else 0.0


def example_index(predictions: Predictions) -> int:
    """Return the index of the text that the page shows in detail, one of 5 to 11 words.

    The teacher's probability of its answer is close to CONFIDENCE; for tags and scores, the text
    is the longest of that length.
    """
    lengths = np.array([len(re.findall(r"\w+|[^\w\s]", text)) for text in predictions.texts])
    fit = np.flatnonzero((lengths >= 5) & (lengths <= 11))
    if not len(fit):
        return int(np.argmin(np.abs(lengths - 8)))
    if predictions.kind in ("tokens", "regression"):
        return int(fit[np.argmax(lengths[fit])])
    logits = predictions.logits[predictions.guide]
    several = predictions.kind == "multilabel"
    confidence = softened(np.stack([logits[i] for i in fit]), several=several).max(1)
    return int(fit[np.argmin(np.abs(confidence - CONFIDENCE))])
