"""All that a training needs to go on exactly where it stopped, in one file put in place at once."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from alembert.errors import UserError
from alembert.several import leads
from alembert.sharded import like, unsharded
from alembert.writing import in_place

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, facts: dict[str, Any]
) -> None:
    """Write parameters, AdamW's moments and JSON facts to `path`, whole or not at all.

    Of a module in shards all processes call it, and the one that leads writes.
    Raises UserError when the disk takes no more; what was at `path` is still there then.
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
    with in_place(path) as partial:
        save_file(tensors, partial, metadata={"facts": json.dumps(facts)})
        with partial.open("rb") as written:
            os.fsync(written.fileno())


def facts(path: Path) -> dict[str, Any]:
    """The JSON facts of a checkpoint."""
    with _opened(path) as file:
        found: dict[str, Any] = json.loads(file.metadata()["facts"])
    return found


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
    return facts(path)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: the checkpoint cannot be read ({error}): delete it and run the stage again"
        ) from error
