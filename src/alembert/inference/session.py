"""A saved model that answers: texts in, typed predictions out, without torch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from alembert.inference import manifest as facts_of
from alembert.inference.batching import Answer, placed, pooled
from alembert.inference.engine import open_engine
from alembert.inference.manifest import Manifest
from alembert.inference.predictions import (
    Floats,
    classified,
    labelled,
    likeliest,
    marks_spans,
    scored,
    spans_of,
    surest,
)
from alembert.inference.texts import listed, parted, stretches
from alembert.inference.tokenization import Reader, Rows
from alembert.io.answers import Classification, Guess, Labels, Score, Tag, Tags, Token, Tokens
from alembert.io.errors import UserError

T = TypeVar("T")
PLACED = ("tokens", "words")  # kinds that answer for tokens, not for texts
VERBS = {
    "predict": ("classification", "multilabel", "regression"),
    "embed": ("encoder",),
    "fill_mask": ("words",),
    "tag": ("tokens",),
}


class Session:
    """One exported model. Every method may be called from several threads at once.

    texts: a list; of pairs, a list of (text, text). A str, or a tuple that is a pair, gives one
    answer instead of a list. What is no text, empty or invalid raises UserError with its number.
    """

    def __init__(
        self,
        folder: str | Path,
        backend: str | None = None,
        threads: int | None = 1,
        long: str = "cut",
        max_length: int | None = None,
        tokens_per_batch: int = 512,
        *,
        facts: Manifest | None = None,
        engine: Answer | None = None,
    ) -> None:
        """Open an exported folder, or the run folder of its student.

        backend: one of manifest.BACKENDS, by default the one that export chose. threads: of
        the model; None takes all cores. long: "cut" at max_length, or "window": windows that
        share a quarter, averaged by tokens. facts, engine: those of a model that is not exported.
        Raises UserError for a folder or a value that does not serve.
        """
        home = model_folder(folder)
        self.facts = facts or facts_of.read_manifest(home)
        if long not in ("cut", "window"):
            raise UserError(f"long {long!r}: choose cut or window")
        if tokens_per_batch < 1:
            raise UserError(f"tokens_per_batch {tokens_per_batch}: must be 1 or more")
        self.max_length = self.facts.max_length if max_length is None else max_length
        if not 0 < self.max_length <= self.facts.max_length:
            raise UserError(
                f"max_length {self.max_length}: the model takes 1 to {self.facts.max_length} tokens"
            )
        self.reader = Reader(home, self.max_length, long == "window")
        words, known = self.reader.tokenizer.get_vocab_size(), self.facts.vocabulary
        if known and words > known:
            raise UserError(
                f"{home / 'tokenizer.json'}: has {words} words and the model {known}: put the "
                "tokenizer that it was trained with there"
            )
        self.engine = engine or open_engine(home, self.facts, backend, threads)
        self._budget = tokens_per_batch
        self._home = home

    @property
    def kind(self) -> str:
        """classification, multilabel, regression, tokens, words or encoder."""
        return self.facts.kind

    @property
    def labels(self) -> tuple[str, ...]:
        return self.facts.labels

    def predict(self, texts: Any) -> Any:
        """Per text a Classification, Labels (of several) or Score (regression)."""
        self._serves("predict")
        given, one = listed(texts)
        make: dict[str, Callable[[Floats], Sequence[Classification | Labels | Score]]] = {
            "classification": lambda values: classified(values, self.labels),
            "multilabel": lambda values: labelled(values, self.labels),
            "regression": scored,
        }
        found = [answer for values in self._pooled(given) for answer in make[self.kind](values)]
        return found[0] if one else found

    def embed(self, texts: Any) -> Floats:
        """(N, H) vectors in float32; (H,) of one text."""
        self._serves("embed")
        found: Floats = self.logits(texts)
        if self.facts.pooling.endswith("+norm"):  # the mean of windows is shorter than they are
            found = found / np.linalg.norm(found, axis=-1, keepdims=True)
        return found

    def fill_mask(self, texts: Any, top: int = 5) -> Any:
        """Per text, per mask in it: a list of the `top` likeliest Guesses."""
        self._serves("fill_mask")
        if top < 1:
            raise UserError(f"top {top}: must be 1 or more")

        def guesses(values: Floats) -> list[list[Guess]]:
            return [
                [Guess(self.reader.word(token), chance) for token, chance in row]
                for row in likeliest(values, top)
            ]

        given, one = listed(texts)
        found = list(self._placed(given, guesses))
        return found[0] if one else found

    def tag(self, texts: Any) -> Any:
        """Per text (words are what white space parts) or list of words: Tags."""
        self._serves("tag")
        given, one = listed(texts)
        answers = self._placed(given, surest)
        found = [self.tagged(text, each) for text, each in zip(given, answers, strict=True)]
        return found[0] if one else found

    def tagged(self, text: Any, answers: Sequence[tuple[int, float] | None]) -> Tags:
        """answers: per word of the text its label's number and probability."""
        whole, places = parted(text)
        words = []
        for (start, end), answer in zip(places, answers, strict=True):
            label, score = (self.labels[answer[0]], answer[1]) if answer else (None, 0.0)
            words.append(Tag(whole[start:end], label, start, end, score))
        bio = marks_spans(self.labels)
        spans = spans_of(whole, words) if bio else tuple(word for word in words if word.label)
        return Tags(tuple(words), spans)

    def logits(self, texts: Any) -> Any:
        """The graph's own numbers, float32, in the order of the texts.

        (N, C), of an encoder (N, H); of tokens per text (words, C), NaN where a word has none;
        of words per text (masks, V). Of one text without the N.
        """
        given, one = listed(texts)
        found: Any
        if self.kind in PLACED:
            none = np.full(len(self.labels), np.nan, np.float32)
            found = [
                np.stack([none if row is None else row for row in rows])
                for rows in self._placed(given, lambda values: list(values.copy()))
            ]
        else:
            values = list(self._pooled(given))
            width = len(self.labels) or self.facts.width
            found = np.concatenate(values) if values else np.empty((0, width), np.float32)
        return found[0] if one else found

    def tokenize(self, texts: Any) -> Any:
        """Per text its Tokens: what the model reads, or of windows reads first."""
        given, one = listed(texts)
        found = []
        for first, part in stretches(given):
            rows = self.reader(part, first=first)
            starts = dict(zip(reversed(rows.owners), reversed(rows.encodings), strict=True))
            for text in range(rows.texts):
                row = starts[text]
                pieces = zip(row.ids, row.tokens, row.offsets, row.special_tokens_mask, strict=True)
                tokens = tuple(Token(i, piece, *at, bool(mark)) for i, piece, at, mark in pieces)
                found.append(Tokens(tokens, bool(row.overflowing)))
        return found[0] if one else found

    def _pooled(self, texts: list[Any]) -> Iterator[Floats]:
        """(n, C) of one stretch of texts after the other."""
        for first, part in stretches(texts):
            yield pooled(self.reader(part, first=first), self.engine, self._budget)

    def _placed(
        self, texts: list[Any], finish: Callable[[Floats], Sequence[T]]
    ) -> Iterator[list[T | None]]:
        """Per text an answer for every word, or for every mask."""
        for first, part in stretches(texts):
            rows, places = self.read(part, first)
            yield from placed(rows, places, self.engine, self._budget, finish)

    def read(
        self, texts: Sequence[Any], first: int = 0
    ) -> tuple[Rows, list[list[tuple[int, int] | None]]]:
        """The rows of texts, and per text where its words or masks are: (row, column) each.

        The places are empty where a text has one answer. first: added to the numbers in errors.
        """
        if self.kind == "tokens":
            words = [text.split() if isinstance(text, str) else text for text in texts]
            rows = self.reader(words, words=True, first=first)
            at = rows.places(lambda row: row.word_ids)
            return rows, [
                [found.get(word) for word in range(len(each))]
                for found, each in zip(at, words, strict=True)
            ]
        rows = self.reader(texts, first=first)
        if self.kind != "words":
            return rows, [[] for _ in texts]
        places: list[list[tuple[int, int] | None]] = []
        for number, masks in enumerate(rows.places(self.reader.masks)):
            if not masks:
                raise UserError(self.reader.unmasked(texts[number], first + number + 1))
            places.append(list(masks.values()))
        return rows, places

    def _serves(self, verb: str) -> None:
        if self.kind not in VERBS[verb]:
            right = next(name for name, kinds in VERBS.items() if self.kind in kinds)
            raise UserError(
                f"{self._home}: {verb} is not for this model ({self.kind}): use {right}"
            )


def model_folder(folder: str | Path) -> Path:
    """The folder of the model: a run folder stands for its student."""
    student = Path(folder) / "student"
    inside = (student / facts_of.FILE).is_file() and not (Path(folder) / "config.json").is_file()
    return student if inside else Path(folder)
