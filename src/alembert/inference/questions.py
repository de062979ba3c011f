"""Answers questions by spans of their contexts: windows of token ids in, answers out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer

from alembert.inference.batching import Forward, plan
from alembert.inference.predictions import Floats
from alembert.inference.spans import Part, best_of
from alembert.inference.texts import checked, named
from alembert.inference.tokenization import Rows
from alembert.io.answers import Answer, Text, window_sizes
from alembert.io.errors import UserError


@dataclass(frozen=True)
class Windowed:
    """A context, and its windows with the question before each of them, in order."""

    context: str
    windows: Sequence[Encoding]


class QuestionReader:
    """Reads pairs of a question and its context as windows, as a training does.

    It is safe to share between threads. Raises UserError for windows that are too small.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        specials = tokenizer.num_special_tokens_to_add(is_pair=True)
        self._most, self._shared = window_sizes(max_length, specials)
        self._whole = Tokenizer.from_str(tokenizer.to_str())
        self._whole.no_truncation()
        self._cut = Tokenizer.from_str(tokenizer.to_str())
        self._cut.enable_truncation(max_length, stride=self._shared, strategy="only_second")

    def answers(
        self,
        pairs: Sequence[Text],
        engine: Forward,
        tokens: int,
        threshold: float,
        first: int = 0,
    ) -> list[Answer]:
        """The answer to each question, by an engine that takes so many tokens at a time.

        No answer is given where its score is higher than the best span's by more than `threshold`.
        """
        read = [self.windows(pair, first + number) for number, pair in enumerate(pairs, start=1)]
        windows = [window for each in read for window in each.windows]
        owners = [number for number, each in enumerate(read) for _ in each.windows]
        rows = Rows(windows, owners, len(read))
        logits: list[Floats] = [np.empty(0, np.float32)] * len(windows)
        for batch in plan(rows.lengths, tokens):
            for row, values in zip(batch, engine(rows.batch(batch)), strict=True):
                logits[row] = values
        return self.joined(read, logits, threshold)

    def joined(
        self, read: Sequence[Windowed], logits: Iterable[Floats], threshold: float
    ) -> list[Answer]:
        """The answer to each question, by the logits of all windows, in order."""
        found = iter(logits)
        return [self._answer(each, [next(found) for _ in each.windows], threshold) for each in read]

    def windows(self, pair: Text, number: int) -> Windowed:
        """The windows of a question's context; `number` names the pair in messages, from 1."""
        given = checked(pair, number)
        if isinstance(given, str):
            raise UserError(f"{named(pair, number)}: give a pair, of a question and its context")
        question, context = given
        read = self._cut.encode(self._shortened(question), context)
        return Windowed(context, [read, *read.overflowing])

    def _shortened(self, question: str) -> str:
        read = self._whole.encode(question, add_special_tokens=False)
        return question if len(read) <= self._most else question[: read.offsets[self._most - 1][1]]

    def _answer(self, read: Windowed, logits: Sequence[Floats], threshold: float) -> Answer:
        """The answer by the logits (T, 2) of each window's tokens; rows of padding may follow."""
        offsets, parts = list[tuple[int, int]](), list[Part]()
        for window, values in zip(read.windows, logits, strict=True):
            inside = [at for at, side in enumerate(window.sequence_ids) if side == 1]
            place = max(len(offsets) - self._shared, 0)
            offsets += [window.offsets[at] for at in inside[len(offsets) - place :]]
            parts.append((place, values[inside], values[0]))
        best = best_of(len(offsets), parts)
        if best is None:
            return Answer(text="", start=0, end=0, score=1.0)
        if best.lead_of_none > threshold:
            return Answer(text="", start=0, end=0, score=best.probability(of_none=True))
        start, end = offsets[best.first][0], offsets[best.last][1]
        score = best.probability(of_none=False)
        return Answer(text=read.context[start:end], start=start, end=end, score=score)
