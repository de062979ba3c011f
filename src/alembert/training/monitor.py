"""How long a stage is trained: its length, its schedule, looks at held-out texts, its log."""

import json
import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from alembert.io.files import atomic, naming
from alembert.recipes.schema import Stage
from alembert.training import checkpoint

TOLERANCE = 0.02  # a loss has fallen when it is lower by this share of the first one seen


@dataclass(frozen=True)
class Length:
    """Optimiser steps of a stage: at least `floor`, at most `cap`; the same where it is fixed."""

    floor: int
    cap: int


def length_of(stage: Stage, rows: int, classes: int = 1) -> Length:
    """The length of a stage on `rows` sequences of a task with so many labels."""
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
    """The share of the learning rate at each step, and the last step.

    Linear warm-up, then linear to 0 or constant. Where the length is open (`until`), the rate falls
    from the floor on as 1 / sqrt(step), which asks for no last step (Vaswani et al. 2017), and from
    the step `cooling`, which validation decides, linearly to 0 (as warmup-stable-decay does: Hu et
    al. 2024, arXiv 2404.06395; Haegele et al. 2024, arXiv 2405.18392).
    """

    stage: Stage
    length: Length
    cooling: int | None = None

    def begin(self, end: int) -> int:
        """The step at which the rate begins to fall, of a stage that ends at `end`."""
        until = self.stage.until
        return round(end / (1 + until.cooldown)) if until else self._warm

    @property
    def _warm(self) -> int:
        usual = min(self.length.cap, 3 * self.length.floor)  # of an open length; else the whole
        return round(self.stage.warmup * usual)

    @property
    def end(self) -> int:
        """Steps of the whole stage, as far as they are known."""
        until, cap = self.stage.until, self.length.cap
        if until is None or self.cooling is None:
            return cap
        return min(cap, math.ceil(self.cooling * (1 + until.cooldown)))

    def factor(self, step: int) -> float:
        """The share of the learning rate at a step, counted from 0."""
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
        """Whether the rate may begin to fall after so many steps: the floor is reached then."""
        first, last = self.begin(self.length.floor), self.begin(self.length.cap)
        return self.cooling is None and first <= step < last


class Log:
    """log.jsonl: one object per logged step; lines beyond the step resumed from are dropped.

    Without a path (a process that does not lead) nothing is written.
    """

    def __init__(self, path: Path | None, step: int) -> None:
        self._path = path
        self._tokens, self._since = 0, time.perf_counter()
        if path is None:
            return
        kept: Iterable[str] = path.read_text().splitlines() if path.is_file() else ()
        kept = [line for line in kept if line.endswith("}") and json.loads(line)["step"] <= step]
        with atomic(path) as partial:
            partial.write_text("".join(line + "\n" for line in kept))

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
        with naming(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(frozen=True)
class Validation:
    """What a student is worth on held-out texts: a metric, its standard error, and a loss.

    value: None where no answers are compared, so that the loss alone counts.
    """

    value: float | None
    loss: float
    error: float = 0.0


@dataclass(frozen=True)
class Validator:
    """What is looked at during a stage, after the steps `at`; higher is better.

    patience: looks in a row without a higher value or a lower loss, after which the stage comes to
    its end; 0: never.
    """

    measure: Callable[[], Validation]
    name: str
    at: Collection[int]
    patience: int = 0

    def look(self, module: nn.Module, best: Path, facts: dict[str, Any], log: Log) -> None:
        """Measure the student as it is now and keep it where it is the best so far.

        Of looks within one standard error of the highest the latest is kept (the one standard
        error rule, Breiman et al. 1984): a rate that has fallen is worth more than a lucky draw.
        """
        seen = self.measure()
        shown = {} if seen.value is None else {f"valid_{self.name}": seen.value}
        log.note({"step": facts["step"], **shown, "valid_loss": seen.loss})
        score = -seen.loss if seen.value is None else seen.value
        rises = facts.get("highest") is None or score > facts["highest"]
        first, lowest = facts.setdefault("first_loss", seen.loss), facts.get("lowest_loss")
        falls = lowest is None or seen.loss < lowest - TOLERANCE * abs(first)
        if falls:
            facts["lowest_loss"] = seen.loss
        if rises:
            facts |= {"highest": score, "margin": seen.error}
        moves = falls or (rises and seen.value is not None)
        facts["since"] = 0 if moves else facts.get("since", 0) + 1
        if score >= facts["highest"] - facts["margin"]:
            value = seen.loss if seen.value is None else seen.value
            facts |= {"best": value, "best_step": facts["step"]}
            checkpoint.save(best, module, None, facts)

    def over(self, facts: dict[str, Any]) -> bool:
        """Whether its patience is at an end."""
        return 0 < self.patience <= int(facts.get("since", 0))


def validation_steps(steps: int, times: int) -> set[int]:
    """The steps, of so many, after which to look."""
    return {math.ceil(steps * k / times) for k in range(1, times + 1)} if times else set()
