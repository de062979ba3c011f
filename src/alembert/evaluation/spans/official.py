"""Exact match and F1 of an answer as SQuAD 2.0 defines them (Rajpurkar et al. 2018, 1806.03822).

On questions that all have answers they are those of SQuAD 1.1 (1606.05250, section 6.1).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """A text in lower case, without punctuation of ASCII, English articles and further blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def scores(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """The exact match (0 or 1) and the F1 of an answer, each with the right answer that fits best.

    "" is no answer, and right where there is none or every right answer is normalised to nothing.
    """
    wanted = [text for text in map(normalized, right) if text] or [""]
    given = normalized(answer)
    return float(given in wanted), max(_f1(given.split(), each.split()) for each in wanted)


def _f1(given: list[str], right: list[str]) -> float:
    """The harmonic mean of precision and recall of words, as often as they come."""
    if not given or not right:
        return float(given == right)
    same = sum((Counter(given) & Counter(right)).values())
    return 2 * same / (len(given) + len(right))
