"""FSDP2: each process holds its shard of a student's weights, gradients and moments."""

import copy
import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def fsdp_requested() -> bool:
    """Return whether the run was launched with `accelerate launch --use_fsdp`."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def fsdp_shard(
    module: nn.Module, parts: Iterable[str], shared: nn.Module | None, device: torch.device
) -> nn.Module:
    """Return a sharded copy of a module; the module itself stays unsharded, on the CPU.

    parts: paths of submodules that are reduced one by one during backward. shared: a submodule
    that is not copied. Weights are gathered once a step, since a part whose output is unused would
    not be gathered again for backward.
    """
    shards = copy.deepcopy(module, {id(shared): shared})
    module.to("cpu")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for path in parts:
        fully_shard(shards.get_submodule(path), mesh=mesh, reshard_after_forward=False)
    fully_shard(shards, mesh=mesh, reshard_after_forward=False)
    return shards


def set_sync(shards: FSDPModule, last: bool) -> None:
    """Set before a micro batch that only a step's last one reduces gradients and frees weights.

    Every process then gathers and reduces once a step, for any number of micro batches.
    """
    shards.set_requires_gradient_sync(last)
    shards.set_reshard_after_backward(last)


def gather(shards: nn.Module, full: nn.Module, leads: bool, device: torch.device) -> None:
    """Copy the weights into the main process's unsharded module; all processes must call it."""
    if leads:
        full.to(device)
    names = dict(shards.named_parameters())
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            weight = unsharded(names[name])
            if leads:
                parameter.copy_(weight)


def unsharded(tensor: Tensor) -> Tensor:
    """Return the full tensor; all processes must call it for a shard."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, full: Tensor) -> Tensor:
    """Return a full tensor on the device of `tensor`, as this process's shard if that is one."""
    full = full.to(tensor.device)
    if not isinstance(tensor, DTensor):
        return full
    return distribute_tensor(full, tensor.device_mesh, tensor.placements, src_data_rank=None)
