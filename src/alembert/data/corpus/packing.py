"""Paragraphs of token ids -> sequences that fit: arithmetic on arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORTEST = 12  # DistilBERT's: tokens of a sequence that is kept, special ones counted
Ids = NDArray[Any]  # uint16 or uint32


def pack(lengths: Iterable[int], room: int, held: int = 0) -> tuple[list[int], int]:
    """Paragraphs of these lengths, one after another -> lengths of sequences, tokens left over.

    Whole paragraphs share a sequence while they fit in `room` tokens; longer ones are cut. A
    paragraph of no tokens ends a document; no sequence spans two. `held`: what was left over of
    the paragraphs before.
    """
    packed: list[int] = []
    for length in lengths:
        if held and (not length or held + length > room):
            packed.append(held)
            held = 0
        if held:
            held += length
        else:
            packed.extend([room] * (length // room))
            held = length % room
    return packed, held


@dataclass(frozen=True)
class Frame:
    """The ids of [CLS], [SEP] and [UNK]; a tokenizer may lack the last."""

    first: int
    last: int
    unknown: int | None

    def around(self, ids: Ids, lengths: list[int]) -> tuple[Ids, NDArray[np.int32], dict[str, int]]:
        """Sequences between special tokens, their lengths, and reason -> how many were dropped.

        ids (sum of lengths,): the sequences one after another. Dropped are those of under 12
        tokens and those half or more unknown (DistilBERT).
        """
        sizes = np.array(lengths, np.int32) + 2
        ends = np.cumsum(sizes, dtype=np.int64)
        starts = ends - sizes
        framed = np.empty(int(sizes.sum()), ids.dtype)
        inner = np.ones(len(framed), bool)
        inner[starts] = inner[ends - 1] = False
        framed[inner] = ids
        framed[starts], framed[ends - 1] = self.first, self.last
        short = sizes < SHORTEST
        before = np.concatenate(([0], np.cumsum(framed == self.unknown)))
        foreign = ~short & (2 * (before[ends] - before[starts]) >= sizes)
        kept = ~(short | foreign)
        dropped = {
            f"under {SHORTEST} tokens": int(short.sum()),
            "half or more unknown": int(foreign.sum()),
        }
        return framed[np.repeat(kept, sizes)], sizes[kept], {k: n for k, n in dropped.items() if n}
