"""The best span of a question's context, or none, by the logits of its windows.

Shape letters here: M tokens of a whole context, T of a window, L of the longest answer. A token's
logits are the largest that any of its windows gives, so that a span may end in another window than
it begins in, and where windows begin makes no difference to equal logits of a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.data.questions.windows import Windows

LONGEST = 30  # tokens of an answer, as in BERT's code

Floats = NDArray[np.floating]
Given = NDArray[Any] | list[NDArray[np.float32]]  # logits (T, 2) of each window


@dataclass(frozen=True)
class Found:
    """The best span of a context, and how much higher the score of "no answer" is than its own."""

    text: str
    none: float

    def answer(self, threshold: float) -> str:
        """The answer: the span, or "" where no answer is better by more than the threshold."""
        return "" if self.none > threshold else self.text


def best_span(start: Floats, end: Floats, most: int = LONGEST) -> tuple[int, int, float]:
    """The first and last token (M,) of the highest sum of start and end, and that sum.

    The span has at most so many tokens; of equal sums the first and shortest is taken.
    """
    count = len(start)
    sums = np.full((count, min(most, count)), -np.inf)
    for more in range(sums.shape[1]):
        sums[: count - more, more] = start[: count - more] + end[more:]
    first, longer = divmod(int(sums.argmax()), sums.shape[1])
    return first, first + longer, float(sums[first, longer])


def found_in(logits: Given, data: Windows) -> list[Found]:
    """The best span of each question, by the logits (T, 2) of each window.

    The score of "no answer" is that of the window in which it is lowest: an answer there is enough.
    """
    tokens = [np.full((len(each.offsets), 2), -np.inf) for each in data.questions]
    none = np.full(len(data.questions), np.inf)
    for i, (number, place) in enumerate(zip(data.of, data.places, strict=True)):
        inside = logits[i][data.tokens(i)].astype(np.float64)
        part = tokens[number][place : place + len(inside)]
        np.maximum(part, inside, out=part)
        none[number] = min(none[number], float(logits[i][0].astype(np.float64).sum()))
    found = list[Found]()
    for question, inside, score in zip(data.questions, tokens, none.tolist(), strict=True):
        if not len(inside):
            found.append(Found("", 0.0))
            continue
        first, last, best = best_span(inside[:, 0], inside[:, 1])
        text = question.context[question.offsets[first, 0] : question.offsets[last, 1]]
        found.append(Found(text, score - best))
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
