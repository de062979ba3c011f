"""The best span of a context by the logits of its windows, which numpy finds.

Shape letters here: M tokens of a whole context, K of its tokens in a window. A token's logits are
the largest that any of its windows gives, so that a span may end in another window than it begins
in, and where windows begin makes no difference to equal logits of a token.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 30  # tokens of an answer, as in BERT's code

Floats = NDArray[np.floating]
Part = tuple[int, Floats, Floats]  # of a window: place of its first token, (K, 2), (2,) of none


@dataclass(frozen=True)
class Best:
    """The first and last token of the best span, and the logits that it was found by.

    tokens are (M, 2), and none (2,) those of "no answer", in the window where they are lowest: an
    answer in one window is enough.
    """

    first: int
    last: int
    tokens: Floats
    none: Floats

    @property
    def lead_of_none(self) -> float:
        """How much higher the score of "no answer" is than the span's."""
        best = self.tokens[self.first, 0] + self.tokens[self.last, 1]
        return float(self.none.sum() - best)

    def probability(self, of_none: bool) -> float:
        """The probability of the span, or of none: that of its start times that of its end."""
        both = np.concatenate((self.none[None], self.tokens))
        log_sum = np.logaddexp.reduce(both, axis=0)
        chosen = self.none
        if not of_none:
            chosen = np.array([self.tokens[self.first, 0], self.tokens[self.last, 1]])
        return float(np.exp((chosen - log_sum).sum()))


def best_span(start: Floats, end: Floats, most: int = LONGEST) -> tuple[int, int]:
    """The first and last token (M,) of the highest sum of start and end.

    The span has at most so many tokens; of equal sums the first and shortest is taken.
    """
    count = len(start)
    sums = np.full((count, min(most, count)), -np.inf)
    for more in range(sums.shape[1]):
        sums[: count - more, more] = start[: count - more] + end[more:]
    first, longer = divmod(int(sums.argmax()), sums.shape[1])
    return first, first + longer


def best_of(count: int, parts: Iterable[Part]) -> Best | None:
    """The best span of a context of so many tokens by its windows; None of one without tokens."""
    tokens, none = np.full((count, 2), -np.inf), np.full(2, np.inf)
    for place, inside, first in parts:
        part = tokens[place : place + len(inside)]
        np.maximum(part, inside, out=part)
        if first.sum(dtype=np.float64) < none.sum():
            none = first.astype(np.float64)
    return Best(*best_span(tokens[:, 0], tokens[:, 1]), tokens, none) if count else None
