"""Encoded rows: the token ids and labels of a data set in a few flat arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import BatchEncoding, PreTrainedTokenizerBase

from alembert.io.errors import UserError
from alembert.io.progress import Work

IGNORED = -100  # the label that cross entropy ignores


@dataclass(eq=False, repr=False, kw_only=True)
class Encoded(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of token ids with their labels, four bytes a token.

    `lengths` has the tokens of each row and `truncated` is the number of rows that were cut.
    `labels` are (N,) class ids or scores, (N, C) 0/1, or, when `per_token`, one id a token for all
    rows one after another. A missing label is -100, or NaN where labels are floats. `unseen` are
    labels that the task has not, which no model can predict: their ids follow those of the task.
    """

    whole_by: ClassVar[str] = "--max-length or --windows"  # the options that read all of a text
    input_ids: NDArray[np.int32]
    lengths: list[int]
    labels: NDArray[Any]
    token_type_ids: NDArray[np.int8] | None = None
    per_token: bool = False
    truncated: int = 0
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.offsets = np.concatenate(([0], np.cumsum(self.lengths, dtype=np.int64)))

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether each row, or each token when `per_token`, has its label: bool (N,)."""
        there: NDArray[np.bool_] = self.labels != IGNORED
        if self.labels.dtype.kind == "f":
            there = ~np.isnan(self.labels.reshape(len(self), -1)).any(1)
        return there

    @property
    def texts(self) -> NDArray[np.int64]:
        """The number of the text that each row is of, (N,): of windows several have the same."""
        return np.arange(len(self))

    @property
    def count(self) -> int:
        """The number of texts."""
        return len(np.unique(self.texts))

    @property
    def whole(self) -> "Encoded":
        """The rows, of which windows become one for each text."""
        return self

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The tokens of each text; of windows without those that they repeat."""
        return np.asarray(self.lengths, np.int64)

    @property
    def beginnings(self) -> "Encoded":
        """The rows, of which of windows the first of each text stays."""
        return self

    def of_texts(self, texts: NDArray[np.int64]) -> "Encoded":
        """The rows of these texts, whose numbers ascend."""
        return self.take(texts)

    def joined(self, logits: Sequence[NDArray[np.float32]]) -> Any:
        """Logits (N, C), or a list of (T, C) when `per_token`, of those of the rows."""
        return list(logits) if self.per_token else np.stack(logits)

    @classmethod
    def further(cls, parts: Sequence["Encoded"]) -> dict[str, Any]:
        """The fields of a subclass for the rows of all parts together, for `concat`."""
        return {}

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row as lists: `input_ids`, `labels`, and `token_type_ids` if the tokenizer has them."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        span = slice(self.offsets[index], self.offsets[index + 1])
        row = {"input_ids": self.input_ids[span].tolist()}
        if self.token_type_ids is not None:
            row["token_type_ids"] = self.token_type_ids[span].tolist()
        row["labels"] = self.labels[span if self.per_token else index].tolist()
        return row

    def take(self, rows: NDArray[np.int64]) -> "Encoded":
        """Each of these rows once, in this order; all of them, for `truncated` stays."""
        lengths = np.asarray(self.lengths, np.int64)[rows]
        ends = np.cumsum(lengths)
        tokens = np.repeat(self.offsets[rows] - (ends - lengths), lengths) + np.arange(ends[-1])
        return replace(
            self,
            input_ids=self.input_ids[tokens],
            lengths=lengths.tolist(),
            labels=self.labels[tokens if self.per_token else rows],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[tokens],
        )


def concat(*parts: Encoded) -> Encoded:
    """The rows of all parts, in order; the parts come from one task and one tokenizer."""
    types = [part.token_type_ids for part in parts if part.token_type_ids is not None]
    if len(types) not in (0, len(parts)) or len({part.per_token for part in parts}) != 1:
        raise ValueError("parts of different tasks or tokenizers cannot be put together")
    return replace(
        parts[0],
        input_ids=np.concatenate([part.input_ids for part in parts]),
        lengths=[length for part in parts for length in part.lengths],
        labels=np.concatenate([part.labels for part in parts]),
        token_type_ids=np.concatenate(types) if types else None,
        truncated=sum(part.truncated for part in parts),
        unseen=(),
        **parts[0].further(parts),
    )


