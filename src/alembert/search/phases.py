"""The three phases of a search: shapes are timed, a few trained briefly, the winner fully."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from alembert.data.splits import Splits
from alembert.io.errors import UserError
from alembert.search import choice
from alembert.search.halving import halve
from alembert.search.latency import latency_of
from alembert.search.space import VOCABULARIES, Budget, Shape
from alembert.search.trials import Task, brief, full

log = logging.getLogger(__name__)

WORSE = 0.01  # share of the held-out value that the smaller vocabulary may cost


def sift(
    budget: Budget, task: Task, splits: Splits, shapes: Sequence[Shape]
) -> tuple[list[dict[str, Any]], dict[Shape, float]]:
    """A row for each shape, and the milliseconds of those within the budget."""
    limit = budget.max_latency_ms or float("inf")
    if (load := os.getloadavg()[0]) > (cores := os.cpu_count() or 1):
        log.info(
            f"{load:.0f} programs share {cores} cores: latencies come out too long, and are kept"
        )
    kind, labels = splits.task.kind, splits.task.labels
    rows: list[dict[str, Any]] = []
    fits: dict[Shape, float] = {}
    over: set[Shape] = set()
    with tqdm(total=len(shapes), desc="timing shapes", unit="shape", disable=None) as bar:
        for shape in shapes:
            row: dict[str, Any] = {"name": shape.name, **asdict(shape), "latency_ms": None}
            if shape.family not in over:
                student = shape.recipe_for(task.config).student
                found, known = latency_of(student, kind, labels, budget.length)
                row |= {"latency_ms": found.ms, "known": known, "cpu_s": found.cpu_s,
                        "wall_s": found.wall_s}  # fmt: skip
                if found.ms <= limit:
                    fits[shape] = found.ms
                else:
                    over.add(shape.family)
            rows.append(row | {"fits": shape in fits})
            bar.update()
    timed = [row for row in rows if row["latency_ms"] is not None]
    if not fits:
        option, mend = f"--max-latency-ms {limit:g}", "raise it"
        if budget.min_speedup is not None:
            option, mend = f"--min-speedup {budget.min_speedup:g}, {limit:.3g} ms", "ask for less"
        best = min(timed, key=lambda row: float(row["latency_ms"]))
        raise UserError(
            f"{option}: the fastest shape, {best['name']}, takes "
            f"{best['latency_ms']:.3g} ms (int8, {budget.length} tokens): {mend}, or lower "
            "--length"
        )
    log.info(
        f"{len(fits)} of {len(shapes)} shapes fit; {len(timed)} were timed "
        f"({sum(row['known'] for row in timed)} before), {len(shapes) - len(timed)} are deeper "
        "than one that is over the budget"
    )
    return rows, fits


@dataclass(frozen=True)
class Race:
    """Brief trainings: names by held-out value, rung by rung, and the one that came first.

    shares: of its whole training that each rung is, whatever the recipe.
    """

    shapes: dict[str, Shape]
    ms: dict[str, float]
    rungs: list[dict[str, float]]
    shares: list[float]
    first: str
    vocabulary: str
    trials: list[dict[str, Any]]


def race(
    budget: Budget, task: Task, fits: dict[Shape, float], vocabularies: Sequence[str],
    whole: dict[str, int],
) -> Race:  # fmt: skip
    """Train the promising ones briefly. whole: recipe -> steps of its whole training."""
    chosen = choice.promising(fits, budget.trials, budget.min_retention is not None)
    shapes = {shape.name: shape for shape in chosen}
    ms = {shape.name: fits[shape] for shape in chosen}
    mean = sum(whole.values()) / len(whole)
    trials: dict[str, dict[str, Any]] = {}
    log.info(f"training {len(chosen)} of {len(fits)} shapes briefly: {', '.join(shapes)}")

    def trained(name: str, steps: int, vocabulary: str = vocabularies[0]) -> float:
        own = max(round(steps * whole[shapes[name].recipe] / mean), 1)
        found = brief(task, shapes[name], vocabulary, own)
        trials[f"{name} {vocabulary} {own}"] = found
        return float(found["held_out"])

    share = budget.min_retention
    rungs = halve(list(shapes), ms, share, trained, budget.steps, task.home / "optuna.journal")
    first = choice.ranked(rungs[-1], ms, share)[0] if rungs else chosen[0].name
    vocabulary, steps = vocabularies[0], budget.steps * choice.KEPT ** max(len(rungs) - 1, 0)
    if len(vocabularies) > 1:
        fewer, every = (trained(first, steps, each) for each in VOCABULARIES)
        vocabulary = "task" if fewer >= every - WORSE * abs(every) else "all"
    shares = [budget.steps * choice.KEPT**k / mean for k in range(len(rungs))]
    return Race(shapes, ms, rungs, shares, first, vocabulary, list(trials.values()))


def finish(budget: Budget, task: Task, ran: Race, aim: dict[str, Any]) -> list[dict[str, Any]]:
    """Full trainings, the last one the winner; where it keeps too little, a slower one follows."""
    name, fulls = ran.first, list[dict[str, Any]]()
    while True:
        log.info(f"training {name} fully, vocabulary {ran.vocabulary}")
        fulls.append(full(task, ran.shapes[name], ran.vocabulary, budget.epochs, budget.length))
        found = fulls[-1]
        kept = found["held_out"] / aim["held_out"] if aim["held_out"] else 0.0
        limit = budget.max_latency_ms
        if limit is not None and found["latency_ms"] > limit:
            log.info(
                f"{name} took {found['latency_ms']:.3g} ms when it was timed again, over "
                f"{limit:g}: the machine was busier then than now, or is now"
            )
        if budget.min_retention is None or kept >= budget.min_retention or not ran.rungs:
            return fulls
        tried = [each["name"] for each in fulls]
        slower = choice.next_up(name, ran.rungs[0], ran.ms, tried)
        log.info(f"{name} keeps {kept:.1%} of the teacher's held-out {aim['metric']}")
        if slower is None:
            return fulls
        name = slower
