"""Quality by slice: the metric of each model among the texts of one value of a column."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from alembert.data.encoded import Encoded
from alembert.data.labels import list_names
from alembert.data.questions.windows import Windows
from alembert.evaluation.uncertainty.kept import OWN_FEWEST, drawn_of
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.io.errors import UserError
from alembert.io.named import is_named

Slices = dict[str, dict[str, dict[str, Any]]]  # by column and value

SMALL = 30  # texts below which a slice is called small
MOST = 20  # values of a column; the texts of all rarer ones are one slice
LENGTH = "length in tokens"
EMPTY = "(empty)"


def check(names: Sequence[str], columns: Sequence[str], source: str) -> list[str]:
    """Return the columns of these names, ignoring case; UserError for one that is not there."""
    there = {name.strip().casefold(): name for name in reversed(columns)}
    for name in names:
        if name.strip().casefold() not in there:
            near = difflib.get_close_matches(name.strip().casefold(), there, n=3)
            hint = f"near are {list_names([repr(there[each]) for each in near])}"
            hint = hint if near else f"it has {list_names([repr(each) for each in columns])}"
            raise UserError(f"--slice {name}: {source} has no such column; {hint}")
    return [there[name.strip().casefold()] for name in names]


def values_of(rows: Dataset, names: Sequence[str], source: str) -> dict[str, list[str]]:
    """Return the values of each column as texts, of rare values the number of them."""
    found = {}
    for name in check(names, rows.column_names, source):
        values = [EMPTY if value is None else str(value).strip() or EMPTY for value in rows[name]]
        counts = Counter(values)
        rare = {value for value, _ in counts.most_common()[MOST:]}
        others = f"{len(rare):,} rarer values"
        found[name] = [others if value in rare else value for value in values]
    return found


def lengths_of(data: Encoded) -> list[str]:
    """Return the quarter of the texts' lengths in tokens to which each text belongs, in words.

    The length of a question is that of its context.
    """
    lengths = data.sizes
    if isinstance(data, Windows):
        lengths = np.array([len(question.offsets) for question in data.questions])
    edges = np.unique(np.quantile(lengths, (0.25, 0.5, 0.75)).astype(int))
    starts = [int(lengths.min()), *(edges + 1).tolist()]
    ends = [*edges.tolist(), int(lengths.max())]
    pairs = zip(starts, ends, strict=True)
    names = [str(low) if low == high else f"{low} to {high}" for low, high in pairs]
    return [names[k] for k in np.searchsorted(edges, lengths)]


def slices_of(models: Mapping[str, Rows], columns: Mapping[str, Sequence[str]]) -> Slices:
    """Return by column and value n, `small`, the metric of each model, and of two the difference.

    columns has a value for each row. The models are those of one set of rows and one metric; the
    difference is that of the second to the first, with its interval.
    """
    found: Slices = {}
    for column, values in columns.items():
        shown = np.asarray(values, dtype=object)
        order = Counter(values).most_common()
        names = [name for name, _ in order]
        if column == LENGTH:
            names.sort(key=lambda name: int(name.partition(" ")[0]))
        parts = {name: _slice(models, np.flatnonzero(shown == name)) for name in names}
        found[column] = {name: part for name, part in parts.items() if part is not None}
    return found


def _slice(models: Mapping[str, Rows], rows: NDArray[np.int64]) -> dict[str, Any] | None:
    """Return the metric of each model on these rows; None where none of them has a label."""
    first = next(iter(models.values()))
    texts, metric = np.intersect1d(rows, first.labelled.texts), first.task.metric
    if not len(texts):
        return None
    drawn, _ = drawn_of(models, metric, texts, OWN_FEWEST if is_named(metric) else None)
    part: dict[str, Any] = {"n": len(texts), "small": len(texts) < SMALL}
    part |= {name: each.value for name, each in drawn.items()}
    if len(drawn) == 2:
        one, other = drawn.values()
        if (apart := (other - one).interval) is not None:
            part["difference"] = apart.bounds
    return part
