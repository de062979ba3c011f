"""The training loop of one stage, resumable at any step with the same final weights."""

import ctypes
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from alembert.io.errors import DivergedError, UserError
from alembert.io.progress import Work
from alembert.io.seeds import DROPOUT, torch_seed
from alembert.recipes.schema import Stage
from alembert.training import checkpoint, distributed
from alembert.training.callbacks import Callbacks, Progress
from alembert.training.distillation import Distillation
from alembert.training.monitor import Length, Log, Schedule, Validator

Batches = Callable[
    [int], dict[str, Tensor]
]  # step (from 0) -> the batch of that step, of all processes
LOG_EVERY = 10
SAVE_SECONDS = 120.0


def train(
    distillation: Distillation,
    stage: Stage,
    batches: Batches,
    length: Length,
    folder: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    validator: Validator | None = None,
    callbacks: Callbacks | None = None,
) -> dict[str, Any]:
    """Train in place, write checkpoint/ and log.jsonl to `folder`, and return the final facts.

    The student's dropout is on. Batch, masks and dropout are functions of (seed, step), so a run
    that was killed and resumed ends in the same weights. Each process computes its share of every
    batch; the main one writes, validates and tells the callbacks. With a validator, the result is
    the best student, and at the end of its patience the stage ends, or its rate begins to fall
    (Schedule). Raises UserError when loss or gradient become infinite or NaN, before they reach a
    file.
    """
    distillation.ready(accelerator.device, accelerator.mixed_precision == "bf16")
    distillation.train()  # a loaded model comes in eval mode
    if accelerator.num_processes > 1:
        micro = {k: v[: stage.micro_batch_size] for k, v in batches(0).items()}
        distributed.freeze_unused(distillation, micro, accelerator)
    trained, module, optimizer = distributed.wrap_model(
        distillation, distillation.parts, distillation.teacher,
        lambda module: _optimizer(module, stage), accelerator,
    )  # fmt: skip
    rates = [group["lr"] for group in optimizer.param_groups]
    shards = trained is not distillation
    state = folder / "checkpoint" / checkpoint.STATE
    best = state.with_name(checkpoint.BEST)
    facts: dict[str, Any] = {"step": 0, "best": None, "best_step": None}
    facts |= checkpoint.resume(state, trained, optimizer)
    callbacks = callbacks or Callbacks()
    callbacks.restore(facts)
    schedule = Schedule(stage, length, facts.get("cooling"))
    # the stage had ended, and was killed before its facts were written
    over = validator is not None and stage.until is None and validator.over(facts)
    leads = accelerator.is_main_process
    logged_before = facts.pop("log", None)
    log = Log(folder / "log.jsonl" if leads else None, facts["step"], logged_before)
    saved_at = time.monotonic()
    validated: dict[str, float] = {}

    def progress(rate: float = 0.0, values: dict[str, Tensor] | None = None) -> Progress:
        return Progress(
            stage=stage.name, step=facts["step"], steps=schedule.end, earlier=callbacks.earlier,
            model=distillation.student, learning_rate=rate, validation=dict(validated),
            best=facts["best"], tensors=values or {},
        )  # fmt: skip

    callbacks.tell("start", progress())
    work = Work(
        stage.name, schedule.end, "steps", done=facts["step"], kept=True,
        at_most=stage.until is not None,
    )  # fmt: skip
    with work:
        first = schedule.end if over else facts["step"]
        for step, batch in _prefetched(batches, first, schedule.end):
            factor = schedule.factor(step)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            torch.manual_seed(torch_seed(seed, DROPOUT, step, *distributed.rank_seed(accelerator)))
            values = _step(module, stage, optimizer, batch, accelerator)
            log.count(batch)
            work.update()
            facts["step"] = step + 1
            ends = facts["step"] == schedule.end
            validates = ends or (validator is not None and facts["step"] in validator.at)
            logged = validates or facts["step"] % LOG_EVERY == 0
            late = leads and time.monotonic() - saved_at > SAVE_SECONDS
            if shards:  # all processes take part in saving
                late = logged and distributed.any_rank(late, accelerator)
            due = (leads or shards) and (validates or late)
            if logged or callbacks.own:
                values = distributed.sum_over_ranks(values, accelerator)
            if due or logged:
                _check_finite(facts["step"], values, accelerator.scaler is not None)
            rate = factor * stage.learning_rate
            callbacks.tell("step", progress(rate, values))
            if facts["step"] % LOG_EVERY == 0 or ends:
                row = log.write(facts["step"], values, rate)
                work.tell(loss=f"{row['loss']:.3f}", **_best(validator, facts))
            if validator is not None and validates:
                distributed.gather_weights(trained, distillation, accelerator)
                if leads:
                    validated = validator.validate(distillation, best, facts, log)
                    callbacks.tell("validation", progress(rate))
                if validator.patience:
                    over = distributed.any_rank(leads and validator.over(facts), accelerator)
                if over and stage.until is not None:
                    over = False
                    if schedule.may_cool(facts["step"]):
                        facts["cooling"] = facts["step"]
                        schedule = replace(schedule, cooling=facts["step"])
                        work.total = schedule.end
            if due:
                facts |= callbacks.state()
                checkpoint.save(state, trained, optimizer, facts | {"log": log.checksum}, keep=True)
                _release_memory()
                saved_at = time.monotonic()
            if over or facts["step"] == schedule.end:
                break
    distributed.gather_weights(trained, distillation, accelerator)
    if leads and validator is not None and best.is_file():
        checkpoint.load(best, distillation, None)
    return facts


