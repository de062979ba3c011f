"""A served model: encodes texts as rows for the queue, and turns batches of logits into answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from alembert.inference.batching import at, mean_of_windows
from alembert.inference.engine import Engine, open_engine
from alembert.inference.manifest import Variant, exported_folder
from alembert.inference.predictions import Floats, guesses, probabilities, ranking, surest
from alembert.inference.questions import Windowed
from alembert.inference.session import TOKEN_KINDS, VERBS, Session
from alembert.inference.tokenization import Cut, batch_of
from alembert.io.answers import Guess, Tags, Text
from alembert.serving.schemas import (
    EmbedRequest,
    FillMaskRequest,
    PredictRequest,
    RefusedError,
    TagRequest,
)

ROUTES = {
    "predict": "/predict", "embed": "/embed", "fill_mask": "/fill-mask", "tag": "/tag",
    "answer": "/answer",
}  # fmt: skip
ATTENDING = 64  # tokens of a text whose attention is shown; a larger picture is unreadable


@dataclass(frozen=True, slots=True)
class Row:
    """An encoded text, the positions of its words or masks, and the function for its answer.

    places are those of Session.read. finish takes the row and its logits: (C,), (places, C) for a
    model with logits of tokens, or (T, 2) for one that answers questions.
    """

    text: Text
    encoding: Encoding | Cut
    places: list[tuple[int, int] | None]
    finish: Callable[["Row", Floats], object]

    def __len__(self) -> int:
        return len(self.encoding)

    @property
    def windows(self) -> list["Row"]:
        """The rows that are computed: this one, which has the whole text, or its beginning."""
        return [self]


Finish = Callable[[Row, Floats], object]


@dataclass(frozen=True, slots=True)
class LongText:
    """A text that is read in windows, a row each, and the function for its answer.

    row has the whole text, its first window, and the places of all its words or masks.
    """

    row: Row
    windows: list[Row]

    @property
    def places(self) -> list[tuple[int, int] | None]:
        """Those of the whole text."""
        return self.row.places

    def answer(self, logits: Sequence[Floats], by_token: bool) -> object:
        """The answer by the logits of all windows, of which those of a text are averaged."""
        if by_token:
            return self.row.finish(self.row, np.concatenate(logits))
        mean = mean_of_windows(np.stack(logits), [len(window) for window in self.windows], [0])
        return self.row.finish(self.row, mean[0])


@dataclass(frozen=True, eq=False)
class AttentionModel:
    """A model's graph with attentions, which the queue calls as it calls a ServedModel."""

    name: str
    engine: Callable[[], Engine]  # opens it when it is first needed

    def __call__(self, encodings: Sequence[Encoding]) -> list[Floats]:
        places = {"places": np.zeros(1, np.int64)}
        batches = (batch_of([encoding]) | places for encoding in encodings)
        return [self.engine().outputs(batch)[1][:, 0] for batch in batches]


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A named model; called with rows, it computes them as one batch and returns their answers."""

    name: str
    session: Session
    variant: Variant
    attending: "AttentionModel | None" = None  # None unless exported with attentions

    def __call__(self, questions: Sequence[Row]) -> list[object]:
        inputs = batch_of([each.encoding for each in questions])
        if self.session.kind in TOKEN_KINDS:
            columns = [[place[1] for place in each.places if place] for each in questions]
            values = at(self.session.engine, inputs, columns)
            stops = np.cumsum([len(each) for each in columns[:-1]], dtype=np.int64)
            rows = np.split(values, stops)
        else:
            values = self.session.engine(inputs)
            rows = list(values)
        if not np.isfinite(values).all():
            raise FloatingPointError("the model's numbers are not finite")
        return [each.finish(each, row) for each, row in zip(questions, rows, strict=True)]

    def questions(
        self, texts: Sequence[Text], truncate: bool, finish: Finish
    ) -> list[Row] | list[LongText]:
        """A row for each text, or its windows, for a model that reads long texts in these.

        Raises RefusedError for another text that is too long, unless `truncate`, and UserError for
        one that is not valid.
        """
        if self.session.reader.windows:
            return self.long_texts(texts, finish)
        rows, places = self.session.read(texts)
        questions = []
        parts = zip(texts, rows.encodings, places, strict=True)
        for number, (text, encoding, positions) in enumerate(parts, start=1):
            cut = bool(encoding.overflowing)
            if cut and not truncate:
                raise RefusedError(
                    413,
                    f"text {number}: over {self.session.max_length} tokens: shorten it, or set "
                    '"truncate": true',
                )
            kept = Cut(encoding.ids, encoding.type_ids) if cut else encoding
            questions.append(Row(text, kept, positions, finish))
        return questions

    def long_texts(self, texts: Sequence[Text], finish: Finish) -> list[LongText]:
        """The windows of each text. Raises UserError for one that is not valid."""
        rows, places = self.session.read(texts)
        of_row: list[list[tuple[int, int] | None]] = [[] for _ in rows.encodings]
        for place in (place for each in places for place in each if place is not None):
            of_row[place[0]].append(place)
        windows: list[list[Row]] = [[] for _ in texts]
        for encoding, text, of_window in zip(rows.encodings, rows.owners, of_row, strict=True):
            windows[text].append(Row(texts[text], encoding, of_window, _copy))
        return [
            LongText(Row(text, parts[0].encoding, of_text, finish), parts)
            for text, parts, of_text in zip(texts, windows, places, strict=True)
        ]

    def joined(self, asked: "Sequence[Row | LongText]", computed: list[Any]) -> list[Any]:
        """The answer to each text, by what was computed of all windows, in order."""
        found, by_token = iter(computed), self.session.kind in TOKEN_KINDS
        return [
            each.answer([next(found) for _ in each.windows], by_token)
            if isinstance(each, LongText)
            else next(found)
            for each in asked
        ]

    def windows(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[Windowed], list[Row]]:
        """The windows of each question's context, and a row for each of all these windows."""
        read = [self.session.questions.windows(pair, n) for n, pair in enumerate(pairs, start=1)]
        return read, [
            Row(each.context, window, [], _copy) for each in read for window in each.windows
        ]

    def check(self, verb: str) -> None:
        """Raises RefusedError, which names the right route, when a verb does not fit the model."""
        if self.session.kind not in VERBS[verb]:
            right = next(
                ROUTES[name] for name, kinds in VERBS.items() if self.session.kind in kinds
            )
            raise RefusedError(424, f"{self.name} is a model of {self.session.kind}: use {right}")

    def attention_tokens(self, text: str) -> Encoding:
        """The tokens for `attending`, which returns attention probabilities (L, A, T, T)."""
        if self.attending is None:
            raise RefusedError(424, f"{self.name} was exported without --attentions")
        encoding = self.session.reader([text]).encodings[0]
        if len(encoding) > ATTENDING:
            raise RefusedError(413, f"attentions are shown for at most {ATTENDING} tokens")
        return encoding

    def warm(self) -> None:
        """Computes one row, so that the first request does not wait for memory."""
        encoding = self.session.reader(["a"]).encodings[0]
        self([Row("a", encoding, [(0, 0)], lambda question, values: None)])


