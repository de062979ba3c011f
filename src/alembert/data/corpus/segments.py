"""Sequences of two segments, to tell whether the second follows the first (BERT, section 3.1)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.data.corpus.corpus import Corpus
from alembert.io.seeds import SEGMENTS, sequence


@dataclass(frozen=True, eq=False)
class Segmented:
    """A corpus whose sequences [CLS] text [SEP] are read as [CLS] first [SEP] second [SEP].

    A row has input_ids, token_type_ids (0 and 1) and next_sentence: 0 where the second segment is
    the next one, 1 where it is another sequence's. Half of the rows are of each kind, whatever
    their length. A row depends on (seed, its number) alone, and is as long as the corpus has it:
    its last token makes room for the [SEP] in the middle.
    """

    corpus: Corpus
    seed: int

    @property
    def lengths(self) -> Any:
        """The tokens of each row."""
        return self.corpus.lengths

    def __len__(self) -> int:
        return len(self.corpus)

    @cached_property
    def _by_length(self) -> NDArray[np.int64]:
        """The numbers of the rows, the shortest first."""
        return np.argsort(self.lengths, kind="stable")

    @cached_property
    def _ascending(self) -> NDArray[np.int64]:
        return np.asarray(self.lengths, np.int64)[self._by_length]

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids: list[int] = self.corpus[index]["input_ids"]
        text, size = ids[1:-1], len(ids) - 2
        dice = np.random.default_rng(sequence(self.seed, SEGMENTS, index))
        cut = size // 4 + int(dice.integers(size // 2 + 1))
        second, label = text[cut : size - 1], 0
        if dice.random() < 0.5 and (source := self._other(index, len(second), dice)):
            begin = int(dice.integers(len(source) - len(second) + 1))
            second, label = source[begin : begin + len(second)], 1
        return {
            "input_ids": [ids[0], *text[:cut], ids[-1], *second, ids[-1]],
            "token_type_ids": [0] * (cut + 2) + [1] * (len(second) + 1),
            "next_sentence": label,
        }

    def _other(self, index: int, least: int, dice: np.random.Generator) -> list[int]:
        """Return the tokens of another row that has so many; [] where this alone is so long."""
        first = int(np.searchsorted(self._ascending, least + 2))
        if len(self) - first < 2:
            return []
        while (other := int(self._by_length[dice.integers(first, len(self))])) == index:
            pass
        ids: list[int] = self.corpus[other]["input_ids"][1:-1]
        return ids
