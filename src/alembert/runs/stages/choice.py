"""What a stage begins with and which objective it trains: each is tried, held-out texts decide."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from alembert.data.splits import Splits
from alembert.evaluation import predict
from alembert.evaluation.uncertainty.kept import drawn_of
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.io.files import keep_json, keep_text, read_json, remove
from alembert.objectives.objective import Objective, describe
from alembert.recipes.schema import from_yaml, replaced, to_yaml
from alembert.runs.folder import CHOSEN, RECIPE
from alembert.runs.stages import validation
from alembert.runs.stages.prepare import prepare_models
from alembert.runs.stages.training import Prepared, trained
from alembert.training.callbacks import Callbacks
from alembert.training.distillation import Distillation

log = logging.getLogger(__name__)

FILE = "choice.json"  # of a stage: the number of the objective taken, and each one's value
START = "start.json"  # of a stage: whether it starts anew, and the held-out value of each start
TRIED = "tried"  # folder of the brief trainings, which goes when the choice is made
SHARE, LEAST = 0.25, 50  # of the stage's least steps, and steps, of a brief training


def chosen(prepared: Prepared, folder: Path) -> Prepared:
    """Return the stage with one of its objectives and no alternatives left.

    Each is trained for a quarter of the stage's least steps from the same student. The first one is
    taken unless another is better by more than two standard errors of their difference on the same
    held-out texts (paired bootstrap): of few texts the best of several is a draw.
    """
    stage, splits = prepared.stage, prepared.texts.student.splits
    if not stage.alternatives or splits is None:
        return prepared
    objectives = (stage.objective, *stage.alternatives)
    steps = max(round(SHARE * prepared.length.floor), LEAST)
    if not (folder / FILE).is_file():
        log.info(
            f"stage '{stage.name}': {len(objectives)} objectives are tried, {steps:,} steps each"
        )
        rows = {
            str(number): _after(prepared, objective, folder / TRIED / str(number), steps, splits)
            for number, objective in enumerate(objectives)
        }
        if prepared.accelerator.is_main_process:
            found = _best(rows, splits.task.metric)
            keep_json(folder / FILE, {"metric": splits.task.metric, "steps": steps, **found})
    made = _decided(prepared, folder, FILE)
    log.info(_describe(stage.name, objectives, made, splits.valid.count))
    taken = replaced(stage, objective=objectives[made["taken"]], alternatives=())
    student, teacher = prepared.distillation.student, prepared.distillation.teacher
    distillation = Distillation(student, teacher, taken.objective, words=False)
    return replace(prepared, stage=taken, distillation=distillation)


def better_start(prepared: Prepared, folder: Path) -> Prepared:
    """Return a task's first stage with the better of two students, where it asks for that.

    One is the student that a corpus has taught, the other is newly started from the teacher on the
    texts of the task. Each is trained for a quarter of the stage's least steps. The corpus may have
    led the student away from the task's teacher further than it helps.
    """
    job, stage = prepared.job, prepared.stage
    splits = prepared.texts.student.splits
    before = list(takewhile(lambda each: each.name != stage.name, job.stages))
    on_corpus = bool(before) and all(each.data == "corpus" for each in before)
    if stage.start != "better" or not on_corpus or splits is None:
        return prepared
    if job.recipe.init.start != "teacher":
        return prepared
    other: Prepared | None = None
    if not (folder / START).is_file():
        other = _anew(prepared)
        steps = max(round(SHARE * prepared.length.floor), LEAST)
        log.info(f"stage '{stage.name}': two starts are tried, {steps:,} steps each")
        scores = [
            _score_after(start, steps, folder / TRIED / name)
            for name, start in (("before", prepared), ("anew", other))
        ]
        if prepared.accelerator.is_main_process:
            keep_json(folder / START, {"anew": scores[1] > scores[0], "scores": scores})
    made = _decided(prepared, folder, START)
    which = "anew from the teacher" if made["anew"] else "with what the corpus taught"
    values = " and ".join(f"{abs(score):.4f}" for score in made["scores"])
    name = validation.name_of(stage, splits)
    log.info(
        f"stage '{stage.name}': starts {which}; held-out {name} after the corpus and anew: {values}"
    )
    return (other or _anew(prepared)) if made["anew"] else prepared


def _decided(prepared: Prepared, folder: Path, file: str) -> dict[str, Any]:
    """Return what the main process has decided; the trainings that led to it are removed."""
    prepared.accelerator.wait_for_everyone()
    if prepared.accelerator.is_main_process:
        remove(folder / TRIED)
    prepared.accelerator.wait_for_everyone()
    return dict(read_json(folder / file))


def _anew(prepared: Prepared) -> Prepared:
    """Return the stage with a student that is newly started from the teacher."""
    distillation = prepare_models(prepared.job, prepared.stage, None, prepared.texts)
    return replace(prepared, distillation=distillation)


def _tried(prepared: Prepared, objective: Objective, folder: Path, steps: int) -> Prepared:
    """Return the stage with a copy of its student, trained by an objective for so many steps."""
    made = prepared.distillation
    copied = Distillation(
        copy.deepcopy(made.student), made.teacher, objective, words=False,
        projections=prepared.job.recipe.projections,
    )  # fmt: skip
    copied.projections.load_state_dict(made.projections.state_dict())
    brief = replaced(
        prepared.stage, objective=objective, alternatives=(), until=None, epochs=None, steps=steps,
        min_steps=0, evaluations=1, patience=0,
    )  # fmt: skip
    tried = replace(prepared, stage=brief, distillation=copied)
    trained(tried, folder, None, Callbacks())
    return tried


def _score_after(prepared: Prepared, steps: int, folder: Path) -> float:
    """Return the held-out metric, or minus the loss, of a copy of the student after its trial."""
    tried = _tried(prepared, prepared.stage.objective, folder, steps)
    splits, pad = prepared.texts.student.splits, prepared.texts.student.pad
    assert splits is not None
    measured = validation.measure_of(
        prepared.stage, tried.distillation, splits, pad, prepared.accelerator
    )()
    return -measured.loss if measured.value is None else measured.value


def keep_chosen(out: Path) -> None:
    """Write chosen.yaml to a run whose stages are trained: its recipe without alternatives."""
    recipe = from_yaml(out / RECIPE)
    stages = []
    for stage in recipe.stages:
        made = next(out.glob(f"stages/*-{stage.name}/{FILE}"), None)
        if made is None:
            stages.append(stage)
            continue
        objectives = (stage.objective, *stage.alternatives)
        taken = objectives[read_json(made)["taken"]]
        stages.append(replaced(stage, objective=taken, alternatives=()))
    if tuple(stages) != recipe.stages:
        keep_text(out / CHOSEN, to_yaml(replaced(recipe, stages=tuple(stages))))


def _after(
    prepared: Prepared, objective: Objective, folder: Path, steps: int, splits: Splits
) -> Rows:
    """Return the held-out rows of a copy of the student, trained briefly by an objective."""
    student = _tried(prepared, objective, folder, steps).distillation.student
    logits = predict.predict(student, splits.valid, prepared.texts.student.pad)
    return Rows.of(splits.task, logits, splits.valid)


def _best(rows: dict[str, Rows], metric: str) -> dict[str, Any]:
    """Return the number of the objective to take, and the value of each."""
    drawn, _ = drawn_of(rows, metric)
    values = [drawn[name].value for name in rows]
    best = int(np.argmax(values))
    taken = best if (drawn[str(best)] - drawn["0"]).ahead else 0
    return {"taken": taken, "values": values}


def _describe(stage: str, objectives: Sequence[Objective], made: dict[str, Any], texts: int) -> str:
    values = [f"{value:.4f}" for value in made["values"]]
    taken = int(made["taken"])
    others = ", ".join(value for number, value in enumerate(values) if number != taken)
    return (
        f"stage '{stage}': takes {describe(objectives[taken])}, with {made['metric']} "
        f"{values[taken]} of {texts:,} held-out texts after {made['steps']:,} steps ({others} of "
        f"the others{', within noise' if max(made['values']) > made['values'][taken] else ''})"
    )
