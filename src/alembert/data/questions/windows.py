"""Questions as windows: rows of token ids, each with the question and a part of its context.

A context that is longer than a window is read in several, of which each shares tokens with the one
before. What a window knows lies in its labels, one a token: IGNORED where no answer can begin or
end, else 0, START, END or both. The first token stands for "no answer here".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import IGNORED, Encoded, concat
from alembert.data.labels import Columns
from alembert.data.questions.answers import ID
from alembert.io.answers import NEVER, window_sizes
from alembert.io.errors import UserError
from alembert.io.progress import Work

START, END = 1, 2  # bits of a token's label
BATCH = 200  # questions that are tokenised at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """A question and its context; offsets (M, 2) are where the context's M tokens begin and end.

    answers are the right ones, none of them for a question that has no answer here; None where the
    data does not tell them.
    """

    id: str
    text: str
    context: str
    offsets: NDArray[np.int32]
    answers: tuple[str, ...] | None


@dataclass(eq=False, repr=False, kw_only=True)
class Windows(Encoded):
    """Windows of questions; texts (N,) has the number of each one's question.

    places (N,) are the numbers, among the tokens of the whole context, of each window's first one.
    threshold is that of the model that answers: "no answer" has to be better than the best span by
    more. By default it never is.
    """

    whole_by: ClassVar[str] = "--max-length"
    questions: tuple[Question, ...]
    of: NDArray[np.int64]
    places: NDArray[np.int64]
    threshold: float = NEVER

    @property
    def texts(self) -> NDArray[np.int64]:
        return self.of

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A window as lists, with `spans` in place of labels: a batch then is one of windows."""
        row = super().__getitem__(index)
        row["spans"] = row.pop("labels")
        return row

    def tokens(self, index: int) -> NDArray[np.int64]:
        """The positions in a window of its context's tokens, (K,)."""
        labels = self.labels[self.offsets[index] : self.offsets[index + 1]]
        return np.flatnonzero(labels != IGNORED)[1:]

    def take(self, rows: NDArray[np.int64]) -> "Windows":
        """Each of these windows once, in this order."""
        taken = super().take(rows)
        assert isinstance(taken, Windows)
        return replace(taken, of=self.of[rows], places=self.places[rows])

    @classmethod
    def further(cls, parts: Sequence[Encoded]) -> dict[str, Any]:
        windows = [part for part in parts if isinstance(part, Windows)]
        before = np.cumsum([0, *(len(part.questions) for part in windows)])
        return {
            "questions": tuple(each for part in windows for each in part.questions),
            "of": np.concatenate([part.of + n for part, n in zip(windows, before, strict=False)]),
            "places": np.concatenate([part.places for part in windows]),
        }


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question before it is encoded, with the offsets of its answers in characters."""

    id: str
    text: str
    context: str
    answers: tuple[str, ...] | None
    starts: tuple[int, ...] = ()


def questions_in(data: Dataset, columns: Columns, labelled: bool) -> list[Asked]:
    """The questions of rows that `read_questions` has made, or of rows without answers."""
    ids = data[ID][:] if ID in data.column_names else range(1, len(data) + 1)
    texts, contexts = (data[name][:] for name in columns.texts)
    answers = data[columns.label][:] if labelled and columns.label else [None] * len(data)
    return [
        Asked(id=str(name), text=str(text), context=str(context), answers=None)
        if each is None
        else Asked(
            id=str(name),
            text=str(text),
            context=str(context),
            answers=tuple(each["text"]),
            starts=tuple(each["answer_start"]),
        )
        for name, text, context, each in zip(ids, texts, contexts, answers, strict=True)
    ]


def encode_questions(
    asked: Sequence[Asked],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    overlap: int | None = None,
) -> Windows:
    """Encodes questions into windows of at most `max_length` tokens.

    How much of a question is read, and how many tokens neighbouring windows share, by default or by
    `overlap`, is as window_sizes says. Raises UserError for windows that are too small.
    """
    specials = tokenizer.num_special_tokens_to_add(pair=True)
    most, shared = window_sizes(max_length, specials, overlap)
    parts = list[Windows]()
    with Work("tokenising", len(asked), "questions") as work:
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH]
            parts.append(_encode(part, tokenizer, max_length, most, shared))
            work.update(len(part))
    whole = concat(*parts)
    assert isinstance(whole, Windows)
    return whole


def _encode(
    asked: Sequence[Asked],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    most: int,
    shared: int,
) -> Windows:
    """Encodes a few questions, of each of which at most `most` tokens are read."""
    texts = _cut([each.text for each in asked], tokenizer, most)
    batch = tokenizer(
        texts,
        [each.context for each in asked],
        truncation="only_second",
        max_length=max_length,
        stride=shared,
        return_overflowing_tokens=True,
        return_attention_mask=False,
    )
    assert batch.encodings is not None
    of = np.array(batch["overflow_to_sample_mapping"], np.int64)
    windows: list[list[Encoding]] = [[] for _ in asked]
    for number, encoding in zip(of, batch.encodings, strict=True):
        windows[number].append(encoding)
    questions, places, labels = list[Question](), list[int](), list[int]()
    for each, found in zip(asked, windows, strict=True):
        starts, offsets = _placed(found, shared)
        read = Question(
            id=each.id, text=each.text, context=each.context, offsets=offsets, answers=each.answers
        )
        questions.append(read)
        places += starts
        for window, place in zip(found, starts, strict=True):
            labels += _labels(window, place, offsets, each)
    types = batch.get("token_type_ids")
    return Windows(
        input_ids=np.fromiter(chain.from_iterable(batch["input_ids"]), np.int32),
        lengths=[len(window) for window in batch.encodings],
        labels=np.array(labels, np.int32),
        token_type_ids=None if types is None else np.fromiter(chain.from_iterable(types), np.int8),
        per_token=True,
        truncated=sum(text != each.text for text, each in zip(texts, asked, strict=True)),
        questions=tuple(questions),
        of=of,
        places=np.array(places, np.int64),
    )


def _cut(texts: list[str], tokenizer: PreTrainedTokenizerBase, most: int) -> list[str]:
    """The texts, cut at the end of so many tokens."""
    encodings = tokenizer(texts, add_special_tokens=False, verbose=False).encodings
    if encodings is None:
        raise UserError("this tokenizer has no fast version; use a model that has one")
    return [
        text if len(encoding) <= most else text[: encoding.offsets[most - 1][1]]
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def _in_context(window: Encoding) -> list[int]:
    return [position for position, side in enumerate(window.sequence_ids) if side == 1]


def _placed(windows: Sequence[Encoding], shared: int) -> tuple[list[int], NDArray[np.int32]]:
    """The place of each window's first token in the context, and the offsets of all its tokens."""
    places, offsets = list[int](), list[tuple[int, int]]()
    for window in windows:
        tokens = [window.offsets[position] for position in _in_context(window)]
        places.append(max(len(offsets) - shared, 0))
        offsets += tokens[len(offsets) - places[-1] :]
    return places, np.array(offsets, np.int32).reshape(-1, 2)


def _labels(window: Encoding, place: int, offsets: NDArray[np.int32], asked: Asked) -> list[int]:
    """The labels of a window's tokens, by the first of the right answers.

    A window without the whole answer has START and END at its first token.
    """
    tokens = _in_context(window)
    labels = np.full(len(window), IGNORED)
    labels[[0, *tokens]] = 0
    if asked.answers is not None:
        ends = (0, 0)
        if asked.answers:
            first, last = _span(offsets, asked.starts[0], asked.answers[0])
            if place <= first <= last < place + len(tokens):
                ends = tokens[first - place], tokens[last - place]
        labels[ends[0]] |= START
        labels[ends[1]] |= END
    found: list[int] = labels.tolist()
    return found


def _span(offsets: NDArray[np.int32], start: int, answer: str) -> tuple[int, int]:
    """The first and the last token of an answer; (1, 0) where no token is in it."""
    inside = (offsets[:, 1] > start) & (offsets[:, 0] < start + len(answer))
    found = np.flatnonzero(inside)
    return (int(found[0]), int(found[-1])) if len(found) else (1, 0)
