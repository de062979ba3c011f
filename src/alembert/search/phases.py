"""The three phases of a search: timing shapes, training a few briefly, the winner fully."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alembert.data.splits import Splits
from alembert.io.errors import UserError
from alembert.io.progress import Work
from alembert.search import halving
from alembert.search.latency import END_TO_END, latency_of
from alembert.search.space import VOCABULARIES, Budget, Shape
from alembert.search.trials import Task, train_fully, train_steps

log = logging.getLogger(__name__)

TOLERANCE = 0.01  # share of the held-out value that a trimmed vocabulary may cost


def time_shapes(
    budget: Budget, task: Task, splits: Splits, shapes: Sequence[Shape]
) -> tuple[list[dict[str, Any]], dict[Shape, float]]:
    """Return a row for each shape, and the milliseconds of those within the budget.

    Raises UserError where none is. Shapes deeper than one over the budget are not timed.
    """
    limit = budget.max_latency_ms or float("inf")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # which Windows has not
    if load > (cores := os.cpu_count() or 1):
        log.info(
            f"{load:.0f} programs share {cores} cores: latencies come out too long, and are kept"
        )
    kind, labels = splits.task.kind, splits.task.labels
    rows: list[dict[str, Any]] = []
    fits: dict[Shape, float] = {}
    over: set[Shape] = set()
    with Work("timing shapes", len(shapes), "shapes") as work:
        for shape in shapes:
            work.tell(shape=shape.name)
            row: dict[str, Any] = {"name": shape.name, **asdict(shape), "latency_ms": None}
            if shape.family not in over:
                student = shape.recipe_for(task.config).student
                latency, known = latency_of(student, kind, labels, task.sample)
                row |= {"latency_ms": latency.ms, "known": known, "cpu_s": latency.cpu_s,
                        "wall_s": latency.wall_s}  # fmt: skip
                if latency.ms <= limit:
                    fits[shape] = latency.ms
                else:
                    over.add(shape.family)
            rows.append(row | {"fits": shape in fits})
            work.update()
    timed = [row for row in rows if row["latency_ms"] is not None]
    if not fits:
        option, fix = f"--max-latency-ms {limit:g}", "raise it"
        if budget.min_speedup is not None:
            option, fix = f"--min-speedup {budget.min_speedup:g}, {limit:.3g} ms", "ask for less"
        best = min(timed, key=lambda row: float(row["latency_ms"]))
        raise UserError(
            f"{option}: the fastest shape, {best['name']}, takes "
            f"{best['latency_ms']:.3g} ms ({END_TO_END}): {fix}"
        )
    log.info(
        f"{len(fits)} of {len(shapes)} shapes fit; {len(timed)} were timed "
        f"({sum(row['known'] for row in timed)} before), {len(shapes) - len(timed)} are deeper "
        "than one that is over the budget"
    )
    return rows, fits


@dataclass(frozen=True, kw_only=True)
class BriefTrainings:
    """Brief trainings: held-out value by name for each rung, and the name of the best.

    shares: each rung's steps as a share of a full training's, averaged over recipes.
    """

    shapes: dict[str, Shape]
    ms: dict[str, float]
    rungs: list[dict[str, float]]
    shares: list[float]
    first: str
    vocabulary: str
    trials: list[dict[str, Any]]


def train_briefly(
    budget: Budget, task: Task, fits: dict[Shape, float], vocabularies: Sequence[str],
    full_steps: dict[str, int],
) -> BriefTrainings:  # fmt: skip
    """Train promising shapes briefly; full_steps has the steps of each recipe's full training."""
    chosen = halving.promising(fits, budget.trials, budget.min_retention is not None)
    shapes = {shape.name: shape for shape in chosen}
    ms = {shape.name: fits[shape] for shape in chosen}
    mean = sum(full_steps.values()) / len(full_steps)
    trials: dict[str, dict[str, Any]] = {}
    log.info(f"training {len(chosen)} of {len(fits)} shapes briefly: {', '.join(shapes)}")

    def trained(name: str, steps: int, vocabulary: str = vocabularies[0]) -> float:
        scaled = max(round(steps * full_steps[shapes[name].recipe] / mean), 1)
        record = train_steps(task, shapes[name], vocabulary, scaled)
        trials[f"{name} {vocabulary} {scaled}"] = record
        return float(record["held_out"])

    share = budget.min_retention
    rungs = halving.halve(list(shapes), ms, share, trained, budget.steps)
    first = halving.ranked(rungs[-1], ms, share)[0] if rungs else chosen[0].name
    vocabulary, steps = vocabularies[0], budget.steps * halving.REDUCTION ** max(len(rungs) - 1, 0)
    if len(vocabularies) > 1:
        trimmed, all_tokens = (trained(first, steps, each) for each in VOCABULARIES)
        vocabulary = "task" if trimmed >= all_tokens - TOLERANCE * abs(all_tokens) else "all"
    shares = [budget.steps * halving.REDUCTION**k / mean for k in range(len(rungs))]
    return BriefTrainings(
        shapes=shapes,
        ms=ms,
        rungs=rungs,
        shares=shares,
        first=first,
        vocabulary=vocabulary,
        trials=list(trials.values()),
    )


def train_winner(
    budget: Budget, task: Task, ran: BriefTrainings, aim: dict[str, Any]
) -> list[dict[str, Any]]:
    """Train the best fully, then slower ones until the retention suffices; return all records."""
    name, fulls = ran.first, list[dict[str, Any]]()
    while True:
        log.info(f"training {name} fully, vocabulary {ran.vocabulary}")
        fulls.append(train_fully(task, ran.shapes[name], ran.vocabulary, budget.epochs))
        record = fulls[-1]
        retention = record["held_out"] / aim["held_out"] if aim["held_out"] > 0 else 0.0
        limit = budget.max_latency_ms
        if limit is not None and record["latency_ms"] > limit:
            log.info(
                f"{name} took {record['latency_ms']:.3g} ms when it was timed again, over "
                f"{limit:g}: the machine was busier then than now, or is now"
            )
        if budget.min_retention is None or retention >= budget.min_retention or not ran.rungs:
            return fulls
        tried = [each["name"] for each in fulls]
        slower = halving.next_up(name, ran.rungs[0], ran.ms, tried)
        log.info(
            f"{name} keeps {retention:.1%} of the teacher's held-out {aim['metric']} "
            f"(n = {aim['texts']:,})"
        )
        if slower is None:
            return fulls
        name = slower
