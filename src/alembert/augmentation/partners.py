"""New pairs of the texts there are: each text with the nearest one of another row.

A variant of a pair differs from it in a few words. Such a pair is as near as two texts of the data
that do not belong together, so that a student sees what tells those apart that do.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

ROWS = 256  # whose similarities to all others are held at once


def partners(
    first: Sequence[str], second: Sequence[str], count: int
) -> Iterator[tuple[int, str, str]]:
    """Yield further pairs as (row, first text, second text), each once, in the order of the rows.

    They are the first text of a row with the `count` second texts of others that are nearest to it
    by TF-IDF, and its second text with the nearest first texts. A text without a word that another
    row has, too, is left alone.
    """
    seen = set(zip(first, second, strict=True))
    try:
        words = TfidfVectorizer(sublinear_tf=True).fit([*first, *second])
    except ValueError:  # no word of two letters
        return
    vectors = words.transform(first), words.transform(second)
    near_first = _nearest(vectors[0], vectors[1], 2 * count + 1)
    near_second = _nearest(vectors[1], vectors[0], 2 * count + 1)
    for row, near in enumerate(zip(near_first, near_second, strict=True)):
        pairs = (
            [(first[row], second[other]) for other in near[0]],
            [(first[other], second[row]) for other in near[1]],
        )
        for found in pairs:
            new = [pair for pair in dict.fromkeys(found) if pair not in seen][:count]
            seen.update(new)
            yield from ((row, *pair) for pair in new)


def _nearest(asked: csr_matrix, among: csr_matrix, count: int) -> Iterator[NDArray[np.int64]]:
    """Yield for each row of `asked` the nearest `count` rows of `among` but its own, at most."""
    for start in range(0, asked.shape[0], ROWS):
        near = (asked[start : start + ROWS] @ among.T).toarray()
        near[np.arange(len(near)), np.arange(start, start + len(near))] = 0
        for row in near:
            order = np.argsort(-row, kind="stable")[:count]
            yield order[row[order] > 0]
