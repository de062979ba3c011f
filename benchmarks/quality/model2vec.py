"""Model2Vec on a task: distilled from an encoder, and tuned on the rows that all others have.

A candidate is a body and how it is fitted. Bodies have DIMS principal components each, and are
taken as distilled, and trained further to the encoder's vectors of all texts of the task, with a
label or without (StaticModelForSimilarity). Single texts have a classifier that trains the body,
too (StaticModelForClassification, at its own settings, which stops early on the held-out slice).
Of pairs, the features and the linear models are those of the baseline `frozen embeddings` (product,
difference and cosine; scores by ridge regression or the cosine alone), of the bodies above and of
those trained to bring texts of a pair together (StaticModelForPairSimilarity). The candidate that
is best on the held-out slice is measured.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.data.encoded import Encoded
from alembert.data.splits import Files, prepare
from alembert.data.tasks import Task
from alembert.evaluation.baselines.fitting import Examples, embeddings_of
from alembert.evaluation.baselines.frozen import FrozenEncoder
from alembert.evaluation.metrics import metrics
from alembert.io.answers import Text
from alembert.io.files import atomic
from alembert.io.locks import waited_for
from alembert.models.loading import load_tokenizer
from benchmarks.lab.results import Row
from benchmarks.quality.shares import Part

DIMS = (256, 96)
LENGTH = 128  # tokens of a text, as teachers and students read
RELATED = 0.75  # of the scores: pairs from this quantile on are brought together
LEAST = 2  # pairs that StaticModelForPairSimilarity needs
Body = Any  # a StaticModel
Logits = Callable[[Sequence[Text]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Given:
    """A task at one share of its labels: the rows to learn from, to choose by and to judge by."""

    task: Task
    train: Examples
    valid: Examples
    test: Examples
    seed: int

    @classmethod
    def of(cls, part: Part, encoder: str, seed: int) -> "Given":
        """The rows that a run of this seed has, the same ones held out."""
        tokenizer = load_tokenizer(encoder)
        files = Files(train=part.train, evaluation=part.test)
        splits = prepare(files, tokenizer, LENGTH, None, seed)
        assert splits.raw_test is not None
        assert splits.test is not None
        return cls(
            task=splits.task, seed=seed,
            train=Examples.of(splits.raw_train, splits.labelled_train, tokenizer),
            valid=Examples.of(splits.raw_valid, splits.valid, tokenizer),
            test=Examples.of(splits.raw_test, splits.test, tokenizer),
        )  # fmt: skip

    def names(self, examples: Examples) -> list[str]:
        """The class of each text."""
        return [self.task.labels[i] for i in examples.labels]

    def value(self, logits: Logits, on: Examples) -> float:
        return float(metrics(self.task, logits(on.texts), on.rows)[self.task.metric])


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A candidate: its name, its logits of texts, and what saves it in a folder."""

    name: str
    logits: Logits
    save: Callable[[Path], None]


class Vectors(FrozenEncoder):
    """A body's vectors in the place of a frozen encoder's."""

    def __init__(self, body: Body, encoder: str) -> None:
        self.path, self.tokenizer, self._body = encoder, load_tokenizer(encoder), body

    @property
    def digest(self) -> str:
        state = np.ascontiguousarray(self._body.embedding)
        return f"model2vec {hashlib.sha256(state.tobytes()).hexdigest()}"

    def __call__(self, texts: Sequence[Text], rows: Encoded | None = None) -> NDArray[np.float32]:
        """Features of texts (N, F); rows, which the encoder would read, are not looked at."""
        if isinstance(texts[0], tuple):
            return super().__call__(texts)
        found = np.asarray(self._body.encode(list(texts)), np.float32)
        unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-12)
        return unit


def tuned(part: Part, encoder: str, *, seed: int, bodies: Path, of_task: Path, to: Path) -> Row:
    """Fit all candidates, save the best in `to`, and return its value and name.

    bodies: the folder of what is distilled; of_task: that of the bodies of a task, which all shares
    and seeds have in common.
    """
    given = Given.of(part, encoder, seed)
    texts = _all_texts(part)
    found = [
        fitted
        for name, body in _bodies(encoder, texts, bodies, of_task)
        for fitted in _candidates(name, body, encoder, given)
    ]
    held_out = [given.value(each.logits, given.valid) for each in found]
    best = found[int(np.argmax(held_out))]
    with atomic(to) as folder:
        best.save(folder)
    tried = {each.name: round(value, 4) for each, value in zip(found, held_out, strict=True)}
    return {"value": given.value(best.logits, given.test), "made": best.name, "held_out": tried}


def _all_texts(part: Part) -> list[str]:
    """Every text of a task's training file, once."""
    files = Files(train=part.whole)
    read = files.labelled(files.train, None)
    columns = [read.rows[name][:] for name in read.columns.texts]
    return list(dict.fromkeys(str(text) for column in columns for text in column))


