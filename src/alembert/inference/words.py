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
# what stands around texts while they are one long text; half a surrogate pair is in no valid text
BEGIN, BETWEEN, END = "\ud800[begin]", "\ud800[between]", "\ud800[end]"


class Words:
    """Rows of token ids, as a tokenizer makes them; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        """tokenizer is one of which `splits_at_spaces` is true; max_length counts a row's ids."""
        self._most = max_length
        alone, pair = tokenizer.encode("").ids, tokenizer.encode("", "").ids
        around = {BEGIN: alone[:1], BETWEEN: pair[1:-1], END: alone[1:]}
        self._known = _Known(tokenizer, max_length, around)

    def rows(self, texts: Sequence[Text]) -> tuple[Numbers, Numbers] | None:
        """The ids (N,) of all rows, one after another, and their lengths (R,).

        Returns None where a row is longer than the tokenizer would leave it. The texts are checked
        ones. Raises TypeError for a text that is no valid Unicode.
        """
        if not texts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        ones = [t if isinstance(t, str) else f"{t[0]} {BETWEEN} {t[1]}" for t in texts]
        joined = f"{BEGIN} " + f" {END} {BEGIN} ".join(ones) + f" {END}"
        if joined.count("\ud800") != 2 * len(texts) + sum(not isinstance(t, str) for t in texts):
            raise TypeError("half of a surrogate pair")
        found = list(map(self._known.__getitem__, joined.split(" ")))
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        words = np.fromiter((one.count(" ") + 3 for one in ones), np.int64, len(ones))
        lengths = np.add.reduceat(sizes, np.cumsum(words) - words)
        if lengths.max() > self._most:
            return None
        return np.fromiter(chain.from_iterable(found), np.int64, int(lengths.sum())), lengths

    def sentences(self, texts: Sequence[Sequence[str]]) -> tuple[Numbers, Numbers, Numbers] | None:
        """The ids (N,) and lengths (R,) of rows, and the place (W,) of each word's first id.

        W is all words of the texts, and the place of a word without ids is -1. Returns None where
        a row is longer than the tokenizer would leave it. The texts are checked lists of words.
        Raises TypeError for a word that is no valid Unicode.
        """
        if not texts:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
        words = [word for text in texts for word in (BEGIN, *text, END)]
        if "".join(words).count("\ud800") != 2 * len(texts):
            raise TypeError("half of a surrogate pair")
        found = list(map(self._known.__getitem__, words))
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        counts = np.fromiter((len(text) + 2 for text in texts), np.int64, len(texts))
        ends = np.cumsum(counts)
        lengths = np.add.reduceat(sizes, ends - counts)
        if lengths.max() > self._most:
            return None
        places = np.where(sizes > 0, np.cumsum(sizes) - sizes, -1)
        of_texts = np.ones(len(words), bool)
        of_texts[ends - counts] = of_texts[ends - 1] = False
        ids = np.fromiter(chain.from_iterable(found), np.int64, int(lengths.sum()))
        return ids, lengths, places[of_texts]


class _Known(dict[str, list[int]]):
    """The ids of words; a word that is not there yet is tokenised, and remembered."""

    def __init__(self, tokenizer: Tokenizer, most: int, around: dict[str, list[int]]) -> None:
        super().__init__(around)
        self._tokenizer, self._most, self._around = tokenizer, most, around

    def __missing__(self, word: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= LONGEST and len(ids) < self._most - 2:  # else the tokenizer may have cut it
            if len(self) >= KEPT:
                self.clear()
                self.update(self._around)
            self[word] = ids
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
