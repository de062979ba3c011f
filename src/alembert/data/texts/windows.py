"""Long texts as windows: rows of token ids that overlap, several of a text.

A session reads long texts in the same windows. Each window is learnt from as a row with its text's
label; a model's logits of a text are the mean of its windows', weighted by their tokens. A word has
its tag in the one window where it has the most context on its shorter side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import BatchEncoding, PreTrainedTokenizerBase

from alembert.data.encoded import IGNORED, Encoded, in_parts, tokens_of
from alembert.io.answers import places_in_windows, too_long_for_windows, windows_share
from alembert.io.errors import UserError


@dataclass(eq=False, repr=False, kw_only=True)
class TextWindows(Encoded):
    """Windows of texts; of (N,) has the number of each one's text.

    The windows of a text lie one after the other, in its order. own says of each token whether it
    is of a word that has its tag in this window, or its text's first; without tags it is None.
    """

    of: NDArray[np.int64]
    own: NDArray[np.bool_] | None = None
    repeated: int = 0  # tokens of a window that the one before has, and special ones

    @property
    def texts(self) -> NDArray[np.int64]:
        return self.of

    @property
    def starts(self) -> NDArray[np.int64]:
        """The numbers of the first windows of texts, (texts,)."""
        return np.flatnonzero(np.diff(self.of, prepend=-1))

    @property
    def whole(self) -> Encoded:
        """The texts, a row each: the tokens of all its windows, of tags each word's once."""
        starts, own = self.starts, slice(None) if self.own is None else self.own
        lengths = np.asarray(self.lengths, np.int64)
        if self.own is not None:
            lengths = np.add.reduceat(self.own.astype(np.int64), self.offsets[:-1])
        return Encoded(
            input_ids=self.input_ids[own],
            lengths=np.add.reduceat(lengths, starts).tolist(),
            labels=self.labels[own] if self.per_token else self.labels[starts],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[own],
            per_token=self.per_token,
            unseen=self.unseen,
        )

    @property
    def beginnings(self) -> Encoded:
        """The first window of each text alone."""
        first = self.take(self.starts)
        return Encoded(**{field.name: getattr(first, field.name) for field in fields(Encoded)})

    @property
    def sizes(self) -> NDArray[np.int64]:
        lengths, starts = np.asarray(self.lengths, np.int64), self.starts
        windows = np.diff(np.append(starts, len(self)))
        sizes = np.add.reduceat(lengths, starts) - (windows - 1) * self.repeated
        # of two long texts windows repeat more than that
        longest: NDArray[np.int64] = np.maximum(sizes, np.maximum.reduceat(lengths, starts))
        return longest

    def of_texts(self, texts: NDArray[np.int64]) -> "TextWindows":
        """The windows of these texts, whose numbers ascend."""
        return self.take(np.flatnonzero(np.isin(self.of, texts)))

    def joined(self, logits: Sequence[NDArray[np.float32]]) -> Any:
        """Logits (texts, C), or for tags (T, C) of the tokens of `whole`, of all windows'."""
        starts = self.starts
        if self.own is not None:
            bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
            parts = [row[self.own[a:b]] for row, (a, b) in zip(logits, bounds, strict=True)]
            ends = [*starts[1:].tolist(), len(self)]
            texts = zip(starts.tolist(), ends, strict=True)
            return [np.concatenate(parts[start:end]) for start, end in texts]
        weights = np.asarray(self.lengths, np.float32)[:, None]
        sums = np.add.reduceat(np.stack(logits) * weights, starts)
        return (sums / np.add.reduceat(weights, starts)).astype(np.float32)

    def take(self, rows: NDArray[np.int64]) -> "TextWindows":
        """Each of these windows once, in this order."""
        taken, own = super().take(rows), self.own
        assert isinstance(taken, TextWindows)
        if own is not None:
            bounds = zip(self.offsets[rows], self.offsets[rows + 1], strict=True)
            own = np.concatenate([own[a:b] for a, b in bounds])
        return replace(taken, of=self.of[rows], own=own)

    @classmethod
    def further(cls, parts: Sequence[Encoded]) -> dict[str, Any]:
        windows = [part for part in parts if isinstance(part, TextWindows)]
        before = np.cumsum([0, *(int(part.of.max(initial=-1)) + 1 for part in windows)])
        own = [part.own for part in windows if part.own is not None]
        return {
            "of": np.concatenate([p.of + n for p, n in zip(windows, before, strict=False)]),
            "own": np.concatenate(own) if own else None,
        }


def tokenize_windows(
    texts: list[Any],
    pairs: list[Any] | None,
    labels: Any,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    words: bool,
    source: str,
) -> TextWindows:
    """Encodes texts, or lists of words if `words`, into windows of at most max_length tokens.

    labels has a label a text, or a list of label ids for the words of each. Raises UserError for a
    pair of two long texts, whose windows would all be paired with each other.
    """
    specials = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length - specials < 2:
        raise UserError(f"--max-length {max_length}: a window needs {specials + 2} tokens or more")
    for pair in zip(texts, pairs, strict=True) if pairs else ():
        if too_long_for_windows(pair, max_length):
            raise UserError(
                f"{source}: both texts of the pair {pair[0][:30]!r} ... are too long for windows: "
                "cut them, or leave --windows out"
            )
    share = windows_share(max_length, specials)
    repeated = share + tokenizer.num_special_tokens_to_add(pair=pairs is not None)

    def part(batch: BatchEncoding, span: slice) -> TextWindows:
        tokens, own = tokens_of(batch), None
        of = np.array(batch["overflow_to_sample_mapping"], np.int64)
        if words:
            found, own = _tags(batch.encodings or (), of, labels[span])
        else:
            found = labels[span][of]
        return TextWindows(
            **tokens, labels=found, per_token=words, of=of, own=own, repeated=repeated
        )

    side = tokenizer.truncation_side
    tokenizer.truncation_side = "right"  # windows begin where the text does
    try:
        whole = in_parts(
            texts, pairs, part, tokenizer, max_length, words, stride=share,
            return_overflowing_tokens=True,
        )  # fmt: skip
    finally:
        tokenizer.truncation_side = side
    assert isinstance(whole, TextWindows)
    return whole


def _tags(
    windows: Sequence[Encoding], of: NDArray[np.int64], labels: Sequence[list[int]]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The labels of the tokens of all windows, and whether each is of a word with a tag there."""
    tags = [np.full(len(window), IGNORED, np.int32) for window in windows]
    own = [np.zeros(len(window), bool) for window in windows]
    for row in np.flatnonzero(np.diff(of, prepend=-1)).tolist():
        own[row][0] = True  # so that a text without a token of a word has one, too
    keys = [window.word_ids for window in windows]
    places = places_in_windows(keys, of.tolist(), len(labels))
    for words, known in zip(places, labels, strict=True):
        for word, (row, column) in words.items():
            tags[row][column] = known[word]
            while column < len(keys[row]) and keys[row][column] == word:
                own[row][column] = True
                column += 1
    return np.concatenate(tags), np.concatenate(own)