def _bodies(
    encoder: str, texts: list[str], bodies: Path, of_task: Path
) -> Iterator[tuple[str, Body]]:
    """The bodies of each width: as distilled, and trained to the encoder's vectors of texts."""
    for dims in DIMS:
        plain = _kept(bodies / str(dims), partial(_distilled, encoder, dims))
        yield f"{dims}", plain
        make = partial(_trained, plain, texts, encoder, of_task)
        yield f"{dims} trained on texts", _kept(of_task / str(dims), make)


def _kept(folder: Path, make: Callable[[], Body]) -> Body:
    """A body that is made where it is not there."""
    from model2vec import StaticModel

    folder.parent.mkdir(parents=True, exist_ok=True)
    with waited_for(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with atomic(folder) as partial_folder:
                make().save_pretrained(partial_folder)
    return StaticModel.from_pretrained(folder)


def _distilled(encoder: str, dims: int) -> Body:
    from model2vec.distill import distill

    return distill(encoder, pca_dims=dims)


def _trained(body: Body, texts: list[str], encoder: str, of_task: Path) -> Body:
    from model2vec.train import StaticModelForSimilarity

    file = of_task / "vectors.npy"
    if not file.is_file():
        with atomic(file) as partial_file, partial_file.open("wb") as opened:
            np.save(opened, FrozenEncoder(encoder, LENGTH)(texts))
    model = StaticModelForSimilarity.from_static_model(model=body)
    return model.fit(texts, np.load(file)).to_static_model()


def _candidates(name: str, body: Body, encoder: str, given: Given) -> Iterator[Fitted]:
    if given.task.kind == "classification" and not given.task.pair:
        yield _classifier(name, body, given)
        return
    yield _linear(name, body, encoder, given)
    if given.task.pair and (nearer := _brought_together(body, encoder, given)) is not None:
        yield _linear(f"{name}, trained on pairs", nearer, encoder, given)


def _classifier(name: str, body: Body, given: Given) -> Fitted:
    from model2vec.train import StaticModelForClassification

    model = StaticModelForClassification.from_static_model(model=body)
    model.fit(
        given.train.texts, given.names(given.train), X_val=given.valid.texts,
        y_val=given.names(given.valid), random_seed=given.seed,
    )  # fmt: skip
    pipeline = model.to_pipeline()
    columns = [given.task.labels.index(label) for label in pipeline.classes_]

    def logits(texts: Sequence[Text]) -> NDArray[np.float32]:
        found = np.zeros((len(texts), len(given.task.labels)), np.float32)
        found[:, columns] = pipeline.predict_proba(list(texts))
        return found

    return Fitted(name=name, logits=logits, save=pipeline.save_pretrained)


def _linear(name: str, body: Body, encoder: str, given: Given) -> Fitted:
    vectors = Vectors(body, encoder)
    fitted = embeddings_of(given.task, given.train, given.valid, vectors)

    def logits(texts: Sequence[Text]) -> NDArray[np.float32]:
        return fitted.model(vectors(texts))

    def save(folder: Path) -> None:
        body.save_pretrained(folder)
        np.savez(folder / "head.npz", weight=fitted.model.weight, bias=fitted.model.bias)

    words = fitted.words.removeprefix("frozen embeddings, ")
    return Fitted(name=f"{name}: {words}", logits=logits, save=save)


def _brought_together(body: Body, encoder: str, given: Given) -> Body | None:
    """The body trained on pairs that belong together; None where there are too few of them."""
    from model2vec.train import StaticModelForPairSimilarity

    vectors = Vectors(body, encoder)
    pairs = [
        _related(each, given.train, given.task, vectors) for each in (given.train, given.valid)
    ]
    if min(map(len, pairs)) < LEAST:
        return None
    (first, second), (judge, other) = (list(map(list, zip(*each, strict=True))) for each in pairs)
    model = StaticModelForPairSimilarity.from_static_model(model=body)
    model.fit(first, second, text_a_val=judge, text_b_val=other, random_seed=given.seed)
    return model.to_static_model()


def _related(
    examples: Examples, train: Examples, task: Task, vectors: Vectors
) -> list[tuple[str, str]]:
    """The pairs of high scores, or of the class whose texts are nearest to each other in train."""
    if task.kind == "regression":
        chosen = examples.labels >= np.quantile(train.labels, RELATED)
    else:
        cosines = vectors(train.texts)[:, -1]
        classes = np.unique(train.labels)
        near = classes[np.argmax([cosines[train.labels == each].mean() for each in classes])]
        chosen = examples.labels == near
    pairs = [(str(pair[0]), str(pair[1])) for pair in examples.texts]
    return [pair for pair, there in zip(pairs, chosen, strict=True) if there]
