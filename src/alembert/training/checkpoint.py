"""All that a training needs to go on exactly where it stopped, in one file put in place at once.

The file before it is kept, for the day that the newer one is damaged: a checksum tells.
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
from alembert.training.sharded import like, unsharded

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
    """Write parameters, AdamW's moments and JSON facts to `path`, whole or not at all.

    keep: what was there is kept as the one `before`, once the new one is on disk. Of a module in
    shards all processes call it, and the one that leads writes. Raises UserError when the disk
    takes no more; what was at `path` is still there then.
    """
    tensors: dict[str, Tensor] = {}
    writes = leads()
    for name, parameter in module.named_parameters():  # tied parameters come once
        found = {f"parameter:{name}": parameter.detach()}
        state = {} if optimizer is None else optimizer.state.get(parameter, {})
        found |= {f"{moment}:{name}": state[moment] for moment in MOMENTS if moment in state}
        for key, tensor in found.items():
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
    """Where the checkpoint lies that came before the one at `path`."""
    return path.with_name(path.name.replace(".", ".before.", 1))


def newest(path: Path) -> tuple[Path | None, list[str]]:
    """The last checkpoint that is whole, or None; and a line for each that is damaged.

    One that speaks of a best student needs it whole beside it.
    """
    said: list[str] = []
    for at in (path, before(path)):
        if not at.is_file():
            continue
        damage = _damage(at)
        if not damage and facts_of(at).get("best") is not None:
            damage = _damage(path.with_name(BEST))
        if not damage:
            return at, [f"{line}: the run goes on from the one before" for line in said]
        said.append(damage)
    return None, [f"{line}: the stage begins anew" for line in dict.fromkeys(said)]


def resume(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """Put the last whole checkpoint back; its facts, none without one. What is damaged is said."""
    at, lines = newest(path)
    for line in lines if leads() else ():
        logging.getLogger(__name__).warning(line)
    return {} if at is None else load(at, module, optimizer)


def _damage(path: Path) -> str:
    """A line on the damage of a checkpoint, "" when it is whole."""
    damage = damage_of(path)
    return f"{path}: the checkpoint is damaged ({damage})" if damage else ""


def load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Put a checkpoint back into module and optimizer, in place; returns its facts."""
    with _opened(path) as file, torch.no_grad():
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


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: the checkpoint cannot be read ({error}): delete it and run the stage again"
        ) from error
