"""A student in shards (FSDP2): each process holds its part of weights, gradients and moments."""

import copy
import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def fsdp_requested() -> bool:
    """Whether the launcher was told to shard: `accelerate launch --use_fsdp` says it so."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def fsdp_shard(
    module: nn.Module, parts: Iterable[str], shared: nn.Module | None, device: torch.device
) -> nn.Module:
    """A copy of a module in shards; the module itself stays whole, on the CPU.

    parts: paths of the parts that are reduced one by one, as backward leaves them. shared: what
    the copy holds and does not copy. Weights are gathered once a step: a part that is read from
    within, its output unused, would not be gathered again for backward.
    """
    shards = copy.deepcopy(module, {id(shared): shared})
    module.to("cpu")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for path in parts:
        fully_shard(shards.get_submodule(path), mesh=mesh, reshard_after_forward=False)
    fully_shard(shards, mesh=mesh, reshard_after_forward=False)
    return shards


def hold(shards: FSDPModule, last: bool) -> None:
    """Before a micro batch: only the last of a step reduces gradients and lets go of weights.

    So every process gathers and reduces once a step, however many micro batches it has.
    """
    shards.set_requires_gradient_sync(last)
    shards.set_reshard_after_backward(last)


def gather(shards: nn.Module, whole: nn.Module, leads: bool, device: torch.device) -> None:
    """Put the weights into the whole module of the process that leads; all must call it."""
    if leads:
        whole.to(device)
    names = dict(shards.named_parameters())
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            full = unsharded(names[name])
            if leads:
                parameter.copy_(full)


def unsharded(tensor: Tensor) -> Tensor:
    """A tensor whole; of a shard all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, whole: Tensor) -> Tensor:
    """A whole tensor as this one lies: on its device, and of a shard this process's part."""
    whole = whole.to(tensor.device)
    if not isinstance(tensor, DTensor):
        return whole
    return distribute_tensor(whole, tensor.device_mesh, tensor.placements, src_data_rank=None)
