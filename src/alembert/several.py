"""Several processes of one run: each computes its share of a batch, and one leads and writes."""

import os
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor


def leads() -> bool:
    """Whether this process is the one that writes; a launcher numbers its processes in RANK."""
    return os.environ.get("RANK", "0") == "0"


def others(accelerator: Accelerator) -> tuple[int, ...]:
    """This process's number, for draws that must differ; nothing for the one that leads."""
    return () if accelerator.is_main_process else (accelerator.process_index,)


def share(batch: Mapping[str, Tensor], accelerator: Accelerator) -> tuple[dict[str, Tensor], float]:
    """This process's rows of a batch, and 1; where none is left for it, one row that counts 0."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = {name: rows[rank::world] for name, rows in batch.items()}
    if len(mine["input_ids"]):
        return mine, 1.0
    return {name: rows[:1] for name, rows in batch.items()}, 0.0


def as_leader(decision: bool, accelerator: Accelerator) -> bool:
    """What the process that leads has decided; all must call it."""
    if accelerator.num_processes == 1:
        return decision
    said = torch.tensor(float(decision and accelerator.is_main_process), device=accelerator.device)
    return bool(accelerator.reduce(said))


def summed(values: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Loss and terms of the whole batch out of every process's share; all must call it."""
    if accelerator.num_processes == 1:
        return values
    names = [name for name in values if name != "gradient_norm"]  # that of the whole already
    total: Tensor = accelerator.reduce(torch.stack([values[name] for name in names]))
    return values | dict(zip(names, total.unbind(), strict=True))
