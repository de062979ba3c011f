"""What is worth looking at in a judgement, as plain numbers: errors, classes, disagreements."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from seqeval.metrics import classification_report
from sklearn.metrics import confusion_matrix, f1_score

from alembert.data.tasks import is_bio
from alembert.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
TEMPERATURES = (1, 2, 4, 8)
SURE = 0.85  # of its answer: softened, that goes from nearly all to a little more than the rest


def softened(logits: NDArray[Any], temperature: float = 1.0, several: bool = False) -> Floats:
    """Probabilities over the last axis; of several labels, each label's own."""
    scaled = logits.astype(np.float64) / temperature
    if several:
        return 1 / (1 + np.exp(-scaled))
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def said(found: Predictions, who: str) -> NDArray[Any]:
    """What a model answers: (N,) ids or scores, or (N, C) 0/1 of several labels."""
    logits = found.stacked(who)
    if found.kind == "multilabel":
        return (logits > 0).astype(int)
    return logits[:, 0] if found.kind == "regression" else logits.argmax(1)


def confusion(found: Predictions, who: str) -> NDArray[np.int64]:
    """(C, C) counts: rows what is true, columns what a model says."""
    names = range(len(found.labels))
    return np.asarray(confusion_matrix(found.known(), said(found, who), labels=names))


@dataclass(frozen=True)
class Mixed:
    """A class taken for another, and how often by each model."""

    true: str
    said: str
    counts: dict[str, int]
    of: int  # texts of the true class


def mixed_up(found: Predictions, most: int = 15) -> list[Mixed]:
    """The pairs that the student mixes up most often, by the share of the true class."""
    counts = {who: confusion(found, who) for who in found.logits}
    wrong = counts[found.own] / np.maximum(counts[found.own].sum(1, keepdims=True), 1)
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(wrong, axis=None, kind="stable")[::-1][:most]
    pairs = [divmod(int(place), len(found.labels)) for place in worst if wrong.flat[place]]
    return [
        Mixed(
            found.labels[true],
            found.labels[taken],
            {who: int(table[true, taken]) for who, table in counts.items()},
            int(counts[found.own][true].sum()),
        )
        for true, taken in pairs
    ]


@dataclass(frozen=True)
class Class:
    """F1 of one label (of tags: of one kind of span) by each model; `of`: how often it is true."""

    name: str
    f1: dict[str, float]
    of: int

    @property
    def lost(self) -> float:
        """How much of the teacher's F1 the student lost; of one model, what is missing to 1."""
        return self.f1.get("teacher", 1.0) - self.f1.get("student", self.f1.get("model", 0.0))


def classes(found: Predictions) -> list[Class]:
    """Every label that is true somewhere, the one that lost most first."""
    if found.kind == "tokens" and is_bio(found.labels):
        rows = _spans(found)
    else:
        known, names = found.known().astype(int), range(len(found.labels))
        f1 = {
            who: f1_score(known, said(found, who), average=None, labels=names, zero_division=0)
            for who in found.logits
        }
        several = found.kind == "multilabel"
        support = known.sum(0) if several else np.bincount(known, minlength=len(found.labels))
        rows = [
            Class(name, {who: float(f1[who][c]) for who in f1}, int(support[c]))
            for c, name in enumerate(found.labels)
        ]
    return sorted((row for row in rows if row.of), key=lambda row: -row.lost)


def _spans(found: Predictions) -> list[Class]:
    names = np.array(found.labels)
    true = [names[row].tolist() for row in found.truth]
    reports = {
        who: classification_report(
            true, [names[row.argmax(1)].tolist() for row in rows], output_dict=True, zero_division=0
        )
        for who, rows in found.logits.items()
    }
    kinds = [name for name in reports[found.own] if not re.fullmatch(r"\w+ avg", name)]
    return [
        Class(
            kind,
            {
                who: float(report.get(kind, {}).get("f1-score", 0))
                for who, report in reports.items()
            },
            int(reports[found.own][kind]["support"]),
        )
        for kind in kinds
    ]


@dataclass(frozen=True)
class Apart:
    """One text, its truth, and what each model says of it with how sure it is (or the score)."""

    text: str
    truth: str
    answers: dict[str, str]
    right: Mapping[str, bool | None]


