"""A session: texts in, typed predictions of an exported model out, without torch."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alembert.inference import manifest as facts_of
from alembert.inference.batching import Forward, per_text, per_token
from alembert.inference.engine import open_engine
from alembert.inference.manifest import Manifest
from alembert.inference.predictions import Floats, guesses, predictions, spans_of, surest
from alembert.inference.questions import QuestionReader
from alembert.inference.static import StaticEngine
from alembert.inference.texts import TEXTS, checked, checked_words, chunks, word_spans
from alembert.inference.tokenization import Reader, Rows
from alembert.inference.words import Words, splits_at_spaces
from alembert.io.answers import QUESTIONS, Tag, Tags, Text, Texts, Token, Tokens, as_list, is_bio
from alembert.io.errors import UserError

A = TypeVar("A")
T = TypeVar("T")
TOKEN_KINDS = ("tokens", "words")  # kinds with logits for tokens and not for texts
VERBS = {
    "predict": ("classification", "multilabel", "regression"),
    "embed": ("encoder",),
    "fill_mask": ("words",),
    "tag": ("tokens",),
    "answer": (QUESTIONS,),
}


class Session:
    """One exported model. Every method may be called from several threads at once.

    texts is a list of texts, or of pairs (text, text). A str, or a tuple that is a pair, gives one
    answer instead of a list. An empty or invalid text raises UserError with its number, counted
    from `first`, the index of texts[0] among all texts of a caller who gives them in parts.
    """

    def __init__(
        self,
        folder: str | Path,
        backend: str | None = None,
        threads: int | None = 1,
        long: str | None = None,
        max_length: int | None = None,
        tokens_per_batch: int = 512,
        *,
        facts: Manifest | None = None,
        engine: Forward | None = None,
    ) -> None:
        """Opens an exported folder, or the run folder of its student.

        backend is one of manifest.BACKENDS, by default the one that export chose. threads=None
        uses all cores. long is "cut" (at max_length) or "window": windows that overlap by a
        quarter, averaged by tokens. By default long texts are read as the model has learnt them,
        and max_length is that of its windows, or else the most that it takes. facts and engine are
        given for a model that is not exported.
        Raises UserError for a folder or a value that is not valid.
        """
        root = facts_of.exported_folder(folder)
        self.facts = facts or facts_of.read_manifest(root)
        long = long or ("window" if self.facts.window_length else "cut")
        if long not in ("cut", "window"):
            raise UserError(f"long {long!r}: choose cut or window")
        if tokens_per_batch < 1:
            raise UserError(f"tokens_per_batch {tokens_per_batch}: must be 1 or more")
        most = (self.facts.window_length if long == "window" else 0) or self.facts.max_length
        self.max_length = most if max_length is None else max_length
        if not 0 < self.max_length <= self.facts.max_length:
            raise UserError(
                f"max_length {self.max_length}: the model takes 1 to {self.facts.max_length} tokens"
            )
        self.reader = Reader(root, self.max_length, long == "window")
        tokens, vocabulary = self.reader.tokenizer.get_vocab_size(), self.facts.vocabulary
        if vocabulary and tokens > vocabulary:
            raise UserError(
                f"{root / 'tokenizer.json'}: has {tokens} tokens and the model {vocabulary}: put "
                "the tokenizer that it was trained with there"
            )
        self.engine = engine or open_engine(root, self.facts, backend, threads)
        self._words: Words | None = None
        if isinstance(self.engine, StaticEngine) and long == "cut":
            tokenizer = self.reader.tokenizer
            self._words = Words(tokenizer, self.max_length) if splits_at_spaces(tokenizer) else None
        # other engines have threads of their own
        self._at_once = (threads or os.cpu_count() or 1) if self._words else 1
        self._budget = tokens_per_batch
        self._home = root

    @property
    def kind(self) -> str:
        """One of manifest.KINDS."""
        return self.facts.kind

    @property
    def labels(self) -> tuple[str, ...]:
        return self.facts.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of logits: the labels, or "score" where there are none."""
        return self.labels or ("score",)

    @cached_property
    def _marks_spans(self) -> bool:
        return is_bio(self.labels)

    def predict(self, texts: Texts, *, first: int = 0) -> Any:
        """A Prediction, Labels (multi-label) or Score (regression) for each text."""
        self._check_verb("predict")
        inputs, one = as_list(texts)
        answers = [
            answer
            for values in self._per_text(inputs, first)
            for answer in predictions(self.kind, values, self.names)
        ]
        return answers[0] if one else answers

    def embed(self, texts: Texts, *, first: int = 0) -> Floats:
        """Vectors (N, H) in float32; (H,) for one text."""
        self._check_verb("embed")
        vectors: Floats = self.logits(texts, first=first)
        if self.facts.pooling.endswith("+norm"):  # the mean of windows has a length below 1
            vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors

    def fill_mask(self, texts: Texts, top: int = 5, *, first: int = 0) -> Any:
        """For each mask of each text, a list of the `top` most probable Guesses."""
        self._check_verb("fill_mask")
        if top < 1:
            raise UserError(f"top {top}: must be 1 or more")
        inputs, one = as_list(texts)
        finish = partial(guesses, top=top, word=self.reader.word)
        answers = list(self._per_token(inputs, first, finish))
        return answers[0] if one else answers

    def tag(self, texts: Texts, *, first: int = 0) -> Any:
        """The Tags of each text, split at white space, or of each list of words."""
        self._check_verb("tag")
        inputs, one = as_list(texts)
        labels = self._per_token(inputs, first, surest)
        answers = [self.tagged(text, each) for text, each in zip(inputs, labels, strict=True)]
        return answers[0] if one else answers

    def answer(self, texts: Texts, *, first: int = 0) -> Any:
        """The Answer to each pair of a question and its context, of any length."""
        self._check_verb("answer")
        inputs, one = as_list(texts)
        answers = [
            answer
            for start, part in chunks(inputs)
            for answer in self.questions.answers(
                part, self.engine, self._budget, self.facts.null_threshold, first + start
            )
        ]
        return answers[0] if one else answers

    @cached_property
    def questions(self) -> QuestionReader:
        """What makes windows of questions, and answers of their logits."""
        return QuestionReader(self.reader.tokenizer, self.max_length)

    def tagged(self, text: Text, answers: Sequence[tuple[int, float] | None]) -> Tags:
        """The Tags of one text, from the label id and the probability of each word."""
        joined, limits = word_spans(text)
        words = []
        for (start, end), answer in zip(limits, answers, strict=True):
            label, score = (self.labels[answer[0]], answer[1]) if answer else (None, 0.0)
            words.append(
                Tag(text=joined[start:end], label=label, start=start, end=end, score=score)
            )
        tagged = (word for word in words if word.label)
        spans = spans_of(joined, words) if self._marks_spans else tuple(tagged)
        return Tags(tuple(words), spans)

    def logits(self, texts: Texts, *, first: int = 0) -> Any:
        """The graph's output in float32, in the order of the texts.

        It is (N, C), or (N, H) of an encoder. Kind "tokens" gives (words, C) for each text, NaN
        for a word without tokens, and "words" gives (masks, V). One text has no N.
        """
        if self.kind == QUESTIONS:
            raise UserError(f"{self._home}: logits is not for this model ({QUESTIONS}): use answer")
        inputs, one = as_list(texts)
        answers: Floats | list[Floats]
        if self.kind in TOKEN_KINDS:
            none = np.full(len(self.labels), np.nan, np.float32)
            answers = [
                np.stack([none if row is None else row for row in rows])
                for rows in self._per_token(inputs, first, lambda values: list(values.copy()))
            ]
        else:
            values = list(self._per_text(inputs, first))
            width = len(self.labels) or self.facts.width
            answers = np.concatenate(values) if values else np.empty((0, width), np.float32)
        return answers[0] if one else answers

    def tokenize(self, texts: Texts) -> Any:
        """The Tokens of each text as the model reads them; with windows, those of the first."""
        inputs, one = as_list(texts)
        tokens_of = []
        for first, part in chunks(inputs):
            rows = self.reader(part, first=first)
            starts = dict(zip(reversed(rows.owners), reversed(rows.encodings), strict=True))
            for text in range(rows.texts):
                row = starts[text]
                fields = zip(row.ids, row.tokens, row.offsets, row.special_tokens_mask, strict=True)
                tokens = tuple(
                    Token(id=i, text=name, start=span[0], end=span[1], special=bool(flag))
                    for i, name, span, flag in fields
                )
                tokens_of.append(Tokens(tokens, bool(row.overflowing)))
        return tokens_of[0] if one else tokens_of

    def _per_text(self, texts: list[Text], first: int) -> Iterator[Floats]:
        """Logits (n, C) of each chunk of texts."""
        return self._of_chunks(partial(self._of_chunk, first), texts)

    def _of_chunks(
        self, one: Callable[[tuple[int, list[Text]]], A], texts: list[Text]
    ) -> Iterator[A]:
        """What `one` makes of each chunk of texts, several at a time."""
        if self._at_once == 1 or len(texts) <= TEXTS:
            yield from map(one, chunks(texts))
            return
        with ThreadPoolExecutor(self._at_once) as threads:
            yield from threads.map(one, chunks(texts))

    def _of_chunk(self, first: int, chunk: tuple[int, list[Text]]) -> Floats:
        """Logits (n, C) of one chunk of texts."""
        start, part = chunk
        known = self._looked_up(part, first + start)
        if known is not None and isinstance(self.engine, StaticEngine):
            return self.engine.rows(*known)
        return per_text(self.reader(part, first=first + start), self.engine, self._budget)

    def _looked_up(
        self, texts: list[Text], first: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The ids and lengths of rows whose words are looked up; None where the reader has to."""
        if self._words is None:
            return None
        inputs = [checked(text, number) for number, text in enumerate(texts, start=first + 1)]
        try:
            return self._words.rows(inputs)
        except TypeError:  # no valid Unicode: the reader says which text
            return None

    def _per_token(
        self, texts: list[Text], first: int, finish: Callable[[Floats], Sequence[T]]
    ) -> Iterator[list[T | None]]:
        """For each text, the answers of its words or masks."""
        for answers in self._of_chunks(partial(self._tokens_of_chunk, first, finish), texts):
            yield from answers

    def _tokens_of_chunk(
        self,
        first: int,
        finish: Callable[[Floats], Sequence[T]],
        chunk: tuple[int, list[Text]],
    ) -> list[list[T | None]]:
        """For each text of one chunk, the answers of its words or masks."""
        start, part = chunk
        known = self._tokens_looked_up(part, first + start)
        if known is None:
            rows, positions = self.read(part, first + start)
            return per_token(rows, positions, self.engine, self._budget, finish)
        logits, places, counts = known
        found = iter(finish(logits))
        each = [None if place < 0 else next(found) for place in places.tolist()]
        ends = np.cumsum(counts).tolist()
        return [each[end - count : end] for end, count in zip(ends, counts, strict=True)]

    def _tokens_looked_up(
        self, texts: list[Text], first: int
    ) -> tuple[Floats, NDArray[np.int64], list[int]] | None:
        """Logits (P, C) of the words that have tokens, their places, and the words of each text.

        The words are looked up; None where the reader has to read the texts.
        """
        if self._words is None or not isinstance(self.engine, StaticEngine):
            return None
        words = [
            checked_words(text.split() if isinstance(text, str) else text, number)
            for number, text in enumerate(texts, start=first + 1)
        ]
        try:
            rows = self._words.sentences(words)
        except TypeError:  # no valid Unicode: the reader says which text
            return None
        if rows is None:
            return None
        ids, lengths, places = rows
        logits = self.engine.tokens(ids, lengths, places[places >= 0])
        return logits, places, list(map(len, words))

    def read(
        self, texts: Sequence[Text], first: int = 0
    ) -> tuple[Rows, list[list[tuple[int, int] | None]]]:
        """The rows of texts, and for each text the (row, column) of its words or masks.

        The positions are empty for a model with one row of logits a text. first is the index of
        texts[0] in the caller's list, used in error messages.
        """
        if self.kind == "tokens":
            words = [text.split() if isinstance(text, str) else text for text in texts]
            rows = self.reader(words, words=True, first=first)
            starts = rows.positions(lambda row: row.word_ids)
            return rows, [
                [start_of.get(word) for word in range(len(each))]
                for start_of, each in zip(starts, words, strict=True)
            ]
        rows = self.reader(texts, first=first)
        if self.kind != "words":
            return rows, [[] for _ in texts]
        positions: list[list[tuple[int, int] | None]] = []
        for number, masks in enumerate(rows.positions(self.reader.masks)):
            if not masks:
                raise UserError(self.reader.no_mask_message(texts[number], first + number + 1))
            positions.append(list(masks.values()))
        return rows, positions

    def _check_verb(self, verb: str) -> None:
        if self.kind not in VERBS[verb]:
            right = next(name for name, kinds in VERBS.items() if self.kind in kinds)
            raise UserError(
                f"{self._home}: {verb} is not for this model ({self.kind}): use {right}"
            )
