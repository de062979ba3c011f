"""A metric of one's own: the value of a function named module:function, and its standard error."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.io.errors import UserError
from alembert.io.named import named

GROUPS = 20  # of texts, each left out once


@dataclass(frozen=True)
class Labelled:
    """Rows that have a label: of texts, or of words where the task is tags.

    logits are (N, C), or scores (N,) in regression. labels are class ids (N,), scores (N,), or 0/1
    (N, C) of several labels. texts (N,) has the number of each row's text. Of questions logits are
    the scores of their answers, (N, 2), and labels say nothing.
    """

    logits: NDArray[Any]
    labels: NDArray[Any]
    texts: NDArray[np.int64]


def check(name: str, option: str = "metric") -> None:
    """Raise UserError for a module:function that cannot be imported or called."""
    if not callable(named(name, option)):
        raise UserError(f"{option} {name}: cannot be called: name a function")


def value(name: str, rows: Labelled) -> float:
    """Return function(logits, labels). Raises UserError for anything but a finite number."""
    found = named(name, "metric")(rows.logits.copy(), rows.labels.copy())
    if not isinstance(found, Real) or not math.isfinite(found):
        raise UserError(
            f"metric {name}: returned {found!r}: let it return a finite number, of which higher "
            "is better"
        )
    return float(found)


def standard_error(name: str, rows: Labelled) -> float:
    """Return the standard error over texts, by a jackknife that leaves out a group at a time.

    It needs no formula of the metric and no random numbers: twenty values, each without every
    twentieth text (Shao and Tu 1995, section 5.1.2). It is 0 for a single text.
    """
    group = np.unique(rows.texts, return_inverse=True)[1] % GROUPS
    count = int(group.max()) + 1
    if count < 2:
        return 0.0
    kept = [group != k for k in range(count)]
    values = [
        value(name, Labelled(rows.logits[rest], rows.labels[rest], rows.texts[rest]))
        for rest in kept
    ]
    return float(np.sqrt((count - 1) * np.var(values)))
