"""Token ids of texts, a word at a time: each word is tokenised once and then looked up.

A WordPiece tokenizer splits at every space before it does anything else, so the tokens of a text
are those of its words, one after another. That takes a twentieth of the tokenizer's own time, which
is most of what a static student needs. Whatever this cannot promise is left to the tokenizer.
"""

import json
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from alembert.io.answers import Text

Numbers = NDArray[np.int64]
KEPT = 100_000  # words that are remembered; then all are forgotten
LONGEST = 64  # characters of a word that is


class Words:
    """Rows of token ids, as a tokenizer makes them; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """tokenizer is one of which `splits_at_spaces` is true; max_length counts a row's ids."""
        self._tokenizer, self._most = tokenizer, max_length
        alone, pair = tokenizer.encode("").ids, tokenizer.encode("", "").ids
        self._begin, self._end = alone[:1], alone[1:]
        self._between = pair[1 : len(pair) - len(self._end)]
        self._known: dict[str, list[int]] = {}

    def rows(self, texts: Sequence[Text]) -> tuple[Numbers, Numbers] | None:
        """The ids (N,) of all rows, one after another, and their lengths (R,).

        Returns None where a row is longer than the tokenizer would leave it. The texts are checked
        ones. Raises TypeError for a text that is no valid Unicode.
        """
        rows = [
            [*self._begin, *self._ids(text), *self._end]
            if isinstance(text, str)
            else [*self._begin, *self._ids(text[0]), *self._between, *self._ids(text[1]),
                  *self._end]
            for text in texts
        ]  # fmt: skip
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        if lengths.max(initial=0) > self._most:
            return None
        return np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths

    def _ids(self, text: str) -> list[int]:
        known, ids = self._known, list[int]()
        for word in text.split(" "):
            found = known.get(word)
            ids += self._learnt(word) if found is None else found
        return ids

    def _learnt(self, word: str) -> list[int]:
        """The ids of a word, which are remembered from now on."""
        ids: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= LONGEST and len(ids) < self._most - 2:  # else the tokenizer may have cut it
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[word] = ids
        return ids


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer is BERT's: words of a text are tokenised each on its own."""
    state = json.loads(tokenizer.to_str())
    kinds = [(state.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer")]
    alone = all(
        not (token["lstrip"] or token["rstrip"] or token["single_word"])
        and " " not in token["content"]
        for token in state["added_tokens"]
    )
    ends = len(tokenizer.encode("").ids) == 2  # one special token on each side
    bert = kinds == ["BertNormalizer", "BertPreTokenizer"] and state["model"]["type"] == "WordPiece"
    return bert and alone and ends
