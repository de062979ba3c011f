"""Turns the logits of a graph into typed answers."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from alembert.io.answers import Guess, Labels, Prediction, Score, Tag, predicted

Floats = NDArray[np.float32]


def softmax(logits: Floats | NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that add up to 1 over the last dimension, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(-1, keepdims=True)
    return probabilities


def sigmoid(logits: Floats | NDArray[np.float64]) -> NDArray[np.float64]:
    """Independent probabilities, in float64."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    probabilities: NDArray[np.float64] = np.where(logits > 0, 1.0, small) / (1 + small)
    return probabilities  # of both halves the form that cannot overflow


def probabilities(kind: str, logits: Floats) -> Floats | NDArray[np.float64]:
    """The probabilities of logits (N, C) of a kind of model; of a regression the logits."""
    if kind == "regression":
        return logits
    return sigmoid(logits) if kind == "multilabel" else softmax(logits)


def ranking(logits: Floats) -> NDArray[np.intp]:
    """The columns of logits (N, C), the highest first and the first of equals first."""
    return np.argsort(-logits, axis=-1, kind="stable")


def predictions(
    kind: str, logits: Floats, labels: Sequence[str]
) -> list[Prediction | Labels | Score]:
    """The Prediction, Labels or Score of each row of logits (N, C)."""
    # several labels are told in their order, and of others the first alone
    orders = ranking(logits) if kind == "multilabel" else logits.argmax(-1, keepdims=True)
    rows = zip(probabilities(kind, logits).tolist(), orders.tolist(), strict=True)
    return [
        predicted(kind, dict(zip(labels, scores, strict=True)), [labels[i] for i in order])
        for scores, order in rows
    ]


def surest(logits: Floats) -> list[tuple[int, float]]:
    """The most probable column of each row of logits (N, C), and its probability."""
    probabilities = softmax(logits).max(1)
    return list(zip(logits.argmax(1).tolist(), probabilities.tolist(), strict=True))


def likeliest(logits: Floats, top: int) -> list[list[tuple[int, float]]]:
    """The `top` most probable columns of each row of logits (N, V), with their probabilities."""
    return [_likeliest(row, min(top, logits.shape[1])) for row in logits]  # V is large: row by row


def _likeliest(row: Floats, top: int) -> list[tuple[int, float]]:
    columns = np.argpartition(row, -top)[-top:]
    columns = columns[np.argsort(-row[columns], kind="stable")]
    highest = row[columns[0]]
    probabilities = np.exp(row[columns] - highest) / np.exp(row - highest).sum(dtype=np.float64)
    return list(zip(columns.tolist(), probabilities.tolist(), strict=True))


def guesses(logits: Floats, top: int, word: Callable[[int], str]) -> list[list[Guess]]:
    """The `top` most probable tokens of each mask's logits (N, V); word names a token's id."""
    return [[Guess(word(token), score) for token, score in row] for row in likeliest(logits, top)]


def spans_of(text: str, words: Sequence[Tag]) -> tuple[Tag, ...]:
    """The spans of words with tags, as seqeval counts them: an I- may begin a span."""
    runs: list[list[Tag]] = []
    previous = ""
    for word in words:
        label = word.label or "O"
        kind, previous_kind = label[2:], previous[2:]
        if label != "O":
            if label[0] in "BS" or kind != previous_kind or previous[:1] in ("E", "S", "O", ""):
                runs.append([])
            runs[-1].append(word)
        previous = label
    return tuple(_span(text, run) for run in runs)


def _span(text: str, run: Sequence[Tag]) -> Tag:
    start, end, label = run[0].start, run[-1].end, run[0].label or ""
    score = min(word.score for word in run)
    return Tag(text=text[start:end], label=label[2:], start=start, end=end, score=score)
