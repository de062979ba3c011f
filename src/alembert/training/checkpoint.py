"""Checkpoints: all that resuming a stage exactly needs, in one file with a checksum.

The checkpoint before it is kept too, in case the newer one is damaged.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from alembert.io.errors import UserError, leads
from alembert.io.files import atomic, fsync
from alembert.io.tensors import damage_of, facts_of, save_tensors
from alembert.training.distributed import like, unsharded

STATE, BEST = "state.safetensors", "best.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    facts: dict[str, Any],
    *,
    keep: bool = False,
) -> None:
    """Write parameters, AdamW's moments and JSON facts to `path`, completely or not at all.

    With `keep`, an older file is renamed to `before(path)` once the new one is on disk. All
    processes call it for a sharded module; the main one writes. Raises UserError when the disk is
    full, and leaves the file at `path` as it was.
    """
    tensors: dict[str, Tensor] = {}
    writes = leads()
    for name, parameter in module.named_parameters():  # tied parameters come once
        saved = {f"parameter:{name}": parameter.detach()}
        state = {} if optimizer is None else optimizer.state.get(parameter, {})
        saved |= {f"{moment}:{name}": state[moment] for moment in MOMENTS if moment in state}
        for key, tensor in saved.items():
            full = unsharded(tensor)
            if writes:
                tensors[key] = full.cpu().contiguous()
    if not writes:
        return
    with atomic(path) as partial:
        save_tensors(partial, tensors, facts)
        if keep and path.is_file():
            fsync(partial)
            path.replace(before(path))


def before(path: Path) -> Path:
    """Return the path of the checkpoint before the one at `path`."""
    return path.with_name(path.name.replace(".", ".before.", 1))


def newest(path: Path) -> tuple[Path | None, list[str]]:
    """Return the path of the last undamaged checkpoint, or None, and a line for each damaged one.

    A checkpoint that names a best student counts as damaged where that student is.
    """
    damages: list[str] = []
    for at in (path, before(path)):
        if not at.is_file():
            continue
        damage = _damage(at)
        if not damage and facts_of(at).get("best") is not None:
            damage = _damage(path.with_name(BEST))
        if not damage:
            return at, [f"{line}: the run resumes from the one before" for line in damages]
        damages.append(damage)
    return None, [f"{line}: the stage starts again" for line in dict.fromkeys(damages)]


def resume(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """Load the last undamaged checkpoint and return its facts, none without one; log damage."""
    at, lines = newest(path)
    for line in lines if leads() else ():
        logging.getLogger(__name__).warning(line)
    return {} if at is None else load(at, module, optimizer)


def _damage(path: Path) -> str:
    """Return a line on a checkpoint's damage, empty where there is none."""
    damage = damage_of(path)
    return f"{path}: the checkpoint is damaged ({damage})" if damage else ""


def load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Load a checkpoint into module and optimizer, in place, and return its facts."""
    try:
        opened = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: the checkpoint cannot be read ({error}): delete it and run the stage again"
        ) from error
    with opened as file, torch.no_grad():
        names = set(file.keys())
        for name, parameter in module.named_parameters():
            parameter.copy_(like(parameter, file.get_tensor(f"parameter:{name}")))
            if optimizer is not None and f"step:{name}" in names:
                moments = {m: file.get_tensor(f"{m}:{name}") for m in MOMENTS}
                optimizer.state[parameter] = {
                    m: t.to(parameter.device) if m == "step" else like(parameter, t)
                    for m, t in moments.items()
                }
    return facts_of(path)
