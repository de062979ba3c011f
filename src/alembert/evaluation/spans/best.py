"""The answers of a model to questions, or none, by the logits of their windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.data.questions.windows import Windows
from alembert.inference.spans import Floats, Part, best_of

Given = NDArray[Any] | list[NDArray[np.float32]]  # logits (T, 2) of each window


@dataclass(frozen=True)
class Found:
    """The best span of a context, and how much higher the score of "no answer" is than its own."""

    text: str
    none: float

    def answer(self, threshold: float) -> str:
        """The answer: the span, or "" where no answer is better by more than the threshold."""
        return "" if self.none > threshold else self.text


def found_in(logits: Given, data: Windows) -> list[Found]:
    """The best span of each question, by the logits (T, 2) of each window."""
    parts: list[list[Part]] = [[] for _ in data.questions]
    for i, (number, place) in enumerate(zip(data.of, data.places, strict=True)):
        parts[number].append((int(place), logits[i][data.tokens(i)], logits[i][0]))
    found = list[Found]()
    for question, windows in zip(data.questions, parts, strict=True):
        best = best_of(len(question.offsets), windows)
        if best is None:
            found.append(Found("", 0.0))
            continue
        start, end = question.offsets[best.first, 0], question.offsets[best.last, 1]
        found.append(Found(question.context[start:end], best.lead_of_none))
    return found


def best_threshold(found: Sequence[Found], spans: Floats, none: Floats) -> float:
    """The threshold of "no answer" with the highest sum of scores (the one of SQuAD 2.0's script).

    spans (N,) are the scores of the questions' best spans, and none (N,) those of no answer. It
    lies between two questions, so that a logit's last digit decides nothing.
    """
    apart = np.array([each.none for each in found])
    order = np.argsort(apart, kind="stable")
    gains = (np.asarray(spans) - np.asarray(none))[order]
    sums = np.concatenate(([0.0], gains.cumsum()))  # of answering the first n questions
    ordered = apart[order]
    edges = np.concatenate(([ordered[0] - 1], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1]))
    between = np.concatenate(([True], np.diff(ordered) > 0, [True]))
    return float(edges[np.where(between, sums, -np.inf).argmax()])
