"""A student found for a budget of latency, or for a share of its teacher's quality."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from alembert.bench.rows import pareto
from alembert.data.splits import Files, Splits, prepare
from alembert.data.summary.describe import describe_splits, describe_task
from alembert.evaluation.metrics import metrics
from alembert.evaluation.uncertainty import kept
from alembert.io import checksums
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.io.files import keep_json, read_json
from alembert.io.locks import locked
from alembert.models import tokenizer_pruning
from alembert.models.checks import check_length
from alembert.models.loading import label_names_of, load_config, load_tokenizer
from alembert.runs.baselines import answers_of, of_held_out
from alembert.search import held_out, identity, latency
from alembert.search.latency import END_TO_END, sample_of
from alembert.search.phases import (
    is_fast_enough,
    limit_of,
    time_shapes,
    train_briefly,
    train_winner,
)
from alembert.search.show import end_to_end, final_table, summary, table
from alembert.search.space import Budget, grid
from alembert.search.trials import HOME, Task, is_whole, publish, usual_steps

log = logging.getLogger(__name__)

FILE = "search.json"


def search(
    budget: Budget, teacher: str, files: Files, out: Path, max_length: int, seed: int,
    precision: str, present: Callable[[Path], None] = lambda _: None, metric: str | None = None,
) -> str:  # fmt: skip
    """Run the remaining steps of a search in `out` and return a line on its result.

    `present` is called with `out` when the student is there, to write its card and page. Raises
    UserError for a budget that no shape meets; where only the retention is not met, the best
    student is in `out` all the same.
    """
    config = load_config(teacher)
    for tokens in (max_length, budget.length or max_length):
        check_length(tokens, config, teacher)
    settings: dict[str, Any] = {"seed": seed, "max_length": max_length, "precision": precision}
    if metric is not None:
        settings["metric"] = metric
    with locked(out), identity.checked(out, teacher, files, settings):
        asked = _plain(asdict(budget))
        done = read_json(out / FILE) if is_whole(out / FILE) else {}
        if done.get("asked") == asked:
            _publish_damaged(out, done)
            log.info(f"{out}: this was searched before; nothing to do")
        else:
            splits, aim = _aim(teacher, files, max_length, seed, metric, out)
            task = Task(
                out=out, teacher=teacher, config=config, files=files, splits=splits,
                max_length=max_length, seed=seed, precision=precision, metric=metric,
                sample=sample_of(
                    splits.raw_valid, load_tokenizer(teacher), max_length, budget.length,
                    splits.windows,
                ),
            )  # fmt: skip
            if budget.min_speedup is not None:
                aim["latency_ms"] = _teacher_ms(task)
                budget = budget.within(aim["latency_ms"])
            done = {"asked": asked, **_result(budget, task, aim)}
            done["kept"] = _kept(task, out / done["winner"]["run"] / "student")
            (out / FILE).unlink(missing_ok=True)  # it must not describe a half-copied student
            publish(out / done["winner"]["run"], out)
            keep_json(out / FILE, done)
        present(out)
    table(done)
    final_table(end_to_end(out))
    if not done["reached"]:
        raise UserError(summary(out, done))
    return summary(out, done)


def _publish_damaged(out: Path, done: dict[str, Any]) -> None:
    """Copy the winner's run again where a file of the result is damaged; UserError without it."""
    damaged = [folder / name for folder in (out, out / "student") for name in
               checksums.damaged(folder) if folder / name != out / FILE]  # fmt: skip
    for path in damaged:
        log.warning(f"{path}: is damaged: the winner's run is copied again")
    if damaged:
        publish(out / done["winner"]["run"], out)
        keep_json(out / FILE, done)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value as JSON reads it back."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in value.items()}


def _aim(
    teacher: str, files: Files, max_length: int, seed: int, metric: str | None, out: Path
) -> tuple[Splits, dict[str, Any]]:
    """Return the texts as the teacher encodes them, and its metric on those held out."""
    tokenizer = load_tokenizer(teacher)
    labels = label_names_of(load_config(teacher))
    splits = prepare(files, tokenizer, max_length, labels, seed, metric)
    log.info(describe_task(files.train.name, splits.columns, splits.task))
    log.info(describe_splits(splits))
    at = out / HOME / "teacher.json"
    if not is_whole(at):
        logits, read = held_out.logits_of(teacher, splits, max_length)
        value = metrics(splits.task, logits, read)[splits.task.metric]
        aim = {"metric": splits.task.metric, "held_out": value, "texts": splits.valid.count}
        keep_json(at, aim)
    return splits, dict(read_json(at))


