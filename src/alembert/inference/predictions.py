"""What a model answers, typed, and how it is made of the numbers that leave the graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.io.answers import Classification, Labels, Score, Tag

Floats = NDArray[np.float32]


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities, which add up to 1 over the last dimension."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    found: NDArray[np.float64] = shifted / shifted.sum(-1, keepdims=True)
    return found


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities, each for itself."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    found: NDArray[np.float64] = np.where(logits > 0, 1.0, small) / (1 + small)
    return found  # of both halves the form that cannot overflow


def classified(logits: Floats, labels: Sequence[str]) -> list[Classification]:
    """logits: (N, C)."""
    rows = softmax(logits)
    return [
        Classification(labels[best], row[best], dict(zip(labels, row, strict=True)))
        for best, row in zip(logits.argmax(1).tolist(), rows.tolist(), strict=True)
    ]


def labelled(logits: Floats, labels: Sequence[str]) -> list[Labels]:
    """logits: (N, C), each a label of its own."""
    found = []
    for row in sigmoid(logits).tolist():
        order = sorted(range(len(row)), key=lambda i: -row[i])
        chosen = tuple(labels[i] for i in order if row[i] > 0.5)
        found.append(Labels(chosen, dict(zip(labels, row, strict=True))))
    return found


def scored(logits: Floats) -> list[Score]:
    """logits: (N, 1)."""
    return [Score(value) for value in logits.reshape(-1).tolist()]


def surest(logits: Floats) -> list[tuple[int, float]]:
    """logits: (N, C) -> per row the likeliest column with its probability."""
    chances = softmax(logits).max(1)
    return list(zip(logits.argmax(1).tolist(), chances.tolist(), strict=True))


def likeliest(logits: Floats, top: int) -> list[list[tuple[int, float]]]:
    """logits: (N, V) -> per row the `top` columns with their probabilities, best first."""
    return [_likeliest(row, min(top, logits.shape[1])) for row in logits]  # V is large: row by row


def _likeliest(row: Floats, top: int) -> list[tuple[int, float]]:
    some = np.argpartition(row, -top)[-top:]
    some = some[np.argsort(-row[some], kind="stable")]
    highest = row[some[0]]
    chances = np.exp(row[some] - highest) / np.exp(row - highest).sum(dtype=np.float64)
    return list(zip(some.tolist(), chances.tolist(), strict=True))


def spans_of(text: str, words: Sequence[Tag]) -> tuple[Tag, ...]:
    """Neighbouring words of one kind put together, as seqeval counts: an I- may begin a span."""
    runs: list[list[Tag]] = []
    previous = ""
    for word in words:
        label = word.label or "O"
        kind, was = label[2:], previous[2:]
        if label != "O":
            if label[0] in "BS" or kind != was or previous[:1] in ("E", "S", "O", ""):
                runs.append([])
            runs[-1].append(word)
        previous = label
    return tuple(_span(text, run) for run in runs)


def _span(text: str, run: Sequence[Any]) -> Tag:
    start, end = run[0].start, run[-1].end
    return Tag(text[start:end], run[0].label[2:], start, end, min(word.score for word in run))
