"""Damaged files of a run folder: each is named, and copied again or removed to be made again."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from alembert.io import checksums
from alembert.io.files import remove
from alembert.io.tensors import damage_of
from alembert.runs.folder import ANOTHER, ENVIRONMENT, LOG, METRICS, RECIPE, RESULTS
from alembert.runs.folder.writing import copy_file
from alembert.training import checkpoint

log = logging.getLogger(__name__)


def repair(out: Path, result: Path) -> None:
    """Name each damaged file of a run, and copy it again or remove it, so that the run remakes it.

    A model is there twice, after its stage and as the result. Without a whole copy the stage goes
    on from its checkpoint, or is trained again where that is gone. Raises UserError for a damaged
    recipe.yaml or environment.json.
    """
    models = sorted(out.glob("stages/*/model"))
    for folder in {out, result, *models, *(path.parent for path in models)}:
        _repair_checksums(folder)
    for name in (RECIPE, ENVIRONMENT):
        checksums.check(out / name, f"put the file back, or {ANOTHER}")
    lost = [_repair_stage(model.parent, result) for model in models]
    lost.append(_repair_result(out, result, models))
    for stage_folder in sorted(out.glob("stages/*")):
        _repair_checkpoints(stage_folder)
    for name in (name for name in checksums.damaged(out) if name in RESULTS):
        log.warning(f"{out / name}: is damaged: the result is evaluated again")
        lost.append(True)
    if any(lost):
        (out / METRICS).unlink(missing_ok=True)  # without it the run is not finished
    of_augmentation = [out / name for name in checksums.damaged(out, ["augmented-*"])]
    trimmed = [folder for folder in out.glob("vocabulary/*") if checksums.damaged(folder)]
    for path in (*of_augmentation, *trimmed):
        log.warning(f"{path}: is damaged: it is made again where the run needs it")
        remove(path)


def _repair_checksums(folder: Path) -> None:
    if checksums.damaged(folder, []):
        at = folder / checksums.FILE
        log.warning(f"{at}: is damaged: it is removed, and the files beside it are not compared")
        at.unlink()


def _repair_stage(stage_folder: Path, result: Path) -> bool:
    """Repair a finished stage; return whether its model is removed, to be made again."""
    model, at = stage_folder / "model", stage_folder / "checkpoint" / checkpoint.STATE
    damaged = [stage_folder / name for name in checksums.damaged(stage_folder)]
    if stage_folder / LOG in damaged:
        log.warning(f"{stage_folder / LOG}: is damaged: its curve is not that of the training")
        damaged.remove(stage_folder / LOG)
    damaged += [model / name for name in checksums.damaged(model)]
    damaged = [path for path in damaged if not _copied_again(path, [result])]
    if damaged:
        whole = checkpoint.newest(at)[0] is not None
        how = "goes on from its checkpoint" if whole else "is trained again"
        log.warning(f"{damaged[0]}: is damaged: stage {stage_folder.name} {how}")
        shutil.rmtree(model)
        return True
    return False


def _repair_checkpoints(stage_folder: Path) -> None:
    """Remove damaged checkpoints that nothing reads; resuming names the others."""
    at = stage_folder / "checkpoint" / checkpoint.STATE
    done = (stage_folder / "model").is_dir()
    for path in sorted(at.parent.glob("*.safetensors")) if done else [checkpoint.before(at)]:
        if path.is_file() and (damage := damage_of(path)):
            log.warning(f"{path}: the checkpoint is damaged ({damage}): it is removed")
            path.unlink()


def _repair_result(out: Path, result: Path, models: list[Path]) -> bool:
    """Repair the finished model; return whether it is to be copied again from a stage's model."""
    kept = (*RESULTS, RECIPE, ENVIRONMENT) if result == out else ()
    damaged = [result / name for name in checksums.damaged(result) if name not in kept]
    exported = [path for path in damaged if path.name == "deploy.json" or path.parent != result]
    for path in exported:
        log.warning(f"{path}: is damaged: the exports are removed: export the model again")
    if exported:
        for name in ("deploy.json", *(n for n in checksums.recorded(result) if "/" in n)):
            (result / name).unlink(missing_ok=True)
    if (result / "config.json").is_file():  # the model was finished
        gone = checksums.missing(result, (*checksums.MODEL, *checksums.TOKENIZER))
        damaged += [result / name for name in gone]
    damaged = [path for path in damaged if path not in exported and not _copied_again(path, models)]
    for path in damaged:
        log.warning(f"{path}: is damaged: the result is made again")
        path.unlink(missing_ok=True)
    if damaged:
        (result / "config.json").unlink(missing_ok=True)
    return bool(damaged)


def _copied_again(path: Path, sources: Iterable[Path]) -> bool:
    """Copy a damaged file again from a folder where it is whole; return whether there is one."""
    checksum = checksums.recorded(path.parent).get(path.name)
    for source in (folder / path.name for folder in sources):
        if source.is_file() and checksums.sha256_of(source) == checksum:
            log.warning(f"{path}: is damaged: it is copied again from {source.parent}")
            copy_file(source, path)
            return True
    return False
