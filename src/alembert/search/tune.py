"""The best settings of a recipe by held-out texts; each trial is a separate run."""

import hashlib
import itertools
import json
import logging
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from alembert.io.errors import DivergedError, UserError, leads
from alembert.io.files import read_json, write_json, write_text
from alembert.io.parsing import yaml_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe, to_yaml
from alembert.runs.job import Job
from alembert.runs.run import run

log = logging.getLogger(__name__)

Settings = dict[str, str]  # as --set takes them: path -> value as YAML


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Settings, their best held-out value, None if training diverged, its step and its cost."""

    settings: Settings
    value: float | None
    step: int
    seconds: float
    folder: str


def grid(tries: Sequence[str], trials: int | None, seed: int) -> list[Settings]:
    """Return the combinations of "FIELD=V1,V2,...", or `trials` of them drawn by the seed.

    Raises UserError for an entry of another form.
    """
    choices: dict[str, list[str]] = {}
    for entry in tries:
        key, equals, text = entry.partition("=")
        values = _values(text, entry) if equals else []
        if not values or key.strip() in choices:
            why = "is given twice: put all values in one" if values else "write it as FIELD=V1,V2"
            raise UserError(f"--try {entry}: {why}")
        choices[key.strip()] = values
    if trials is not None and trials < 1:
        raise UserError(f"--trials {trials}: must be 1 or more")
    every = [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]
    if trials is None or trials >= len(every):
        return every
    return [every[i] for i in sorted(random.Random(seed).sample(range(len(every)), trials))]


def _values(text: str, entry: str) -> list[str]:
    """Return the values between top-level commas, each as YAML on one line."""
    try:
        values = yaml_of(f"[{text}]")
    except ValueError as error:
        raise UserError(f"--try {entry}: {text!r} is no list of values, V1,V2 ({error})") from error
    return [json.dumps(value, ensure_ascii=False) for value in values]


def tune(base: Job, tries: Sequence[str], trials: int | None) -> list[Trial]:
    """Run the base job with each setting, in OUT/trials; return the trials, best first.

    Writes OUT/recipe.yaml, the recipe with the best settings, and OUT/trials.json. Trials are
    compared on the held-out slice of train (or on --valid). Finished ones are not run again.
    Raises UserError for a wrong setting before the first trial.
    """
    if (base.out / "stages").exists():
        raise UserError(f"{base.out}: holds a run: choose another --out")
    chosen = grid(tries, trials, base.seed)
    recipes = [with_settings(base.recipe, settings) for settings in chosen]
    for recipe in recipes:
        _check_validated(recipe)
    done: list[Trial] = []  # best first
    for number, (settings, recipe) in enumerate(zip(chosen, recipes, strict=True), start=1):
        base = replace(base, describes=number == 1)
        log.info(f"trial {number} of {len(chosen)}: {describe(settings)}")
        done.append(_trial(base, settings, recipe))
        done.sort(key=lambda trial: float("inf") if trial.value is None else -trial.value)
        if leads():
            _write(base, done, len(chosen))
    if done[0].value is None:
        raise UserError(f"{base.out}: every trial diverged: try lower learning rates")
    return done


def describe(settings: Settings) -> str:
    """Return the settings as a phrase with the last two parts of each path."""
    short = {key: ".".join(key.split(".")[-2:]) for key in settings}
    return ", ".join(f"{short[key]} {value}" for key, value in settings.items())


def table(trials: Sequence[Trial], metric: str) -> Table:
    """Return a table with a row for each trial."""
    rows = Table("settings", f"held-out {metric}", "at step", "seconds")
    for trial in trials:
        rows.add_row(
            describe(trial.settings), "diverged" if trial.value is None else f"{trial.value:.4f}",
            f"{trial.step:,}", f"{trial.seconds:.0f}",
        )  # fmt: skip
    return rows


def metric_of(out: Path) -> str:
    """Return the metric that the trials were compared by, as named in their logs."""
    for log in sorted(out.glob("trials/*/stages/*/log.jsonl"), reverse=True):
        for line in log.read_text(encoding="utf-8").splitlines():
            for name in json.loads(line):
                if name.startswith("valid_"):
                    return str(name.removeprefix("valid_"))
    return "value"


def _check_validated(recipe: Recipe) -> None:
    last = [stage for stage in recipe.stages if stage.data == "task"][-1:]
    if not last or not last[0].reads_logits:
        raise UserError(
            f"recipe '{recipe.name}': its last stage on a task reads no logits, so there is "
            "nothing to choose by"
        )


def _trial(base: Job, settings: Settings, recipe: Recipe) -> Trial:
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    out = base.out / "trials" / name
    try:
        run(replace(base, recipe=recipe, out=out))
    except DivergedError as error:
        log.info(f"this trial is left out: {error}")
        return Trial(settings=settings, value=None, step=0, seconds=0.0, folder=f"trials/{name}")
    stages = sorted((out / "stages").iterdir())
    facts = [read_json(stage / "facts.json") for stage in stages]
    if leads():
        for stage in stages:  # unused once finished, and three times as large as the model
            shutil.rmtree(stage / "checkpoint", ignore_errors=True)
    seconds = sum(float(one["seconds"]) for one in facts)
    last, best = facts[-1], float(facts[-1]["best"])
    value = best if math.isfinite(best) else None
    return Trial(
        settings=settings,
        value=value,
        step=int(last["best_step"]),
        seconds=seconds,
        folder=f"trials/{name}",
    )


def _write(base: Job, trials: Sequence[Trial], count: int) -> None:
    """Write trials.json, and the recipe when all trials are done."""
    rows: list[dict[str, Any]] = [
        {"settings": {key: json.loads(value) for key, value in trial.settings.items()},
         "value": trial.value, "step": trial.step, "seconds": trial.seconds, "run": trial.folder}
        for trial in trials
    ]  # fmt: skip
    content = {"metric": metric_of(base.out), "planned": count, "trials": rows,
               "seconds": round(sum(trial.seconds for trial in trials), 1)}  # fmt: skip
    write_json(base.out / "trials.json", content)
    if trials[0].value is None:
        (base.out / "recipe.yaml").unlink(missing_ok=True)  # of earlier trials
    elif len(trials) == count:
        best = with_settings(base.recipe, trials[0].settings)
        write_text(base.out / "recipe.yaml", to_yaml(best))
