"""What is asked of a served model: texts become questions that can wait in a queue, one a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from alembert.inference.batching import at
from alembert.inference.engine import Engine, open_engine
from alembert.inference.manifest import Variant, exported_folder
from alembert.inference.predictions import Floats, likeliest, sigmoid, softmax, surest
from alembert.inference.session import TOKEN_KINDS, VERBS, Session
from alembert.inference.tokenization import Rows
from alembert.io.answers import Guess, Tags
from alembert.serving.schemas import RefusedError

ROUTES = {"predict": "/predict", "embed": "/embed", "fill_mask": "/fill-mask", "tag": "/tag"}
ATTENDING = 64  # tokens: of more, a picture shows nothing


@dataclass(frozen=True, slots=True)
class _Cut:
    """What is read of a text that was cut, without the encoding, which holds all the rest too."""

    ids: list[int]
    type_ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Row:
    """A text as tokens, where those are that are asked for, and what makes its answer.

    places: as Session.read gives them. finish takes the question and (C,) numbers, or, of a model
    that answers for tokens, (places, C).
    """

    text: Any
    encoding: Any  # an Encoding or a _Cut
    places: list[tuple[int, int] | None]
    finish: Callable[["Row", Floats], Any]

    def __len__(self) -> int:
        return len(self.encoding)


Finish = Callable[[Row, Floats], Any]


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model under its name. Called with questions, it answers them as one batch."""

    name: str
    session: Session
    variant: Variant
    attending: Callable[[], Engine] | None = None  # of those that were exported with attentions

    def __call__(self, questions: Sequence[Row]) -> list[Any]:
        count = range(len(questions))
        inputs = Rows([each.encoding for each in questions], list(count), len(count)).batch(count)
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

    def questions(self, texts: list[Any], truncate: bool, finish: Finish) -> list[Row]:
        """A question for each text.

        Raises RefusedError for a text that is too long, unless it is to be cut, and UserError
        for one that cannot be read.
        """
        rows, places = self.session.read(texts)
        kept: list[Encoding | _Cut] = []
        for number, encoding in enumerate(rows.encodings, start=1):
            cut = bool(encoding.overflowing)
            if cut and not truncate:
                raise RefusedError(
                    413,
                    f"text {number}: over {self.session.max_length} tokens: shorten it, or ask "
                    'with "truncate": true',
                )
            kept.append(_Cut(encoding.ids, encoding.type_ids) if cut else encoding)
        return [
            Row(text, encoding, at, finish)
            for text, encoding, at in zip(texts, kept, places, strict=True)
        ]

    def check(self, verb: str) -> None:
        """Raises RefusedError where another route is the right one."""
        if self.session.kind not in VERBS[verb]:
            right = next(
                ROUTES[name] for name, kinds in VERBS.items() if self.session.kind in kinds
            )
            raise RefusedError(424, f"{self.name} is a model of {self.session.kind}: use {right}")

    def attentions(self, text: str, layer: int) -> dict[str, Any]:
        """Tokens of a text, and (A, T, T) probabilities with which they look at each other."""
        if self.attending is None:
            raise RefusedError(424, f"{self.name} was exported without --attentions")
        encoding = self.session.reader([text]).encodings[0]
        if len(encoding) > ATTENDING:
            raise RefusedError(413, f"attentions are shown of {ATTENDING} tokens at most")
        inputs = Rows([encoding], [0], 1).batch([0]) | {"places": np.zeros(1, np.int64)}
        found = self.attending().outputs(inputs)[1]
        if layer > len(found):
            raise RefusedError(422, f"layer: the model has {len(found)}")
        chosen = found[layer - 1, 0]
        return {
            "tokens": encoding.tokens,
            "layers": len(found),
            "layer": layer,
            "heads": len(chosen),
            "attentions": chosen.round(4).tolist(),
        }

    def warm(self) -> None:
        """One answer, so that the first request does not wait for memory."""
        encoding = self.session.reader(["a"]).encodings[0]
        self([Row("a", encoding, [(0, 0)], lambda question, values: None)])


def load_model(name: str, folder: Path, backend: str | None = None) -> ServedModel:
    """An exported model, computing on the thread that asks. Raises UserError as Session does."""
    session, home = Session(folder, backend), exported_folder(folder)
    facts = session.facts
    attends = any(variant.backend == "attentions" for variant in facts.variants)
    attending = cache(lambda: open_engine(home, facts, "attentions")) if attends else None
    return ServedModel(name, session, facts.variant(backend, home), attending)


def predict_rows(model: ServedModel, raw: bool) -> Finish:
    """Answers are labels with their scores, the highest first; raw: as they leave the graph."""
    labels, kind = model.session.labels or ("score",), model.session.kind

    def finish(question: Row, values: Floats) -> list[dict[str, Any]]:
        order = values.argsort(kind="stable")[::-1].tolist()
        scores = values.tolist()
        if not raw and kind == "classification":
            scores = softmax(values).tolist()
        elif not raw and kind == "multilabel":
            scores = sigmoid(values).tolist()
        return [{"score": scores[i], "label": labels[i]} for i in order]

    return finish


def embed_rows(normalize: bool) -> Finish:
    """Answers are vectors; normalize: of length 1."""

    def finish(question: Row, values: Floats) -> Any:
        length = float(np.linalg.norm(values)) if normalize else 1.0
        return (values / (length or 1.0)).tolist()

    return finish


def fill_mask_rows(model: ServedModel, top: int, temperature: float) -> Finish:
    """Answers are, per mask, the likeliest words at a temperature."""
    word = model.session.reader.word

    def finish(question: Row, values: Floats) -> list[list[Guess]]:
        return [
            [Guess(word(token), score) for token, score in row]
            for row in likeliest(values / np.float32(temperature), top)
        ]

    return finish


def tag_rows(model: ServedModel) -> Finish:
    """Answers are Tags."""

    def finish(question: Row, values: Floats) -> Tags:
        answers = iter(surest(values))
        return model.session.tagged(
            question.text, [place and next(answers) for place in question.places]
        )

    return finish
