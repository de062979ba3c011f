"""Removes from a finished run what only resuming it needs; the run stays finished."""

import logging
from dataclasses import dataclass
from pathlib import Path

from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import keep_json, model_folder, read_json, remove
from alembert.io.locks import locked
from alembert.runs.folder import ENVIRONMENT, FACTS, METRICS, RECIPE

log = logging.getLogger(__name__)

CLEANED = "cleaned"  # in the facts of a stage whose model was removed


@dataclass(frozen=True)
class Cleaned:
    """How many bytes were removed, from how many finished runs."""

    size: int
    runs: int


def remove_checkpoints(out: Path) -> int:
    """Remove the checkpoints of a run's finished stages; return their bytes."""
    done = [folder for folder in sorted(out.glob("stages/*")) if (folder / FACTS).is_file()]
    return sum(_removed(folder / "checkpoint") for folder in done)


def is_cleaned(stage_folder: Path, result: Path) -> bool:
    """Whether a finished stage has no model because it was removed, and the result is there."""
    facts = stage_folder / FACTS
    trained = (result / "config.json").is_file() and facts.is_file()
    if not trained or checksums.damaged(stage_folder, [FACTS]):
        return False
    return bool(read_json(facts).get(CLEANED))


def clean(folder: Path) -> Cleaned:
    """Remove what resuming needs from each finished run in a folder, which may be one.

    Checkpoints, the models between stages and the trimmed copy of a teacher go. The result, the
    logs, the metrics and what is made of them stay. Raises UserError where there is no run.
    """
    runs = [at.parent for at in sorted(folder.rglob(RECIPE)) if (at.parent / ENVIRONMENT).is_file()]
    if not runs:
        raise UserError(f"{folder}: holds no run; check the path")
    size, count = 0, 0
    for run in runs:
        with locked(run):
            result = model_folder(run)
            if not (run / METRICS).is_file() or not (result / "config.json").is_file():
                log.info(f"{run}: is not finished, so all that it needs to go on stays")
                continue
            size += remove_checkpoints(run) + _removed(run / "vocabulary")
            size += sum(map(_remove_model, sorted(run.glob("stages/*/model"))))
            count += 1
    return Cleaned(size, count)


def _remove_model(model: Path) -> int:
    facts = model.parent / FACTS
    keep_json(facts, read_json(facts) | {CLEANED: True})  # first, or a run trains the stage again
    return _removed(model)


def _removed(path: Path) -> int:
    """Remove a folder; return the bytes of its files."""
    size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    remove(path)
    return size