def _copy(row: Row, values: Floats) -> Floats:
    return values.copy()


def load_model(name: str, folder: Path, backend: str | None = None) -> ServedModel:
    """An exported model that computes on the calling thread. Raises UserError as Session does."""
    session, root = Session(folder, backend), exported_folder(folder)
    facts = session.facts
    attends = any(variant.backend == "attentions" for variant in facts.variants)
    engine = cache(lambda: open_engine(root, facts, "attentions"))
    attending = AttentionModel(name, engine) if attends else None
    return ServedModel(name, session, facts.variant(backend, root), attending)


def label_scores(
    model: ServedModel, fields: PredictRequest, question: Row, values: Floats
) -> list[dict[str, object]]:
    """Labels with their scores, the highest first; `raw_scores` are the logits."""
    session = model.session
    scores = values if fields.raw_scores else probabilities(session.kind, values)
    numbers = scores.tolist()
    return [{"score": numbers[i], "label": session.names[i]} for i in ranking(values).tolist()]


def vector(model: ServedModel, fields: EmbedRequest, question: Row, values: Floats) -> list[float]:
    """The vector, of length 1 with `normalize`."""
    length = float(np.linalg.norm(values)) if fields.normalize else 1.0
    return list((values / (length or 1.0)).tolist())


def mask_guesses(
    model: ServedModel, fields: FillMaskRequest, question: Row, values: Floats
) -> list[list[Guess]]:
    """The `top` most probable tokens of each mask, at a temperature."""
    return guesses(values / np.float32(fields.temperature), fields.top, model.session.reader.word)


def tags(model: ServedModel, fields: TagRequest, question: Row, values: Floats) -> Tags:
    """The tags of a text's words and spans."""
    answers = iter(surest(values))
    places = [place and next(answers) for place in question.places]
    return model.session.tagged(question.text, places)
