"""What held-out texts say of candidates: who is ahead for sure, and what the best of many loses."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from alembert.data.encoded import Encoded
from alembert.data.splits import Splits
from alembert.data.tasks import encode
from alembert.evaluation import predict
from alembert.evaluation.metrics import Logits
from alembert.evaluation.own_metric import Labelled
from alembert.evaluation.spans.scores import with_best_threshold
from alembert.evaluation.uncertainty.intervals import drawn_counts
from alembert.evaluation.uncertainty.kept import drawn_of, draws_of
from alembert.evaluation.uncertainty.resampling import CELLS, Rows, statistic
from alembert.io import seeds
from alembert.io.files import atomic
from alembert.io.tensors import damage_of, load_tensors, save_tensors
from alembert.models.loading import load_model, load_tokenizer

DRAWS = 500


def logits_of(model: str, splits: Splits, max_length: int) -> tuple[Logits, Encoded]:
    """Return a model's logits on the held-out texts, and these as its own tokenizer reads them.

    Questions have the threshold of "no answer" that is best for the model.
    """
    tokenizer, raw = load_tokenizer(model), splits.raw_valid
    read = encode(
        raw.rows, splits.task, raw.columns, tokenizer, max_length, "held-out texts", lenient=True,
        windows=splits.windows,
    )  # fmt: skip
    loaded, pad = load_model(model, splits.task.kind), int(tokenizer.pad_token_id or 0)
    logits = predict.predict(loaded, read, pad, title="held-out texts")
    return logits, with_best_threshold(read, logits)


def keep(path: Path, rows: Rows) -> None:
    """Write a candidate's labelled rows to `path`, with a checksum."""
    parts = {name: torch.tensor(part) for name, part in vars(rows.labelled).items()}
    with atomic(path) as partial:
        save_tensors(partial, parts, {})


def kept(path: Path, splits: Splits) -> Rows | None:
    """Return the rows that `keep` wrote; None where they are not there, or damaged."""
    if not path.is_file() or damage_of(path):
        return None
    parts = {name: part.numpy() for name, part in load_tensors(path).items()}
    return Rows(splits.task, Labelled(**parts), splits.valid.unseen)


def ranked(rows: Mapping[str, Rows], metric: str, sizes: Mapping[str, int]) -> list[str]:
    """Return the candidates: the largest of those that are not surely behind first.

    Surely behind is who is worse than the best by more than two standard errors of their difference
    on the same texts (paired bootstrap). A small student learns faster at first and a large one
    more in the end, so that among equals after a few steps the larger one is the better bet; and
    the order then stays what it is when a value moves by a text or two.
    """
    drawn, _ = drawn_of(rows, metric)
    order = sorted(rows, key=lambda name: (-drawn[name].value, name))
    behind = {name for name in order if (drawn[order[0]] - drawn[name]).ahead}
    equals = [name for name in order if name not in behind]
    equals.sort(key=lambda name: -sizes[name])
    return [*equals, *(name for name in order if name in behind)]


def too_high(rows: Mapping[str, Rows], metric: str) -> float:
    """Return by how much the best of several candidates looks better than it is, at least 0.

    Texts are drawn with replacement, and the candidate that is best on those drawn is measured on
    those that were not: over many draws it is worse there than the one that is best on all
    (bootstrap bias correction: Tsamardinos, Greasidou and Borboudakis 2018, section 4).
    """
    *_, last = rows.values()
    texts = np.unique(last.labelled.texts)
    draws = draws_of(metric, len(last.labelled.labels)) or max(min(DRAWS, CELLS // len(texts)), 1)
    generator = np.random.default_rng(seeds.sequence(0, seeds.BOOTSTRAP))
    drawn = drawn_counts(len(texts), draws, generator)
    inside, outside, whole = [], [], []
    for each in rows.values():
        of = statistic(each.task, metric, each.labelled, texts, each.unseen)
        inside.append(of(drawn))
        outside.append(of((drawn == 0).astype(np.float64)))
        whole.append(float(of(np.ones((len(texts), 1)))[0]))
    chosen = np.argmax(np.nan_to_num(np.array(inside), nan=-np.inf), axis=0)
    away = np.array(outside)
    lost = away[int(np.nanargmax(whole))] - away[chosen, np.arange(draws)]
    return max(float(np.nanmean(lost)), 0.0) if np.isfinite(lost).any() else 0.0
