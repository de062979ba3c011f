"""The loop: one stage, start to end, resumable at any step with the same final weights."""

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from alembert import checkpoint
from alembert.distillation import Distillation
from alembert.errors import UserError
from alembert.recipe import Stage
from alembert.writing import in_place, named

Batches = Callable[[int], dict[str, Tensor]]  # step (from 0) -> this process's batch of that step
LOG_EVERY = 10
SAVE_SECONDS = 120.0


@dataclass(frozen=True)
class Watch:
    """What is looked at during a stage: a value of the student, higher is better, `times` times."""

    measure: Callable[[], float]
    name: str
    times: int


def steps_of(stage: Stage, rows: int) -> int:
    """Optimiser steps of a stage on `rows` sequences."""
    if stage.steps is not None:
        return stage.steps
    assert stage.epochs is not None
    return max(math.ceil(stage.epochs * math.ceil(rows / stage.batch_size)), stage.min_steps)


def precision_of(choice: str, device: torch.device) -> str:
    """ "auto" as accelerate's word: bf16 where the hardware multiplies it, else no autocast."""
    if choice == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 needs a GPU: choose auto, fp32 or bf16")
    if choice != "auto":
        return {"fp32": "no"}.get(choice, choice)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    capable = torch.cpu.get_capabilities()
    return "bf16" if capable.get("avx512_bf16") or capable.get("amx_bf16") else "no"


def train(
    distillation: Distillation,
    stage: Stage,
    batches: Batches,
    steps: int,
    folder: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train in place; `folder` gets checkpoint/ and log.jsonl. Returns the facts of the end.

    Every step's batch, masks and dropout are functions of (seed, step), so a run that was killed
    and started again ends in the same weights. With a watch, the best student seen is kept.
    Raises UserError when the loss is no longer a number.
    """
    if distillation.teacher is not None:
        distillation.teacher.to(accelerator.device)
    optimizer = _optimizer(distillation, stage)
    rates = [group["lr"] for group in optimizer.param_groups]
    module, optimizer = accelerator.prepare(distillation, optimizer)
    state = folder / "checkpoint" / "state.safetensors"
    best = state.with_name("best.safetensors")
    facts: dict[str, Any] = {"step": 0, "best": None, "best_step": None}
    if state.is_file():
        facts = checkpoint.load(state, distillation, optimizer)
    looks = _looks(steps, watch.times if watch else 0)
    log = _Log(folder / "log.jsonl", facts["step"])
    saved_at = time.monotonic()
    bar = tqdm(
        total=steps, initial=facts["step"], desc=stage.name, unit="step", dynamic_ncols=True,
        disable=not accelerator.is_main_process or None, mininterval=0.5,
    )  # fmt: skip
    with bar:
        for step, batch in _prefetched(batches, facts["step"], steps):
            factor = _schedule(stage, step, steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            torch.manual_seed(hash((seed, step)) % 2**63)
            values = _step(module, stage, optimizer, batch, accelerator)
            log.count(batch)
            bar.update()
            facts["step"] = step + 1
            if facts["step"] % LOG_EVERY == 0 or facts["step"] == steps:
                row = log.write(facts["step"], values, factor * stage.learning_rate)
                bar.set_postfix(loss=f"{row['loss']:.3f}", best=_short(facts["best"]))
            if watch is not None and facts["step"] in looks:
                _look(watch, distillation, best, facts, log)
            due = time.monotonic() - saved_at > SAVE_SECONDS
            if due or facts["step"] in looks or facts["step"] == steps:
                checkpoint.save(state, distillation, optimizer, facts)
                saved_at = time.monotonic()
    if watch is not None and best.is_file():
        checkpoint.load(best, distillation, None)
    return facts


def _look(
    watch: Watch, distillation: Distillation, best: Path, facts: dict[str, Any], log: "_Log"
) -> None:
    """Measure the student as it is now and keep it when it is the best so far."""
    value = watch.measure()
    log.note({"step": facts["step"], f"valid_{watch.name}": value})
    if facts["best"] is None or value > facts["best"]:
        facts |= {"best": value, "best_step": facts["step"]}
        checkpoint.save(best, distillation, None, facts)


def _step(
    module: nn.Module,
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """One optimiser update; returns the loss and each term's value, averaged over micro batches."""
    rows = len(batch["input_ids"])
    size = stage.micro_batch_size or rows
    sums: dict[str, Tensor] = {}
    for start in range(0, rows, size):
        micro = {k: v[start : start + size].to(accelerator.device) for k, v in batch.items()}
        share = len(micro["input_ids"]) / rows
        last = start + size >= rows
        with _sync(module, accelerator, last), accelerator.autocast():
            loss, values = module(micro)
            accelerator.backward(loss * share)
        for name, value in {"loss": loss.detach(), **values}.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value * share
    norm = accelerator.clip_grad_norm_(module.parameters(), stage.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return sums | ({} if norm is None else {"gradient_norm": norm})


def _sync(module: nn.Module, accelerator: Accelerator, last: bool) -> Any:
    """Gradients cross processes once a step, with the last micro batch."""
    return torch.enable_grad() if last else accelerator.no_sync(module)


def _optimizer(distillation: Distillation, stage: Stage) -> torch.optim.Optimizer:
    """AdamW; rates by name, none at 0; no decay of biases and norms, as in BERT."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in distillation.named_parameters():
        factor = next((f for pattern, f in stage.rates if re.search(pattern, name)), 1.0)
        parameter.requires_grad_(factor > 0)
        if factor > 0:
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


def _schedule(stage: Stage, step: int, steps: int) -> float:
    """The share of the learning rate at a step: linear warm-up, then linear to 0 or constant."""
    warm = round(stage.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 1.0 if stage.schedule == "constant" else (steps - step) / max(steps - warm, 1)


def _looks(steps: int, times: int) -> set[int]:
    return {math.ceil(steps * k / times) for k in range(1, times + 1)} if times else set()


def _prefetched(
    batches: Batches, start: int, steps: int
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Batches in order, the next one made while this one is trained on."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(batches, start) if start < steps else None
        for step in range(start, steps):
            assert coming is not None
            batch = coming.result()
            coming = worker.submit(batches, step + 1) if step + 1 < steps else None
            yield step, batch


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


class _Log:
    """log.jsonl: one object per logged step; lines beyond the step resumed from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        kept: Iterable[str] = path.read_text().splitlines() if path.is_file() else ()
        kept = [line for line in kept if line.endswith("}") and json.loads(line)["step"] <= step]
        with in_place(path) as partial:
            partial.write_text("".join(line + "\n" for line in kept))
        self._path = path
        self._tokens, self._since = 0, time.perf_counter()

    def count(self, batch: dict[str, Tensor]) -> None:
        self._tokens += int(batch["attention_mask"].sum())

    def write(self, step: int, values: dict[str, Tensor], rate: float) -> dict[str, float]:
        row = {"step": step} | {name: float(value) for name, value in values.items()}
        if not math.isfinite(row["loss"]):
            raise UserError(
                f"step {step}: the loss is {row['loss']}: lower the learning rate "
                "(--learning-rate) or train with --precision fp32; the last good checkpoint is kept"
            )
        now = time.perf_counter()
        row |= {"learning_rate": rate, "tokens_per_second": self._tokens / (now - self._since)}
        self._tokens, self._since = 0, now
        self.note(row)
        return row

    def note(self, row: dict[str, float]) -> None:
        with named(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