def _best(validator: Validator | None, facts: dict[str, Any]) -> dict[str, str]:
    """Return the best value on held-out texts by its name, once there is one."""
    if validator is None or facts["best"] is None:
        return {}
    return {f"best {validator.name}": f"{facts['best']:.4f}"}


def _step(
    module: nn.Module,
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """Update the weights once; return this process's share of the batch's loss and terms."""
    local, weight = distributed.local_rows(batch, accelerator)
    rows = len(local["input_ids"])
    size = stage.micro_batch_size or rows
    sums: dict[str, Tensor] = {}
    for start in range(0, rows, size):
        micro = {k: v[start : start + size].to(accelerator.device) for k, v in local.items()}
        last = start + size >= rows
        with distributed.gradient_sync(module, accelerator, last), accelerator.autocast():
            loss, values = module(micro, batch)
            # gradients are averaged over processes, and their shares add up to the whole batch's
            accelerator.backward(loss * (weight * accelerator.num_processes))
        for name, value in {"loss": loss.detach(), **values}.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + weight * value
    norm = accelerator.clip_grad_norm_(module.parameters(), stage.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return sums | ({} if norm is None else {"gradient_norm": distributed.unsharded(norm)})


def _optimizer(distillation: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Return AdamW with learning rates by name and no decay of biases and norms, as in BERT."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in distillation.named_parameters():
        factor = stage.rate(name) if parameter.numel() else 0.0  # empty tensors cannot be reduced
        parameter.requires_grad_(factor > 0 and parameter.requires_grad)
        if parameter.requires_grad:
            decay = stage.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    if not groups:
        raise UserError(f"stage '{stage.name}': rates leave nothing to train")
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": stage.learning_rate * factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ],
        betas=stage.betas,
        eps=stage.epsilon,
        fused=True,
    )


def _prefetched(
    batches: Batches, start: int, steps: int
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield batches in order; the next one is made in a thread meanwhile.

    The thread computes alone: a second team of OpenMP's beside that of the steps has more threads
    than there are cores, and then all of them sleep between operations, which costs 20 % or more.
    """
    with ThreadPoolExecutor(1) as worker:
        threads = worker.submit(torch.get_num_threads).result()  # else it is set on first use
        worker.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(threads)  # of threads to come; the worker keeps its own
        upcoming = worker.submit(batches, start) if start < steps else None
        for step in range(start, steps):
            assert upcoming is not None
            batch = upcoming.result()
            upcoming = worker.submit(batches, step + 1) if step + 1 < steps else None
            yield step, batch


def _release_memory() -> None:
    """Return freed memory to the system, since batches of many shapes fragment the heap.

    After half an hour of MLM, 4.1 of 6.3 GB were free but not returned.
    """
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _check_finite(step: int, values: dict[str, Tensor], scaled: bool) -> None:
    """Raise DivergedError for values that are not finite; fp16's scaler skips infinite norms."""
    for name, key in (("loss", "loss"), ("gradient", "gradient_norm"))[: 1 if scaled else 2]:
        if not math.isfinite(value := float(values.get(key, 0.0))):
            terms = [
                term
                for term in values.keys() - {"loss", "gradient_norm"}
                if not math.isfinite(values[term])
            ]
            of_terms = f" (that of {', '.join(sorted(terms))})" if key == "loss" and terms else ""
            kept = "; the last good checkpoint is kept" if step > 1 else ""
            raise DivergedError(
                f"step {step}: the {name}{of_terms} is {value}: lower the learning rate "
                f"(--learning-rate) or train with --precision fp32{kept}"
            )
