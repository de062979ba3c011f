"""The three phases of a search: timing shapes, training a few briefly, the winner fully."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alembert.evaluation.uncertainty.resampling import Rows
from alembert.io.errors import UserError
from alembert.io.progress import Work
from alembert.search import halving, held_out
from alembert.search.latency import END_TO_END, latency_of
from alembert.search.space import VOCABULARIES, Budget, Shape
from alembert.search.trials import Task, train_fully, train_steps

log = logging.getLogger(__name__)

MARGIN = 0.05  # share of the budget of time that stays free
TOLERANCE = 0.01  # share of the held-out value that a trimmed vocabulary may cost


def time_shapes(
    budget: Budget, task: Task, shapes: Sequence[Shape]
) -> tuple[list[dict[str, Any]], dict[Shape, float]]:
    """Return a row for each shape, and the milliseconds of those within the budget.

    A twentieth of the budget stays free, since two measurements differ by some percent. For a
    speedup each is timed in turns with the teacher. A shape is not timed if it is larger than one
    over the budget, nor, unless the search is for the fastest that suffices, if it is smaller than
    one that is within it. Raises UserError where no shape fits.
    """
    teacher = task.reference if budget.min_speedup is not None else None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # which Windows has not
    if load > (cores := os.cpu_count() or 1):
        log.info(
            f"{load:.0f} programs share {cores} cores: latencies come out too long, and are kept"
        )
    rows = {
        shape: {"name": shape.name, **asdict(shape), "latency_ms": None, "fits": False}
        for shape in shapes
    }
    fits: dict[Shape, float] = {}
    left = sorted(shapes, key=lambda each: each.multiplications)
    with Work("timing shapes", len(shapes), "shapes", at_most=True) as work:
        while left:
            shape = left.pop(len(left) // 2)
            work.tell(shape=shape.name)
            student = shape.recipe_for(task.config).student
            kind, labels = task.splits.task.kind, task.splits.task.labels
            latency, known = latency_of(student, kind, labels, task.sample, teacher)
            row = {"latency_ms": latency.ms, "teacher_ms": latency.teacher_ms, "known": known,
                   "cpu_s": latency.cpu_s, "wall_s": latency.wall_s}  # fmt: skip
            fitting = latency.ms <= (1 - MARGIN) * limit_of(budget, row)
            rows[shape] |= row | {"fits": fitting}
            work.update()
            if not fitting:
                left = [each for each in left if not shape.within(each)]
                continue
            fits[shape] = latency.ms
            if budget.min_retention is None:
                left = [each for each in left if not each.within(shape)]
    timed = [each for each in rows.values() if each["latency_ms"] is not None]
    if not fits:
        raise _none_fits(budget, min(timed, key=lambda each: float(each["latency_ms"])))
    log.info(
        f"{len(fits)} of the {len(timed)} shapes that were timed fit "
        f"({sum(each['known'] for each in timed)} were known); of {len(shapes) - len(timed)} "
        "others a smaller one is over the budget, or a larger one within it"
    )
    return list(rows.values()), fits


def _none_fits(budget: Budget, best: dict[str, Any]) -> UserError:
    """Return the refusal of a budget that the fastest shape does not meet."""
    limit, ms = budget.max_latency_ms or 0.0, float(best["latency_ms"])
    option, fix = f"--max-latency-ms {limit:g}", f"ask for {ms / (1 - MARGIN):.3g} or more"
    if budget.min_speedup is not None:
        most = (1 - MARGIN) * (best["teacher_ms"] or budget.min_speedup * limit) / ms
        option = f"--min-speedup {budget.min_speedup:g}, {limit:.3g} ms"
        fix = f"ask for {most:.3g} or less"
    return UserError(
        f"{option}: the fastest shape, {best['name']}, takes {ms:.3g} ms ({END_TO_END}): {fix}"
    )


@dataclass(frozen=True, kw_only=True)
class BriefTrainings:
    """Brief trainings: held-out value by name for each rung, and the names from the best on.

    shares: each rung's steps as a share of a full training's, averaged over recipes. too_high: by
    how much the best of all looks better than it is, since it was the best of so many.
    """

    shapes: dict[str, Shape]
    ms: dict[str, float]
    rungs: list[dict[str, float]]
    shares: list[float]
    order: list[str]
    vocabulary: str
    trials: list[dict[str, Any]]
    too_high: float


def train_briefly(
    budget: Budget, task: Task, fits: dict[Shape, float], full_steps: dict[str, int]
) -> BriefTrainings:
    """Train promising shapes briefly; full_steps has the steps of each recipe's full training."""
    chosen = halving.promising(fits, budget.trials, budget.min_retention is not None)
    shapes = {shape.name: shape for shape in chosen}
    ms = {shape.name: fits[shape] for shape in chosen}
    sizes = {shape.name: shape.multiplications for shape in chosen}
    mean = sum(full_steps.values()) / len(full_steps)
    trials: dict[str, dict[str, Any]] = {}
    said: dict[str, Rows] = {}  # of each candidate, after its longest training
    metric, vocabularies = task.splits.task.metric, budget.vocabularies
    log.info(f"training {len(chosen)} of {len(fits)} shapes briefly: {', '.join(shapes)}")

    def trained(name: str, steps: int, vocabulary: str = vocabularies[0]) -> float:
        scaled = max(round(steps * full_steps[shapes[name].recipe] / mean), 1)
        record, rows = train_steps(task, shapes[name], vocabulary, scaled)
        trials[f"{name} {vocabulary} {scaled}"] = record
        if vocabulary == vocabularies[0]:
            said[name] = rows
        return float(record["held_out"])

    order = list(shapes)  # from the best on, as the longest training of each says

    def ranks(values: Mapping[str, float]) -> list[str]:
        if budget.min_retention is not None:
            ranked = halving.ranked(values, ms, budget.min_retention)
        else:
            ranked = held_out.ranked({name: said[name] for name in values}, metric, sizes)
        order[:] = [*ranked, *(name for name in order if name not in ranked)]
        return ranked

    rungs = halving.halve(list(shapes), ranks, trained, budget.steps)
    vocabulary, steps = vocabularies[0], budget.steps * halving.REDUCTION ** max(len(rungs) - 1, 0)
    if len(vocabularies) > 1:
        trimmed, all_tokens = (trained(order[0], steps, each) for each in VOCABULARIES)
        vocabulary = "task" if trimmed >= all_tokens - TOLERANCE * abs(all_tokens) else "all"
    shares = [budget.steps * halving.REDUCTION**k / mean for k in range(len(rungs))]
    return BriefTrainings(
        shapes=shapes,
        ms=ms,
        rungs=rungs,
        shares=shares,
        order=order,
        vocabulary=vocabulary,
        trials=list(trials.values()),
        too_high=held_out.too_high(said, metric) if len(said) > 1 else 0.0,
    )


