"""Which shapes are tried, which stay, which wins: rules alone, of latencies and held-out values."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from alembert.search.space import Shape

KEPT = 3  # of so many candidates one goes on to the next rung, which has so many times the steps


def promising(ms: Mapping[Shape, float], count: int, fastest: bool) -> list[Shape]:
    """Which of the measured shapes are trained: as many of each recipe, one more of the first ones.

    Of a recipe's those that take longest: of what fits they hold most. fastest: the quickest that
    is good enough is wanted, so they lie evenly from its slowest to its quickest.
    """
    groups: dict[str, list[Shape]] = {}
    for shape in sorted(ms, key=lambda each: -ms[each]):
        groups.setdefault(shape.recipe, []).append(shape)
    turns = [(turn, recipe) for recipe, shapes in groups.items() for turn in range(len(shapes))]
    chosen = sorted(turns, key=lambda each: each[0])[:count]
    found: list[Shape] = []
    for recipe, shapes in groups.items():
        share = sum(name == recipe for _, name in chosen)
        if fastest and share:
            places = np.linspace(0, len(shapes) - 1, share).round().astype(int)
            found += [shapes[i] for i in places]
        else:
            found += shapes[:share]
    return found


def ranked(
    values: Mapping[str, float], ms: Mapping[str, float], share: float | None = None
) -> list[str]:
    """Names, best first: by held-out value, and where two are alike the quicker one.

    share: the quickest of those that reach this share of the best value come first.
    """
    order = sorted(values, key=lambda name: (-values[name], ms[name], name))
    if share is None or not order:
        return order
    enough = [name for name in order if values[name] >= share * values[order[0]]]
    rest = [name for name in order if name not in enough]
    return [*sorted(enough, key=lambda name: (ms[name], -values[name])), *rest]


def stay(count: int) -> int:
    """How many of `count` candidates go on: a third, rounded up."""
    return math.ceil(count / KEPT)


def next_up(
    name: str, values: Mapping[str, float], ms: Mapping[str, float], tried: Sequence[str]
) -> str | None:
    """The quickest that was better than this one after the first rung, and takes longer."""
    better = [
        each
        for each in values
        if each not in tried and ms[each] > ms[name] and values[each] > values[name]
    ]
    return min(better, key=lambda each: ms[each], default=None)