def _kept(task: Task, student: Path) -> dict[str, Any]:
    """Return what the winner keeps of its teacher's metric on the held-out texts, with intervals.

    The form is that of metrics.json.
    """
    of = task.splits.task
    logits, data, values = {}, {}, dict[str, Any]()
    for role, path in (("teacher", task.teacher), ("student", str(student))):
        logits[role], data[role] = held_out.logits_of(path, task.splits, task.max_length)
        values[role] = metrics(of, logits[role], data[role])
    told = kept.of_run(of, logits, data, task.splits.train, values)
    return {"metric": of.metric, **values, **told}


def _teacher_ms(task: Task) -> float:
    """Return the teacher's milliseconds in torch, timed once a search."""
    at = task.home / f"teacher-{task.sample.digest[:16]}.json"
    if not is_whole(at):
        (taken,) = latency.in_turns([task.reference.session], task.sample)
        keep_json(at, {"latency_ms": taken})
    ms = float(read_json(at)["latency_ms"])
    log.info(f"the teacher takes {ms:.3g} ms a text in torch, {END_TO_END}")
    return ms


def _baselines(task: Task) -> list[dict[str, Any]]:
    """Return what cheap models make of the held-out texts, and how long a text takes them."""
    at = task.home / f"baselines-{task.sample.digest[:16]}.json"
    if not is_whole(at):
        made, of = of_held_out(task.splits, task.teacher, task.max_length), task.splits.task
        found = [
            {
                "name": name, "model": made[name].model,
                "latency_ms": latency.of_answers(answer, task.sample),
                "held_out": metrics(of, made[name].logits, task.splits.valid)[of.metric],
            }
            for name, answer in answers_of(made).items()
        ]  # fmt: skip
        keep_json(at, found)
    return list(read_json(at))


def _result(budget: Budget, task: Task, aim: dict[str, Any]) -> dict[str, Any]:
    """Run the phases and return search.json's content."""
    splits = task.splits
    budget = replace(budget, vocabularies=_vocabularies(budget, task.teacher))
    shapes = grid(task.config, _recipes(budget, splits), splits.columns.text_pair is not None)
    full_steps = {shape.recipe: usual_steps(task, shape) for shape in shapes}
    rows, fits = time_shapes(budget, task, shapes)
    ran = train_briefly(budget, task, fits, full_steps)
    fulls = train_winner(budget, task, ran, aim)
    cheap = _baselines(task)
    share = budget.min_retention or 0.0
    fast = [each for each in fulls if is_fast_enough(budget, each)]
    winner = max(fast or fulls, key=lambda each: float(each["held_out"]))
    reached = fulls[-1] in fast and fulls[-1]["held_out"] >= share * aim["held_out"]
    if reached:
        winner = fulls[-1]
    rungs = [
        {"share": part, "values": rung, "front": _front(rung, ran.ms)}
        for part, rung in zip(ran.shares, ran.rungs, strict=True)
    ]
    cost = {
        "latency": _cost([row for row in rows if row["latency_ms"] is not None]),
        "brief": _cost(ran.trials),
        "full": _cost(fulls),
        "export": _cost([each["export"] for each in fulls]),
    }
    whole = {each["name"]: each for each in (*fulls, *cheap)}
    front = _front(
        {name: each["held_out"] for name, each in whole.items()},
        {name: each["latency_ms"] for name, each in whole.items()},
    )
    return {
        "metric": aim["metric"], "teacher": aim, "reached": reached, "winner": winner,
        "limit_ms": limit_of(budget, winner) if budget.max_latency_ms else None,
        "too_high": ran.too_high, "candidates": len(ran.shapes), "baselines": cheap,
        "front": front, "shapes": rows, "trials": ran.trials, "full": fulls, "rungs": rungs,
        "cost": cost,
    }  # fmt: skip


def _recipes(budget: Budget, splits: Splits) -> tuple[str, ...]:
    """Return the budget's recipes without that of static students where they cannot answer."""
    if splits.task.kind != QUESTIONS:
        return budget.recipes
    left = tuple(name for name in budget.recipes if name != "static")
    if not left:
        raise UserError(f"--recipes static: reads no token in its context, which {QUESTIONS} needs")
    return left


def _vocabularies(budget: Budget, teacher: str) -> tuple[str, ...]:
    """Return the budget's vocabularies, or "all" alone for a tokenizer that cannot be trimmed."""
    try:
        tokenizer_pruning.state_of(load_tokenizer(teacher), teacher)
    except UserError as error:
        if "all" not in budget.vocabularies:
            raise
        log.info(f"all tokens stay: {error}")
        return ("all",)
    return budget.vocabularies


def _front(values: dict[str, float], ms: dict[str, float]) -> list[str]:
    names = list(values)
    best = pareto([(ms[name], values[name]) for name in names])
    return sorted((names[i] for i in best), key=lambda name: ms[name])


def _cost(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the number of rows, and the seconds of CPU and wall time that they took."""
    return {
        "count": len(rows),
        "cpu_s": round(sum(float(row["cpu_s"]) for row in rows), 1),
        "wall_s": round(sum(float(row["wall_s"]) for row in rows), 1),
    }
