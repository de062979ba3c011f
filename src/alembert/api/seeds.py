"""A training repeated with several seeds: a run folder each, and the mean of their metrics."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alembert.api.model import Model
from alembert.io.errors import UserError, leads
from alembert.io.files import SEEDS, write_json

log = logging.getLogger(__name__)


def repeat(
    train: Callable[[Path, int], Model], out: str | Path | None, first: int, count: int
) -> Model:
    """Train with `count` seeds from `first` on, each in OUT/seed-N, and return the best model.

    The best is by the texts held out of train, never by eval; the first where nothing was held
    out. OUT/seeds.json has the metrics of each run, and the mean of each with Student's t interval.
    The same call resumes an interrupted series. Raises UserError.
    """
    if count < 2:
        raise UserError(f"--seeds {count}: must be 2 or more: --seed names a single one")
    if out is None:
        raise UserError(f"--seeds {count}: needs a folder for its runs: give --out")
    home, runs = Path(out), list[dict[str, Any]]()
    if (home / "recipe.yaml").is_file():
        raise UserError(f"--seeds {count}: {home} holds a single run: choose another --out")
    for seed in range(first, first + count):
        folder = home / f"seed-{seed}"
        log.info(f"seed {seed}: {len(runs) + 1} of {count}, in {folder}")
        model = train(folder, seed)
        runs.append({"seed": seed, "run": folder.name, "held_out": _held_out(folder)})
        runs[-1]["metrics"] = model.metrics
    held_out = [-float("inf") if run["held_out"] is None else run["held_out"] for run in runs]
    best = runs[held_out.index(max(held_out))]["run"]
    content = {"best": best, "mean": _means(runs), "runs": runs}
    if leads():
        write_json(home / SEEDS, content)
        log.info(table(content))
        log.info(f"{home}: {best} is the best on held-out texts, and answers for the folder")
    return Model(home / best)


def _held_out(folder: Path) -> float | None:
    """Return the best value of the last stage on held-out texts, of a loss its negative."""
    from alembert.runs.record import RunRecord

    stage = RunRecord(folder).stages[-1]
    best = stage.facts.get("best")
    if best is None:
        return None
    names = {name for row in stage.rows for name in row if name.startswith("valid_")}
    return -float(best) if names == {"valid_loss"} else float(best)


def _means(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean, low and high of each figure that all runs have."""
    from alembert.evaluation.uncertainty.intervals import of_mean

    figures = [{"held_out": run["held_out"], **_figures(run["metrics"])} for run in runs]
    found = {}
    for name in figures[0]:
        values = [each[name] for each in figures if each.get(name) is not None]
        if len(values) == len(runs):
            mean = of_mean(values)
            found[name] = {"mean": mean.value, "low": mean.low, "high": mean.high}
    return found


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the figures of a run that are averaged: the metric of each model, and what is kept."""
    roles = [role for role in ("teacher", "student", "deployed") if role in metrics]
    found: dict[str, float] = {role: float(metrics[role][metrics["metric"]]) for role in roles}
    if "retention" in metrics:
        found["retention"] = float(metrics["retention"])
    return found


def table(content: dict[str, Any]) -> str:
    """Return the figures of each seed and their means with intervals, in columns."""
    from alembert.evaluation.uncertainty import phrases

    names = list(content["mean"])
    rows = [["seed", *names]]
    for run in content["runs"]:
        figures = {"held_out": run["held_out"], **_figures(run["metrics"])}
        rows.append([str(run["seed"]), *(f"{figures[name]:.4f}" for name in names)])
    means = [content["mean"][name] for name in names]
    rows.append(["mean", *(f"{each['mean']:.4f}" for each in means)])
    rows.append(["95 %", *(f"{each['low']:.3f} to {each['high']:.3f}" for each in means)])
    return phrases.in_columns(rows)
