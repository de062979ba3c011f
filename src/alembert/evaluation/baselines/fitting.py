"""Makes the baselines of a task, chosen on held-out texts and cached by their content."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import Encoded, concat, words_read
from alembert.data.tasks import Task
from alembert.data.texts.raw import RawRows
from alembert.evaluation.baselines import linear
from alembert.evaluation.baselines.features import SparseFeatures, Terms
from alembert.evaluation.baselines.frozen import COSINE, FrozenEncoder
from alembert.evaluation.baselines.linear import Features, Linear
from alembert.evaluation.metrics import Logits, metrics
from alembert.io.answers import Text
from alembert.io.files import CACHE_FIX, atomic, cache
from alembert.io.locks import waited_for
from alembert.io.progress import doing
from alembert.io.tensors import damage_of, facts_of, load_tensors, save_tensors
from alembert.models.precision import torch_threads

log = logging.getLogger(__name__)

VERSION = 3  # of the cache's files
CHARACTERS = 10_000_000  # of the training texts that TF-IDF learns from,
OUTPUTS = 20  # and in proportion fewer where there are more labels than these
VECTORS = 20_000  # of training texts, or of their words, that a linear model learns from


@dataclass(frozen=True, eq=False)
class Examples:
    """Texts of a task beside their encoded rows, which have the labels.

    Of a text of words, those are kept of which the rows have a token. Of windows of other texts the
    first ones are kept.
    """

    texts: Sequence[Text]
    rows: Encoded
    tokenizer: PreTrainedTokenizerBase  # has encoded the rows

    @classmethod
    def of(cls, raw: RawRows, rows: Encoded, tokenizer: PreTrainedTokenizerBase) -> "Examples":
        """Return the texts of rows before their encoding, beside the encoded rows."""
        texts: Any = raw.texts
        if rows.per_token:
            return cls(words_read(texts, rows.whole, tokenizer), rows, tokenizer)
        return cls(texts, rows.beginnings, tokenizer)

    @property
    def labels(self) -> NDArray[Any]:
        """Ids (N,), scores (N,), or 0/1 (N, C); of tags N is all words."""
        return self.rows.labels[self.rows.labelled] if self.rows.per_token else self.rows.labels

    def drawn(self, most: int) -> "Examples":
        """Return at most so many of the texts, drawn at random, in their order."""
        if len(self.texts) <= most:
            return self
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.texts))[:most])
        return Examples([self.texts[i] for i in chosen], self.rows.of_texts(chosen), self.tokenizer)

    def with_more(self, more: "Examples") -> "Examples":
        """Return these texts and further ones."""
        rows = concat(self.rows, more.rows)
        return Examples([*self.texts, *more.texts], rows, self.tokenizer)


@dataclass(frozen=True, eq=False, kw_only=True)
class Baseline:
    """A finished baseline: its logits on test, the seconds of its making, and itself in words.

    It answers one text on one thread.
    """

    logits: Logits
    seconds: float
    model: str
    answer: Callable[[Text], NDArray[np.float32]]  # logits (C,) of a text, or (W, C) of its words


@dataclass(frozen=True, eq=False)
class Fitted:
    """A linear model, the words that describe it, and the terms of its features, if they have any.

    `seconds` is how long its making took.
    """

    model: Linear
    words: str
    terms: Terms
    seconds: float = 0.0


def baselines_of(
    task: Task, train: Examples, valid: Examples, test: Examples, encoder: FrozenEncoder | None
) -> dict[str, Baseline]:
    """Return the baselines by name: majority, tfidf and, with a frozen encoder, embeddings.

    Each is fitted on train, at the strength of regularisation that is best on valid. What is fitted
    is cached by the content of train and valid, the task and the encoder.
    """
    digest = _digest(task, train, valid)
    shares = linear.constant(task.kind, train.labels, len(task.labels))
    name = "mean of the scores" if task.kind == "regression" else "shares of the labels"
    majority = Fitted(shares, name, {})
    found = {"majority": _finished(task, majority, _no_features, test, _no_features(test.texts))}

    sparse = _cached("tfidf", digest, lambda: _fit_tfidf(task, train, valid))
    terms = SparseFeatures(sparse.terms)
    found["tfidf"] = _finished(task, sparse, terms, test, terms(test.texts))

    if encoder is not None:
        dense = embeddings_of(task, train, valid, encoder)
        found["embeddings"] = _finished(task, dense, encoder, test, _read(encoder, test))
    return found


def embeddings_of(task: Task, train: Examples, valid: Examples, encoder: FrozenEncoder) -> Fitted:
    """Return the linear model of the encoder's frozen features, from the cache if it is there."""
    key = f"{_digest(task, train, valid)} {encoder.digest}"
    return _cached("embeddings", key, lambda: _fit_embeddings(task, train, valid, encoder))


def _no_features(texts: Sequence[Text]) -> NDArray[np.float32]:
    rows = sum(map(len, texts)) if isinstance(texts[0], list) else len(texts)
    return np.zeros((rows, 0), np.float32)


def _finished(
    task: Task,
    fitted: Fitted,
    read: Callable[[Sequence[Text]], Features],
    test: Examples,
    features: Features,
) -> Baseline:
    """Return a baseline with its logits on test, whose features are given."""

    def answer(text: Text) -> NDArray[np.float32]:
        with torch_threads(1):
            logits = fitted.model(read([text]))
        return logits if task.kind == "tokens" else logits[0]

    return Baseline(
        logits=_placed(fitted.model(features), test.rows),
        seconds=fitted.seconds,
        model=fitted.words,
        answer=answer,
    )


