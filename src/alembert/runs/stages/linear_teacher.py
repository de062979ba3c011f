"""Soft labels of a linear model on frozen vectors: what an encoder knows before it is fine-tuned.

A head drawn at random reads the first token, of which an encoder that was trained by the mean of
its tokens has made little, and moves the encoder before it has learnt anything (Kumar et al. 2022,
arXiv 2202.10054). The linear model reads all tokens, of a pair the two vectors' product, difference
and cosine, and takes seconds: imitating it first hands that knowledge to the head and the first
token, so that fine-tuning starts from the linear model's quality.
"""

import logging
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import concat, tokenize
from alembert.data.splits import Splits
from alembert.data.tasks import LOGITS, Task, no_labels
from alembert.data.texts.raw import Asked
from alembert.evaluation.baselines.fitting import Examples, embeddings_of
from alembert.evaluation.baselines.frozen import FrozenEncoder
from alembert.io import seeds
from alembert.recipes.schema import Stage
from alembert.training.logit_cache import WithTeacherLogits

log = logging.getLogger(__name__)

MOST = 20_000  # texts with a label, and as many without, that the linear model labels
MIXED = 0.5  # pairs of texts put together anew, as a share of the pairs of the task


def with_linear_teacher(
    splits: Splits, tokenizer: PreTrainedTokenizerBase, path: str, max_length: int, seed: int
) -> WithTeacherLogits:
    """Return training texts with the logits of a linear model on the frozen vectors of `path`.

    It is fitted on those with a label. Where no teacher labels the others that the run was given,
    they have its logits, too.
    Of pairs there are new ones, too, whose texts are those of two pairs: a student that sees the
    task's pairs alone learns less of how two texts compare.
    """
    train = Examples.of(splits.raw_train, splits.labelled_train, tokenizer)
    valid = Examples.of(splits.raw_valid, splits.valid, tokenizer)
    encoder = FrozenEncoder(path, max_length)
    fitted = embeddings_of(splits.task, train, valid, encoder)
    log.info(f"imitates {fitted.words}, fitted in {fitted.seconds:.1f} s, before the labels")
    most = _most(splits.task)
    part = train.drawn(most)
    if (others := splits.unlabelled) is not None and splits.raw_unlabelled is not None:
        texts_of = splits.raw_unlabelled.texts
        rows = others if others.per_token else others.beginnings  # no word's label is looked up
        more = Examples(texts_of, rows, tokenizer).drawn(most)
        log.info(f"it labels {len(more.texts):,} of the {len(texts_of):,} texts without a label")
        part = part.with_more(more)
    if splits.task.kind == "tokens":
        return WithTeacherLogits.of(part.rows, encoder.of_tokens(part.rows, fitted.model))
    texts, rows = list(part.texts), part.rows
    if splits.task.pair:
        mixed = _mixed(texts, np.random.default_rng(seeds.sequence(seed, seeds.MIXED)))
        labels = no_labels(mixed, splits.task)
        texts += mixed
        rows = concat(rows, tokenize(*_sides(mixed), labels, tokenizer, max_length, False))
    return WithTeacherLogits.of(rows, fitted.model(encoder(texts)))


def rows_read(stage: Stage, task: Task, train: int, unlabelled: int) -> int:
    """Return how many rows a stage reads of so many of train, and of others apart from them."""
    if stage.teacher != "linear":
        return train
    most = _most(task)
    rows = min(train, most) + min(unlabelled, most)
    return rows + int(MIXED * rows) if task.pair else rows


def rows_read_of(splits: Splits, stage: Stage) -> int:
    """Return how many rows of these splits a stage reads."""
    others = 0 if splits.unlabelled is None else len(splits.unlabelled)
    return rows_read(stage, splits.task, len(splits.train), others)


def _most(task: Task) -> int:
    return min(MOST, max(LOGITS // len(task.labels), 1))


def _mixed(pairs: Sequence[Sequence[str]], generator: np.random.Generator) -> list[Asked]:
    """Return pairs of a first text of one and a second text of another pair."""
    first, second = (generator.integers(len(pairs), size=int(MIXED * len(pairs))) for _ in "12")
    return [(pairs[i][0], pairs[j][1]) for i, j in zip(first, second, strict=True)]


def _sides(pairs: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    return [str(pair[0]) for pair in pairs], [str(pair[1]) for pair in pairs]
