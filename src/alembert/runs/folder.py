"""The files of a run folder: written with checksums, compared with a new command, repaired."""

import json
import logging
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.io import checksums
from alembert.io.environment import versions
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep, keep_checksums, keep_json, keep_text, read_json, remove
from alembert.io.tensors import damage_of
from alembert.models.loading import quiet
from alembert.recipes.schema import Recipe, from_yaml, to_yaml
from alembert.training import checkpoint

log = logging.getLogger(__name__)

RECIPE, ENVIRONMENT, METRICS = "recipe.yaml", "environment.json", "metrics.json"
LOG, FACTS = "log.jsonl", "facts.json"  # of a stage
RESULTS = (METRICS, "predictions.parquet", "bench.json")  # of the evaluation
ANOTHER = "choose another --out, or delete the folder"
PROSE = {"paper", "deviations"}  # a recipe with other prose is the same run
PACKAGES = ("alembert", "torch", "transformers", "accelerate", "tokenizers", "datasets", "python")


def check(out: Path, recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Raise UserError for a folder of another recipe, other arguments or other files."""
    at = out / RECIPE
    if not at.is_file():
        # left by a run that was killed in open_run
        opening = (".lock", "environment.json", checksums.FILE)
        others = sorted(
            p.name for p in out.iterdir() if p.name not in opening and p.suffix != ".partial"
        )
        if others:
            raise UserError(f"{out}: holds {others[0]} and no run: choose an empty or new folder")
        return
    there, here = (_flat(r.model_dump(mode="json", exclude=PROSE)) for r in (from_yaml(at), recipe))
    there |= _flat(read_json(out / ENVIRONMENT)["arguments"], "arguments")
    here |= _flat(json.loads(json.dumps(arguments)), "arguments")
    for key in here | there:
        if here.get(key) != there.get(key):
            raise UserError(
                f"{out}: holds another run: {key} is {there.get(key)!r} there and {here.get(key)!r}"
                f" here: {ANOTHER}"
            )


def open_run(out: Path, recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Write recipe.yaml and environment.json, once."""
    if (out / RECIPE).is_file():
        return
    environment = {
        "arguments": arguments,
        "command": sys.argv,
        "versions": versions(PACKAGES),
        "hardware": {
            "machine": platform.machine(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name"),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }
    keep_json(out / ENVIRONMENT, environment)
    keep_text(out / RECIPE, to_yaml(recipe))


def keep_stage(stage_folder: Path, facts: dict[str, Any]) -> None:
    """Write the facts of a stage that is trained, and the checksums of its log and its facts."""
    keep(stage_folder, [LOG])
    keep_json(stage_folder / FACTS, facts)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, to: Path) -> None:
    """Save model and tokenizer in `to`, which appears complete or not at all, with checksums."""
    with atomic(to) as partial, quiet():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        keep(partial, sorted(path.name for path in partial.iterdir() if path.is_file()))


def copy_model(source: Path, to: Path) -> None:
    """Copy a saved model's files to `to`, config.json last, which marks the copy as complete.

    Checksums are those of the source, so that an error of the copying shows too.
    """
    apart = (checksums.FILE, "config.json")
    for name in sorted(path.name for path in source.iterdir() if path.name not in apart):
        _copy(source / name, to / name)
    if known := checksums.recorded(source):
        keep_checksums(to, known)
    _copy(source / "config.json", to / "config.json")


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
        log.warning(f"{path}: is damaged: export the model again")
    damaged = [path for path in damaged if path not in exported and not _copied_again(path, models)]
    for path in damaged:
        log.warning(f"{path}: is damaged: the result is made again")
        path.unlink()
    if damaged:
        (result / "config.json").unlink(missing_ok=True)
    return bool(damaged)


def _copied_again(path: Path, sources: Iterable[Path]) -> bool:
    """Copy a damaged file again from a folder where it is whole; return whether there is one."""
    checksum = checksums.recorded(path.parent).get(path.name)
    for source in (folder / path.name for folder in sources):
        if source.is_file() and checksums.sha256_of(source) == checksum:
            log.warning(f"{path}: is damaged: it is copied again from {source.parent}")
            _copy(source, path)
            return True
    return False


def _copy(source: Path, to: Path) -> None:
    with atomic(to) as partial:
        shutil.copyfile(source, partial)


def _flat(tree: Any, at: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        items: Any = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    else:
        return {at: tree}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{at}.{key}" if at else str(key))
    return flat
