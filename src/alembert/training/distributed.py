"""Several processes of one run: each computes its share of a batch; the main one writes.

With DDP each process has all weights; with FSDP2 it holds its shard of a student's weights,
gradients and moments.
"""

import copy
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, patch_environment
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor

from alembert.io.errors import UserError

T = TypeVar("T")


def init_distributed(timeout: timedelta) -> PartialState:
    """Join this run's processes; `timeout` is how long they wait for the main one."""
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # every process loads the weights
    store = _store(timeout) if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else {}
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timeout, **store)


def _store(timeout: timedelta) -> dict[str, Any]:
    """Return a store with a separate prefix for every restart on one machine.

    torchrun (2.13) keeps its store over restarts, with the addresses of dead processes in it.
    Several machines may count restarts differently; docs/several.md has the setting for them.
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    store, rank, world = next(rendezvous("env://", timeout=timeout))
    prefix = f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return {"store": PrefixStore(prefix, store), "rank": rank, "world_size": world}


def accelerator(precision: str, cpu: bool) -> Accelerator:
    """Return an Accelerator without its own FSDP, which does not work on CPU.

    Raises UserError for fp16 with FSDP.
    """
    if precision == "fp16" and _fsdp_requested():
        raise UserError("--precision fp16: a student in shards is trained in bf16 or fp32")
    AcceleratorState._reset_state()  # of an earlier run in this process, with another precision
    with patch_environment(accelerate_use_fsdp="false"):
        return Accelerator(mixed_precision=precision, cpu=cpu)


def main_process_first(state: PartialState, work: Callable[[], T]) -> T:
    """Run `work` in the main process, then in the others, which find its files.

    Where it raises UserError, all processes raise it; the command line prints it once.
    """
    failure, result = None, None
    if state.is_main_process:
        try:
            result = work()
        except UserError as error:
            failure = error
    if state.num_processes > 1:
        (message,) = broadcast_object_list([failure and str(failure)])
        if message and not state.is_main_process:
            raise UserError(message)
    if failure is not None:
        raise failure
    return result if state.is_main_process else work()  # type: ignore[return-value]


def rank_seed(accelerator: Accelerator) -> tuple[int, ...]:
    """Return this process's number for draws that must differ, nothing for the main process."""
    return () if accelerator.is_main_process else (accelerator.process_index,)


def local_rows(
    batch: Mapping[str, Tensor], accelerator: Accelerator
) -> tuple[dict[str, Tensor], float]:
    """Return this process's rows of a batch and weight 1, or, without any, a row and weight 0."""
    rank, world = accelerator.process_index, accelerator.num_processes
    local = {name: rows[rank::world] for name, rows in batch.items()}
    if len(local["input_ids"]):
        return local, 1.0
    return {name: rows[:1] for name, rows in batch.items()}, 0.0


def sum_over_ranks(values: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Return the sum of every process's share of loss and terms; all processes must call it."""
    if accelerator.num_processes == 1:
        return values
    names = [name for name in values if name != "gradient_norm"]  # it is of the full batch already
    total: Tensor = accelerator.reduce(torch.stack([values[name] for name in names]))
    return values | dict(zip(names, total.unbind(), strict=True))


def any_rank(flag: bool, accelerator: Accelerator) -> bool:
    """Return whether the flag of any process is set; all processes must call it."""
    if accelerator.num_processes == 1:
        return flag
    count: Tensor = accelerator.reduce(torch.tensor(float(flag), device=accelerator.device))
    return bool(count > 0)


def wrap_model(
    module: nn.Module,
    parts: list[str],
    shared: nn.Module | None,
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    accelerator: Accelerator,
) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """Return the module with the trained weights, the module to call, and the optimizer.

    In one process both are `module`; DDP wraps the second; with FSDP both are a sharded copy.
    """
    if accelerator.num_processes == 1 or not _fsdp_requested():
        return module, *accelerator.prepare(module, optimizer_of(module))
    shards = _fsdp_shard(module, parts, shared, accelerator.device)
    return shards, shards, accelerator.prepare(optimizer_of(shards))


def _fsdp_requested() -> bool:
    """Return whether the run was launched with `accelerate launch --use_fsdp`."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def _fsdp_shard(
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
    for part in (*(shards.get_submodule(path) for path in parts), shards):
        fully_shard(part, mesh=mesh, reshard_after_forward=False)
    return shards


def gather_weights(trained: nn.Module, full: nn.Module, accelerator: Accelerator) -> None:
    """Copy the weights of a sharded copy into the unsharded module of the main process.

    All processes must call it.
    """
    if trained is full:
        return
    leads, names = accelerator.is_main_process, dict(trained.named_parameters())
    if leads:
        full.to(accelerator.device)
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            weight = unsharded(names[name])
            if leads:
                parameter.copy_(weight)


def gradient_sync(module: nn.Module, accelerator: Accelerator, last: bool) -> Any:
    """Return a context that reduces gradients over processes with the last micro batch alone.

    With FSDP, weights are freed there too: every process gathers and reduces once a step, for any
    number of micro batches.
    """
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
        module.set_reshard_after_backward(last)
        return torch.enable_grad()
    return torch.enable_grad() if last else accelerator.no_sync(module)


def unsharded(tensor: Tensor) -> Tensor:
    """Return the full tensor; all processes must call it for a shard."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, full: Tensor) -> Tensor:
    """Return a full tensor on the device of `tensor`, as this process's shard if that is one."""
    full = full.to(tensor.device)
    if not isinstance(tensor, DTensor):
        return full
    return distribute_tensor(full, tensor.device_mesh, tensor.placements, src_data_rank=None)


def freeze_unused(module: nn.Module, batch: Mapping[str, Tensor], accelerator: Accelerator) -> None:
    """Freeze the parameters that the loss does not reach, whose gradients DDP would wait for."""
    module.to(accelerator.device)
    with accelerator.autocast():
        loss, _ = module({k: v.to(accelerator.device) for k, v in batch.items()})
    loss.backward()
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
