"""Successive halving: which shapes are trained, and which go on, by latency and held-out value."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from alembert.search.space import Shape

REDUCTION = 3  # a third of a rung's candidates go on, to three times the steps


def promising(ms: Mapping[Shape, float], count: int, fastest: bool) -> list[Shape]:
    """Return the shapes to train: the same number of each recipe, the first ones one more.

    They are a recipe's largest, without those that are smaller than another in every way. With
    `fastest`, the search is for the fastest that suffices, and they are evenly spaced from the
    largest to the smallest.
    """
    left = [each for each in ms if fastest or not any(each.within(other) for other in ms)]
    groups: dict[str, list[Shape]] = {}
    for shape in sorted(left, key=lambda each: (-each.multiplications, each.name)):
        groups.setdefault(shape.recipe, []).append(shape)
    turns = [(turn, recipe) for recipe, shapes in groups.items() for turn in range(len(shapes))]
    chosen = sorted(turns, key=lambda each: each[0])[:count]
    selected: list[Shape] = []
    for recipe, shapes in groups.items():
        share = sum(name == recipe for _, name in chosen)
        if fastest and share:
            spaced = np.linspace(0, len(shapes) - 1, share).round().astype(int)
            selected += [shapes[i] for i in spaced]
        else:
            selected += shapes[:share]
    return selected


def ranked(
    values: Mapping[str, float], ms: Mapping[str, float], share: float | None = None
) -> list[str]:
    """Return the names by held-out value, the best first; of equal ones, the faster first.

    With `share`, those that reach this share of the best value come first, the fastest first.
    """
    order = sorted(values, key=lambda name: (-values[name], ms[name], name))
    if share is None or not order:
        return order
    enough = [name for name in order if values[name] >= share * values[order[0]]]
    rest = [name for name in order if name not in enough]
    return [*sorted(enough, key=lambda name: (ms[name], -values[name])), *rest]


def halve(
    names: Sequence[str],
    ranks: Callable[[Mapping[str, float]], list[str]],
    train: Callable[[str, int], float],
    steps: int,
) -> list[dict[str, float]]:
    """Train rungs of growing length until one candidate is left; return each rung's values.

    `train` returns the held-out value of a candidate after so many steps, and `ranks` puts the best
    of a rung first. Its best third, rounded up, goes on (Jamieson and Talwalkar 2016).
    """
    rungs: list[dict[str, float]] = []
    while len(names) > 1:
        rungs.append({name: train(name, steps) for name in names})
        best = ranks(rungs[-1])[: math.ceil(len(names) / REDUCTION)]
        names = [name for name in names if name in best]
        steps *= REDUCTION
    return rungs


def next_up(
    name: str, values: Mapping[str, float], ms: Mapping[str, float], tried: Sequence[str]
) -> str | None:
    """Return the fastest of the slower candidates that were better after the first rung."""
    better = [
        each
        for each in values
        if each not in tried and ms[each] > ms[name] and values[each] > values[name]
    ]
    return min(better, key=lambda each: ms[each], default=None)
