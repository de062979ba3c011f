"""Word vectors: reading them from a file, and each word's nearest neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from alembert.augmentation.variants import is_word
from alembert.io.errors import UserError

MOST = 100_000  # lines that are read, of the most frequent words, as by TinyBERT's authors
SPARE = 3  # neighbours beyond the count, since the word itself may occur as film, Film and FILM


@dataclass(frozen=True)
class Vectors:
    """Words (W) and their unit vectors (W, H); `find` returns a word's vector (H,), or None."""

    words: tuple[str, ...]
    matrix: Tensor
    find: Callable[[str], Tensor | None]


def read_vectors(path: Path) -> Vectors:
    """Read GloVe's text format, `word v1 v2 ...` a line, with or without fastText's first line.

    Raises UserError that names a line of another format.
    """
    if not path.is_file():
        raise UserError(f"--vectors {path}: no such file; check the path")
    by_word: dict[str, Any] = {}
    width = 0
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            word, *fields = line.rstrip().split(" ")
            if number == 1 and len(fields) == 1:
                continue
            width = width or len(fields)
            try:
                with np.errstate(over="ignore"):
                    vector = np.array(fields, np.float32)
            except ValueError:
                vector = np.empty(0, np.float32)
            if len(vector) != width or width < 2 or not np.isfinite(vector).all():
                numbers = f"its {width} numbers" if width > 1 else "its numbers"
                raise UserError(
                    f"{path}, line {number}: not a word and {numbers} apart by spaces; give word "
                    "vectors in GloVe's text form"
                )
            if is_word(word):
                by_word.setdefault(word, vector)
            if number > MOST:
                break
    if not by_word:
        raise UserError(f"--vectors {path}: no alphabetic word; give vectors in GloVe's text form")
    matrix = torch.from_numpy(np.stack(list(by_word.values())))

    def find(word: str) -> Tensor | None:
        vector = by_word.get(word, by_word.get(word.lower()))
        return None if vector is None else torch.from_numpy(vector)

    return Vectors(tuple(by_word), normalize(matrix), find)


def nearest(vectors: Vectors, words: Sequence[str], count: int) -> dict[str, list[str]]:
    """Return for each word the `count` others of the largest cosine, none without a vector."""
    known = [(word, vector) for word in words if (vector := vectors.find(word)) is not None]
    neighbours: dict[str, list[str]] = {word: [] for word in words}
    for start in range(0, len(known), 256):
        part = known[start : start + 256]
        cosines = torch.stack([vector for _, vector in part]) @ vectors.matrix.T
        best = cosines.topk(min(count + SPARE, len(vectors.words))).indices.tolist()
        for (word, _), row in zip(part, best, strict=True):
            neighbours[word] = others(word, [vectors.words[i] for i in row], count)
    return neighbours


def others(word: str, words: Sequence[str], count: int) -> list[str]:
    """Return the first `count` words that differ from the word in more than case."""
    return [other for other in words if other.casefold() != word.casefold()][:count]
