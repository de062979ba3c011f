"""The length of a stage: its steps, its schedule, its validation on held-out texts, its log."""

import json
import logging
import math
import time
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from alembert.io.files import naming, write_text
from alembert.io.parsing import json_of
from alembert.recipes.schema import Stage
from alembert.training import checkpoint

log = logging.getLogger(__name__)

TOLERANCE = 0.02  # a loss counts as lower by more than this share of the first one


@dataclass(frozen=True)
class Length:
    """Optimiser steps of a stage: at least `floor`, at most `cap`; equal where it is fixed."""

    floor: int
    cap: int


def length_of(stage: Stage, rows: int, classes: int = 1) -> Length:
    """Return the length of a stage on `rows` sequences of a task with so many labels."""
    epoch = math.ceil(rows / stage.batch_size)
    if stage.until is not None:
        cap = stage.until.cap.of(epoch, classes)
        return Length(min(stage.until.floor.of(epoch, classes), cap), cap)
    if (steps := stage.steps) is None:
        assert stage.epochs is not None
        steps = max(math.ceil(stage.epochs * epoch), stage.min_steps)
    return Length(steps, steps)


@dataclass(frozen=True)
class Schedule:
    """The factor of the learning rate at each step, and the last step.

    Linear warm-up, then linear to 0 or constant. Where the length is open (`until`), the rate falls
    from the floor on as 1 / sqrt(step), which needs no last step (Vaswani et al. 2017), and from
    the step `cooling`, which validation decides, linearly to 0 (as in warmup-stable-decay: Hu et
    al. 2024, arXiv 2404.06395; Haegele et al. 2024, arXiv 2405.18392).
    """

    stage: Stage
    length: Length
    cooling: int | None = None

    def begin(self, end: int) -> int:
        """Return the step at which the rate begins to fall, in a stage that ends at `end`."""
        until = self.stage.until
        return round(end / (1 + until.cooldown)) if until else self._warm

    @property
    def _warm(self) -> int:
        usual = min(self.length.cap, 3 * self.length.floor)  # an open length seldom reaches its cap
        return round(self.stage.warmup * usual)

    @property
    def end(self) -> int:
        """The last step, or the cap before `cooling` is known."""
        until, cap = self.stage.until, self.length.cap
        if until is None or self.cooling is None:
            return cap
        return min(cap, math.ceil(self.cooling * (1 + until.cooldown)))

    def factor(self, step: int) -> float:
        """Return the learning rate's factor at a step, counted from 0."""
        if step < self._warm:
            return (step + 1) / (self._warm + 1)
        end = self.end
        begin = self.begin(end) if self.cooling is None else self.cooling
        if self.stage.schedule == "constant":
            return 1.0
        high = 1.0
        if self.stage.until is not None:
            high = min(1.0, math.sqrt(self.length.floor / max(min(step, begin), 1)))
        return high if step < begin else high * (end - step) / max(end - begin, 1)

    def may_cool(self, step: int) -> bool:
        """Return whether the rate may begin to fall after so many steps, with the floor reached."""
        first, last = self.begin(self.length.floor), self.begin(self.length.cap)
        return self.cooling is None and first <= step < last


class Log:
    """log.jsonl: one object per logged step; lines beyond the step resumed from are dropped.

    Without a path, in processes other than the main one, nothing is written. `checksum` is the
    log's own at that step, as the checkpoint has it: a damaged log is named and begun anew.
    """

    def __init__(self, path: Path | None, step: int, checksum: int | None = None) -> None:
        self._path = path
        self._tokens, self._since = 0, time.perf_counter()
        self.checksum = 0
        if path is None:
            return
        text = _up_to(step, path.read_text(errors="replace")) if path.is_file() else ""
        if checksum not in (None, zlib.crc32(text.encode())):
            log.warning(f"{path}: is damaged: it begins anew at step {step:,}")
            text = ""
        self.checksum = zlib.crc32(text.encode())
        write_text(path, text)

    def count(self, batch: dict[str, Tensor]) -> None:
        self._tokens += int(batch["attention_mask"].sum())

    def write(self, step: int, values: dict[str, Tensor], rate: float) -> dict[str, float]:
        row = {"step": step} | {name: float(value) for name, value in values.items()}
        now = time.perf_counter()
        row |= {"learning_rate": rate, "tokens_per_second": self._tokens / (now - self._since)}
        self._tokens, self._since = 0, now
        self.note(row)
        return row

    def note(self, row: dict[str, float]) -> None:
        if self._path is None:
            return
        line = json.dumps(row) + "\n"
        self.checksum = zlib.crc32(line.encode(), self.checksum)
        with naming(self._path), self._path.open("a") as file:
            file.write(line)


def _up_to(step: int, text: str) -> str:
    """Return the lines of a log up to a step, without those that are cut off or no JSON."""
    lines = []
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            if json_of(line)["step"] <= step:
                lines.append(line + "\n")
    return "".join(lines)


@dataclass(frozen=True)
class Validation:
    """A metric on held-out texts, its standard error, and a loss.

    `value` is None in a stage that reads no logits, where the loss alone counts.
    """

    value: float | None
    loss: float
    error: float = 0.0


@dataclass(frozen=True)
class Validator:
    """Validates a stage's student after the steps `at`, by a metric of which higher is better.

    patience: validations in a row without a higher value or a lower loss that end the stage; with
    0 they never do.
    """

    measure: Callable[[], Validation]
    name: str
    at: Collection[int]
    patience: int = 0

    def validate(
        self, module: nn.Module, best: Path, facts: dict[str, Any], log: Log
    ) -> dict[str, float]:
        """Measure the student, save it to `best` if it is the best so far; return metric and loss.

        Of validations within one standard error of the highest, the latest counts as the best (the
        one standard error rule, Breiman et al. 1984), since its learning rate is lower.
        """
        result = self.measure()
        shown = {} if result.value is None else {f"valid_{self.name}": result.value}
        log.note({"step": facts["step"], **shown, "valid_loss": result.loss})
        score = -result.loss if result.value is None else result.value
        rises = facts.get("highest") is None or score > facts["highest"]
        first, lowest = facts.setdefault("first_loss", result.loss), facts.get("lowest_loss")
        falls = lowest is None or result.loss < lowest - TOLERANCE * abs(first)
        if falls:
            facts["lowest_loss"] = result.loss
        if rises:
            facts |= {"highest": score, "margin": result.error}
        moves = falls or (rises and result.value is not None)
        facts["since"] = 0 if moves else facts.get("since", 0) + 1
        if score >= facts["highest"] - facts["margin"]:
            value = result.loss if result.value is None else result.value
            facts |= {"best": value, "best_step": facts["step"]}
            checkpoint.save(best, module, None, facts)
        measured = {} if result.value is None else {self.name: result.value}
        return measured | {"loss": result.loss}

    def over(self, facts: dict[str, Any]) -> bool:
        """Return whether its patience is used up."""
        return 0 < self.patience <= int(facts.get("since", 0))


def validation_steps(steps: int, times: int) -> set[int]:
    """Return the steps, of `steps`, after which to validate `times` times."""
    return {math.ceil(steps * k / times) for k in range(1, times + 1)} if times else set()