def train_winner(
    budget: Budget, task: Task, ran: BriefTrainings, aim: dict[str, Any]
) -> list[dict[str, Any]]:
    """Train the best fully, then others until the budget is met; return all records.

    Others are slower ones while too little is kept, or faster ones while the student as it is
    deployed takes longer than the budget.
    """
    name, fulls = ran.order[0], list[dict[str, Any]]()
    while True:
        log.info(f"training {name} fully, vocabulary {ran.vocabulary}")
        fulls.append(train_fully(task, ran.shapes[name], ran.vocabulary, budget.epochs))
        tried = [each["name"] for each in fulls]
        if not is_fast_enough(budget, record := fulls[-1]):
            allowed = ran.ms[name] * limit_of(budget, record) / record["latency_ms"]
            faster = [each for each in ran.order if each not in tried and ran.ms[each] <= allowed]
            log.info(
                f"{name} takes {record['latency_ms']:.3g} ms in {record['backend']}, over the "
                f"{limit_of(budget, record):.3g} of the budget"
            )
            if not faster:
                return fulls
            name = faster[0]
            continue
        share = budget.min_retention
        if share is None or record["held_out"] >= share * aim["held_out"] or not ran.rungs:
            return fulls
        retention = record["held_out"] / aim["held_out"] if aim["held_out"] > 0 else 0.0
        slower = halving.next_up(name, ran.rungs[0], ran.ms, tried)
        log.info(
            f"{name} keeps {retention:.1%} of the teacher's held-out {aim['metric']} "
            f"(n = {aim['texts']:,})"
        )
        if slower is None:
            return fulls
        name = slower


def limit_of(budget: Budget, record: Mapping[str, Any]) -> float:
    """Return the milliseconds that a student may take, by its teacher's in the same rounds."""
    if budget.min_speedup is not None and record["teacher_ms"] is not None:
        return float(record["teacher_ms"] / budget.min_speedup)
    return budget.max_latency_ms or math.inf


def is_fast_enough(budget: Budget, record: Mapping[str, Any]) -> bool:
    """Return whether a student as it is deployed takes no longer than the budget allows."""
    return bool(record["latency_ms"] <= limit_of(budget, record))
