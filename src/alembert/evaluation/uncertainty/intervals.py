"""Intervals of metrics by a paired bootstrap over texts, and tests of two models on one set.

A sample of as many texts as there are is drawn with replacement, thousands of times, and every
model is measured on the same samples: differences and ratios of models are then those of one
sample. The interval is that of the middle 95 % of the values (Efron and Tibshirani 1993, section
13.3). Of tags whole texts are drawn, since the words of a text depend on one another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, t

from alembert.evaluation.uncertainty.resampling import CELLS, Counts, Statistic, Values
from alembert.io import seeds

DRAWS, FEWEST, DRAWN = 2000, 500, 100_000_000  # draws; of very many texts fewer, down to FEWEST
LEVEL = 0.95
SURE = 2.0  # standard errors
DEFINED = 0.9  # the least share of draws on which a metric has to be defined


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def reaches(self, value: float) -> bool:
        """Whether a value lies within the bounds."""
        return self.low <= value <= self.high

    @property
    def bounds(self) -> list[float]:
        """The bounds, as metrics.json has them."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Drawn:
    """A metric, or what is computed from metrics: its value, and those on D samples of texts."""

    value: float
    draws: Values

    def __sub__(self, other: "Drawn") -> "Drawn":
        return Drawn(self.value - other.value, self.draws - other.draws)

    def over(self, other: "Drawn") -> "Drawn | None":
        """Return the ratio; None where the divisor, or its interval, reaches 0."""
        bounds = other.interval
        if bounds is None or min(bounds.low, other.value) <= 0:
            return None
        positive = np.where(other.draws > 0, other.draws, np.nan)
        return Drawn(self.value / other.value, self.draws / positive)

    @property
    def ahead(self) -> bool:
        """Whether a difference is over 0 by more than two standard errors."""
        return bool(self.value > SURE * np.nanstd(self.draws))

    @property
    def interval(self) -> Interval | None:
        """The percentile interval; None where the metric is not defined on many samples."""
        defined = self.draws[np.isfinite(self.draws)]
        if len(defined) < DEFINED * len(self.draws) or not math.isfinite(self.value):
            return None
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(defined, [tail, 100 - tail])
        return Interval(self.value, float(low), float(high))


def bootstrap(
    statistics: Mapping[str, Statistic], texts: int, draws: int | None = None, seed: int = 0
) -> dict[str, Drawn]:
    """Return each statistic on all texts and on the same samples of them, by its name."""
    draws = draws or min(DRAWS, max(FEWEST, DRAWN // max(texts, 1)))
    generator = np.random.default_rng(seeds.sequence(seed, seeds.BOOTSTRAP))
    found: dict[str, list[Values]] = {name: [] for name in statistics}
    most = max(CELLS // max(texts, 1), 1)
    for start in range(0, draws, most):
        counts = drawn_counts(texts, min(most, draws - start), generator)
        for name, statistic in statistics.items():
            found[name].append(statistic(counts))
    once = np.ones((texts, 1))
    return {
        name: Drawn(float(statistic(once)[0]), np.concatenate(found[name]))
        for name, statistic in statistics.items()
    }


def drawn_counts(texts: int, draws: int, generator: np.random.Generator) -> Counts:
    """Return how often each text is in each of so many samples, (N, D)."""
    chosen = generator.integers(texts, size=(texts, draws))
    cells = np.bincount((chosen * draws + np.arange(draws)).ravel(), minlength=texts * draws)
    return cells.reshape(texts, draws).astype(np.float64)


def of_share(drawn: Drawn, texts: int) -> Interval | None:
    """Return the interval of a share such as accuracy, which is never of width 0.

    Where all texts are right, or none, every sample is like that: the exact bound of a share
    (Clopper and Pearson 1934) takes the place of the one that has no width.
    """
    found, nearest = drawn.interval, ((1 - LEVEL) / 2) ** (1 / max(texts, 1))
    if found is None or found.low < found.high:
        return found
    if found.value == 1:
        return Interval(1.0, nearest, 1.0)
    return Interval(0.0, 0.0, 1 - nearest) if found.value == 0 else found


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p of McNemar's test that two classifiers err equally often.

    first and second say of each text whether the classifier is right (McNemar 1947).
    """
    only_first = int((first & ~second).sum())
    differing = int((first != second).sum())
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def of_mean(values: Sequence[float]) -> Interval:
    """Return the mean of two or more values, one a seed, with Student's t interval."""
    mean, count = float(np.mean(values)), len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    reach = float(t.ppf((1 + LEVEL) / 2, count - 1)) * error
    return Interval(mean, mean - reach, mean + reach)
