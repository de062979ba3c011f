"""Packs paragraphs of token ids into sequences of bounded length."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST = 12  # the least tokens of a sequence, special ones included (DistilBERT)
Ids = NDArray[np.uint16 | np.uint32]


def pack(lengths: Iterable[int], size: int, open_tokens: int = 0) -> tuple[list[int], int]:
    """The lengths of the sequences that paragraphs of these lengths fill, and the tokens left over.

    Paragraphs share a sequence while they fit in `size` tokens, and longer ones are cut. A
    paragraph without tokens ends a document; no sequence spans two. `open_tokens` are left over
    from the paragraphs before.
    """
    packed: list[int] = []
    for length in lengths:
        if open_tokens and (not length or open_tokens + length > size):
            packed.append(open_tokens)
            open_tokens = 0
        if open_tokens:
            open_tokens += length
        else:
            packed.extend([size] * (length // size))
            open_tokens = length % size
    return packed, open_tokens


@dataclass(frozen=True)
class Frame:
    """The ids of [CLS], [SEP] and [UNK]; a tokenizer may lack the last."""

    first: int
    last: int
    unknown: int | None

    def around(self, ids: Ids, lengths: list[int]) -> tuple[Ids, NDArray[np.int32], dict[str, int]]:
        """Adds special tokens; returns the sequences, their lengths, and {reason: number dropped}.

        ids (sum of lengths,) are the sequences one after another. Sequences under 12 tokens, and
        those with half or more unknown tokens, are dropped (DistilBERT).
        """
        sizes = np.array(lengths, np.int32) + 2
        ends = np.cumsum(sizes, dtype=np.int64)
        starts = ends - sizes
        framed = np.empty(int(sizes.sum()), ids.dtype)
        is_text = np.ones(len(framed), bool)
        is_text[starts] = is_text[ends - 1] = False
        framed[is_text] = ids
        framed[starts], framed[ends - 1] = self.first, self.last
        short = sizes < SHORTEST
        before = np.concatenate(([0], np.cumsum(framed == self.unknown)))
        unknown = ~short & (2 * (before[ends] - before[starts]) >= sizes)
        keep = ~(short | unknown)
        dropped = {
            f"under {SHORTEST} tokens": int(short.sum()),
            "half or more unknown": int(unknown.sum()),
        }
        return framed[np.repeat(keep, sizes)], sizes[keep], {k: n for k, n in dropped.items() if n}
