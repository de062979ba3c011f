"""Several processes of one run: each computes its share of a batch, and one leads and writes."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, patch_environment
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule
from torch.distributed.rendezvous import rendezvous

from alembert.io.errors import UserError
from alembert.training import sharded

T = TypeVar("T")


def init_distributed(patience: timedelta) -> PartialState:
    """The processes of this run. patience: how long they wait for the one that leads."""
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # models come with weights everywhere
    more = _store(patience) if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else {}
    return PartialState(cpu=not torch.cuda.is_available(), timeout=patience, **more)


def _store(patience: timedelta) -> dict[str, Any]:
    """A place of its own in torchrun's store for every restart of one machine's processes.

    torchrun (2.13) keeps its store over restarts, where the addresses of the dead ones are still
    to be read. Several machines do not count restarts alike: docs/several.md says what to set.
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    store, rank, world = next(rendezvous("env://", timeout=patience))
    place = f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return {"store": PrefixStore(place, store), "rank": rank, "world_size": world}


def accelerator(precision: str, cpu: bool) -> Accelerator:
    """An accelerator that leaves sharding to us: its own knows no CPU. Raises UserError."""
    if precision == "fp16" and sharded.fsdp_requested():
        raise UserError("--precision fp16: a student in shards is trained in bf16 or fp32")
    AcceleratorState._reset_state()  # of an earlier run in this process, with another precision
    with patch_environment(accelerate_use_fsdp="false"):
        return Accelerator(mixed_precision=precision, cpu=cpu)


def main_process_first(state: PartialState, work: Callable[[], T]) -> T:
    """Work whose files the others find: who leads does it first, and what it refuses ends all.

    The others end without a word: one line was said.
    """
    refused, made = None, None
    if state.is_main_process:
        try:
            made = work()
        except UserError as error:
            refused = error
    if state.num_processes > 1:
        told = broadcast_object_list([refused is not None])
        if told[0] and not state.is_main_process:
            raise SystemExit(2)
    if refused is not None:
        raise refused
    return made if state.is_main_process else work()  # type: ignore[return-value]


def rank_seed(accelerator: Accelerator) -> tuple[int, ...]:
    """This process's number, for draws that must differ; nothing for the one that leads."""
    return () if accelerator.is_main_process else (accelerator.process_index,)


def local_rows(
    batch: Mapping[str, Tensor], accelerator: Accelerator
) -> tuple[dict[str, Tensor], float]:
    """This process's rows of a batch, and 1; where none is left for it, one row that counts 0."""
    rank, world = accelerator.process_index, accelerator.num_processes
    student = {name: rows[rank::world] for name, rows in batch.items()}
    if len(student["input_ids"]):
        return student, 1.0
    return {name: rows[:1] for name, rows in batch.items()}, 0.0


def sum_over_ranks(values: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Loss and terms of the whole batch out of every process's share; all must call it."""
    if accelerator.num_processes == 1:
        return values
    names = [name for name in values if name != "gradient_norm"]  # that of the whole already
    total: Tensor = accelerator.reduce(torch.stack([values[name] for name in names]))
    return values | dict(zip(names, total.unbind(), strict=True))


def any_rank(flag: bool, accelerator: Accelerator) -> bool:
    """Whether any process says so; all must call it."""
    if accelerator.num_processes == 1:
        return flag
    told: Tensor = accelerator.reduce(torch.tensor(float(flag), device=accelerator.device))
    return bool(told > 0)


def wrap_model(
    module: nn.Module,
    parts: list[str],
    shared: nn.Module | None,
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    accelerator: Accelerator,
) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """What holds the weights that are trained, what is called, and the optimizer.

    Alone the module is both; DDP wraps it; in shards (sharded.shard) a copy of it is both.
    """
    if accelerator.num_processes == 1 or not sharded.fsdp_requested():
        return module, *accelerator.prepare(module, optimizer_of(module))
    shards = sharded.fsdp_shard(module, parts, shared, accelerator.device)
    return shards, shards, accelerator.prepare(optimizer_of(shards))


def gather_weights(trained: nn.Module, whole: nn.Module, accelerator: Accelerator) -> None:
    """Where a copy in shards is trained, put its weights into the whole module that leads."""
    if trained is not whole:
        sharded.gather(trained, whole, accelerator.is_main_process, accelerator.device)


def gradient_sync(module: nn.Module, accelerator: Accelerator, last: bool) -> Any:
    """Gradients cross processes once a step, with the last micro batch."""
    if isinstance(module, FSDPModule):
        sharded.hold(module, last)
        return torch.enable_grad()
    return torch.enable_grad() if last else accelerator.no_sync(module)


def freeze_unused(module: nn.Module, batch: Mapping[str, Tensor], accelerator: Accelerator) -> None:
    """What a module's loss does not reach gets no gradient, and processes would wait for it."""
    module.to(accelerator.device)
    with accelerator.autocast():
        loss, _ = module({k: v.to(accelerator.device) for k, v in batch.items()})
    loss.backward()
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