def apart(found: Predictions, most: int = 12) -> list[Apart]:
    """Texts where student and teacher differ most; of one model, where it is furthest from right.

    By Jensen-Shannon divergence of the two distributions, summed over several labels and over
    the words that they tag differently; of scores, by their difference.
    """
    if found.kind == "tokens":
        other = said(found, "teacher") if "teacher" in found.logits else found.known()
        differ = _distance(found) * (said(found, found.own) != other)
        parts = np.split(differ, np.cumsum([len(t) for t in found.truth])[:-1])
        distances = np.array([part.sum() for part in parts])
    else:
        distances = _distance(found)
    worst = np.argsort(-distances, kind="stable")[:most]
    return [_shown(found, int(i)) for i in worst if distances[i] > 0]


def _distance(found: Predictions) -> Floats:
    several = found.kind == "multilabel"
    student, known = found.stacked(found.own), found.known()
    if found.kind == "regression":
        other = found.stacked("teacher")[:, 0] if "teacher" in found.logits else known
        return np.abs(np.asarray(student[:, 0] - other, np.float64))
    here = softened(student, several=several)
    if "teacher" in found.logits:
        there = softened(found.stacked("teacher"), several=several)
    else:
        there = known if several else np.eye(len(found.labels))[known]
    if several:  # each label is a distribution of two
        here, there = (np.stack((each, 1 - each), -1) for each in (here, there))
        return np.asarray(_divergence(here, there).sum(1))
    return _divergence(here, there)


def _divergence(p: Floats, q: Floats) -> Floats:
    """Jensen-Shannon divergence over the last axis, in nats: 0 for equals, ln 2 at most."""
    middle = (p + q) / 2
    parts = [np.where(x > 0, x * np.log(np.maximum(x, 1e-300) / middle), 0) for x in (p, q)]
    return np.asarray((parts[0] + parts[1]).sum(-1) / 2)


def _shown(found: Predictions, i: int) -> Apart:
    text, truth = found.texts[i], found.truth[i]
    if found.kind == "regression":
        scores = {who: float(rows[i][0]) for who, rows in found.logits.items()}
        answers = {who: f"{score:.2f}" for who, score in scores.items()}
        return Apart(text, f"{float(truth):.2f}", answers, dict.fromkeys(answers))
    if found.kind == "tokens":
        names = np.array(found.labels)
        ids = {who: rows[i].argmax(1) for who, rows in found.logits.items()}
        told = {"truth": truth, **ids}
        # what is the same for all is not worth a line
        places = [k for k in range(len(truth)) if len({int(t[k]) for t in told.values()}) > 1]
        lines = {
            who: ", ".join(f"{found.words[i][k]}: {names[row[k]]}" for k in places)
            for who, row in told.items()
        }
        right = {who: bool((row == truth).all()) for who, row in ids.items()}
        return Apart(text, lines.pop("truth"), lines, right)
    if found.kind == "multilabel":
        names = np.array(found.labels)
        ids = {who: rows[i] > 0 for who, rows in found.logits.items()}
        answers = {who: ", ".join(names[row]) or "none" for who, row in ids.items()}
        right = {who: bool((row == (truth > 0)).all()) for who, row in ids.items()}
        return Apart(text, ", ".join(names[truth > 0]) or "none", answers, right)
    sure = {who: softened(rows[i]) for who, rows in found.logits.items()}
    answers = {who: f"{found.labels[int(p.argmax())]} {p.max():.0%}" for who, p in sure.items()}
    right = {who: int(p.argmax()) == int(truth) for who, p in sure.items()}
    return Apart(text, found.labels[int(truth)], answers, right)


def typical(found: Predictions) -> int:
    """The text to look at closely: of a length that can be read, and the teacher sure, not certain.

    Of tags and of scores, the longest one that still fits.
    """
    lengths = np.array([len(re.findall(r"\w+|[^\w\s]", text)) for text in found.texts])
    fit = np.flatnonzero((lengths >= 5) & (lengths <= 11))
    if not len(fit):
        return int(np.argmin(np.abs(lengths - 8)))
    if found.kind in ("tokens", "regression"):
        return int(fit[np.argmax(lengths[fit])])
    logits = found.logits[found.guide]
    sure = softened(np.stack([logits[i] for i in fit]), several=found.kind == "multilabel").max(1)
    return int(fit[np.argmin(np.abs(sure - SURE))])