def describe_cut(*parts: Encoded | None) -> str | None:
    """The line that reports how many texts were truncated, and at which length; None if none."""
    rows = [part for part in parts if part is not None]
    cut = sum(part.truncated for part in rows)
    if not cut:
        return None
    longest = max(length for part in rows for length in part.lengths)
    total = sum(len(part) for part in rows)
    return (
        f"{cut:,} of {total:,} texts are longer than {longest} tokens and are truncated: "
        f"{rows[0].whole_by}"
    )


def tokenize(
    texts: list[Any],
    pairs: list[Any] | None,
    labels: Any,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    words: bool,
) -> Encoded:
    """Encodes texts or, if `words`, lists of words that have a list of label ids each."""
    return in_parts(
        texts, pairs, lambda batch, span: _part(batch, labels[span], words), tokenizer, max_length,
        words,
    )  # fmt: skip


def in_parts(
    texts: list[Any],
    pairs: list[Any] | None,
    part: Callable[[BatchEncoding, slice], Encoded],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    words: bool,
    **how: Any,
) -> Encoded:
    """The rows that `part` makes of what the tokenizer, called so, returns for each slice."""
    parts = []
    with Work("tokenising", len(texts), "texts") as work:
        for span in _spans(texts, pairs):
            batch = tokenizer(
                texts[span],
                pairs[span] if pairs else None,
                truncation=True,  # of a pair the longer one first
                max_length=max_length,
                is_split_into_words=words,
                return_attention_mask=False,
                **how,
            )
            parts.append(part(batch, span))
            work.n = span.stop
    return concat(*parts)


def _spans(texts: list[Any], pairs: list[Any] | None) -> Iterator[slice]:
    """Slices of at most 1,000 rows, or little over a million characters."""
    start, size = 0, 0
    for stop in range(1, len(texts) + 1):
        size += len(texts[stop - 1]) + (len(pairs[stop - 1]) if pairs else 0)
        if stop - start == 1000 or size > 1_000_000 or stop == len(texts):
            yield slice(start, stop)
            start, size = stop, 0


def tokens_of(batch: BatchEncoding) -> dict[str, Any]:
    """The fields of a batch's rows that are no labels: tokens, their types and the lengths."""
    if batch.encodings is None:
        raise UserError("this tokenizer has no fast version; use a model that has one")
    types = batch.get("token_type_ids")
    return {
        "input_ids": np.fromiter(chain.from_iterable(batch["input_ids"]), np.int32),
        "lengths": [len(encoding) for encoding in batch.encodings],
        "token_type_ids": None
        if types is None
        else np.fromiter(chain.from_iterable(types), np.int8),
    }


def _part(batch: BatchEncoding, labels: Any, words: bool) -> Encoded:
    fields, encodings = tokens_of(batch), batch.encodings or ()
    if words:
        rows = zip(encodings, labels, strict=True)
        labels = np.array([label for row in rows for label in _label_first_tokens(*row)], np.int32)
    cut = sum(bool(encoding.overflowing) for encoding in encodings)
    return Encoded(**fields, labels=labels, per_token=words, truncated=cut)


def _label_first_tokens(encoding: Encoding, labels: list[int]) -> Iterator[int]:
    """The labels of a text's tokens: that of a word at its first token, IGNORED elsewhere."""
    previous = None
    for word in encoding.word_ids:
        yield IGNORED if word is None or word == previous else labels[word]
        previous = word


def words_read(
    texts: Sequence[list[str]], rows: Encoded, tokenizer: PreTrainedTokenizerBase
) -> list[list[str]]:
    """Returns the words of each text of which the encoded rows have a token, by their labels.

    Words that a truncated row has lost are left out, and those that the tokenizer drops.
    """
    counts = np.add.reduceat(rows.labelled.astype(int), rows.offsets[:-1]).tolist()
    read = [list(words) for words in texts]
    for i, (words, count) in enumerate(zip(texts, counts, strict=True)):
        if count < len(words):
            encoding = tokenizer(words, is_split_into_words=True, verbose=False).encodings
            ids = dict.fromkeys(id for id in encoding[0].word_ids if id is not None)
            read[i] = [words[id] for id in list(ids)[:count]]
    return read
