"""Sequences of two segments, to tell whether the second follows the first (BERT, section 3.1)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from alembert.data.corpus.corpus import Corpus
from alembert.io.seeds import SEGMENTS, sequence

LEAST = 4  # tokens, without special ones, of a sequence that is cut in two
TRIES = 5  # sequences that are drawn until one is long enough


@dataclass(frozen=True, eq=False)
class Segmented:
    """A corpus whose sequences [CLS] text [SEP] are read as [CLS] first [SEP] second [SEP].

    A row has input_ids, token_type_ids (0 and 1) and next_sentence: 0 where the second segment is
    the next one, 1 where it is another sequence's, and -100 in a text of under LEAST tokens, which
    stays whole. Half of the rows are of each kind. A row depends on (seed, its number) alone, and
    is as long as the corpus has it: its last token makes room for the [SEP] in the middle.
    """

    corpus: Corpus
    seed: int

    @property
    def lengths(self) -> Any:
        """The tokens of each row."""
        return self.corpus.lengths

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids: list[int] = self.corpus[index]["input_ids"]
        text, size = ids[1:-1], len(ids) - 2
        if size < LEAST:
            return {"input_ids": ids, "token_type_ids": [0] * len(ids), "next_sentence": -100}
        dice = np.random.default_rng(sequence(self.seed, SEGMENTS, index))
        cut = size // 4 + int(dice.integers(size // 2 + 1))
        second, label = text[cut : size - 1], 0
        if dice.random() < 0.5:
            for other in dice.integers(len(self), size=TRIES).tolist():
                source = self.corpus[other]["input_ids"][1:-1]
                spare = len(source) - len(second)
                if other != index and spare >= 0:
                    begin = int(dice.integers(spare + 1))
                    second, label = source[begin : begin + len(second)], 1
                    break
        return {
            "input_ids": [ids[0], *text[:cut], ids[-1], *second, ids[-1]],
            "token_type_ids": [0] * (cut + 2) + [1] * (len(second) + 1),
            "next_sentence": label,
        }