def _read(encoder: FrozenEncoder, examples: Examples) -> NDArray[np.float32]:
    """Return the encoder's features; rows that its own tokenizer has encoded are taken as such."""
    own = encoder.tokenizer.get_vocab() == examples.tokenizer.get_vocab()
    return encoder(examples.texts, examples.rows if own else None)


def _placed(logits: NDArray[np.float32], rows: Encoded) -> Logits:
    """Return logits (N, C) as those of a model: of tags, each word's at its first token."""
    if not rows.per_token:
        return logits
    whole = rows.whole
    every = np.zeros((len(whole.labels), logits.shape[1]), np.float32)
    every[whole.labelled] = logits
    return np.split(every, whole.offsets[1:-1])


def _fit_tfidf(task: Task, train: Examples, valid: Examples) -> Fitted:
    most = CHARACTERS * OUTPUTS // max(OUTPUTS, len(task.labels))
    chosen, judges = (_short_enough(part, most) for part in (train, valid))
    read = SparseFeatures.learnt(chosen.texts)
    model, words = _best(task, read(chosen.texts), chosen, read(judges.texts), judges)
    what = "cues of words" if task.kind == "tokens" else "TF-IDF"
    return Fitted(model, f"{what}, {words}{_of(chosen, train)}", read.terms)


def _short_enough(examples: Examples, most: int) -> Examples:
    """Return as many of the texts as have so many characters, by their mean."""
    characters = sum(len(part) for text in examples.texts for part in text)
    return examples.drawn(max(1, most * len(examples.texts) // max(characters, 1)))


def _texts_of_vectors(examples: Examples) -> int:
    """Return how many of the texts have VECTORS, by their mean: of tags a word has one."""
    return max(1, VECTORS * len(examples.texts) // max(len(examples.labels), 1))


def _fit_embeddings(task: Task, train: Examples, valid: Examples, encoder: FrozenEncoder) -> Fitted:
    chosen, judges = (part.drawn(_texts_of_vectors(part)) for part in (train, valid))
    features, held_out = _read(encoder, chosen), _read(encoder, judges)
    model, words = _best(task, features, chosen, held_out, judges)
    if task.kind == "regression" and task.pair:
        line = linear.only(COSINE, features, chosen.labels)
        if _value(task, line, held_out, judges) > _value(task, model, held_out, judges):
            model, words = line, "cosine alone"
    return Fitted(model, f"frozen embeddings, {words}{_of(chosen, train)}", {})


def _best(
    task: Task, features: Features, train: Examples, held_out: Features, valid: Examples
) -> tuple[Linear, str]:
    """Return the model at the strength that is best on valid, of equal ones the strongest."""
    strengths = linear.strengths(task.kind, features)
    models = [
        linear.fit(task.kind, features, train.labels, len(task.labels), strength)
        for strength in strengths
    ]
    values = [_value(task, model, held_out, valid) for model in models]
    best = int(np.argmax(values))
    return models[best], f"{linear.name_of(task.kind, features)} (C {strengths[best]:g})"


def _value(task: Task, model: Linear, features: Features, valid: Examples) -> float:
    return metrics(task, _placed(model(features), valid.rows), valid.rows)[task.metric]


def _of(chosen: Examples, every: Examples) -> str:
    """Return the words on the part of the texts that was read, if not all were."""
    few = len(chosen.texts) < len(every.texts)
    return f", of {len(chosen.texts):,} of {len(every.texts):,} texts" if few else ""


def _digest(task: Task, train: Examples, valid: Examples) -> str:
    """Return the sha256 of the task, the texts and the labels."""
    told = [VERSION, sklearn.__version__, task.kind, task.labels, task.metric, task.pair]
    state = hashlib.sha256(json.dumps(told).encode())
    for part in (train, valid):
        state.update(json.dumps(part.texts).encode())
        state.update(np.ascontiguousarray(part.labels).data)
    return state.hexdigest()


def _cached(name: str, digest: str, make: Callable[[], Fitted]) -> Fitted:
    """Return what is fitted, from the cache if it is there; a damaged file is made again."""
    key = hashlib.sha256(digest.encode()).hexdigest()[:32]
    path = cache("baselines") / f"{name}-{key}.safetensors"
    with waited_for(path.with_suffix(".lock"), fix=CACHE_FIX):
        if path.is_file() and (damage := damage_of(path)):
            log.warning(f"{path}: is damaged ({damage}): the baseline is made again")
            path.unlink()
        if not path.is_file():
            began = time.perf_counter()
            with doing(f"fitting a baseline, {name}"):
                made = make()
            seconds = time.perf_counter() - began
            made_facts = {"words": made.words, "terms": made.terms, "seconds": seconds}
            tensors = {name: torch.from_numpy(part) for name, part in vars(made.model).items()}
            with atomic(path, CACHE_FIX) as partial:
                save_tensors(partial, tensors, made_facts)
        parts = {name: part.numpy() for name, part in load_tensors(path).items()}
        facts = facts_of(path)
    return Fitted(Linear(**parts), facts["words"], facts["terms"], facts["seconds"])
