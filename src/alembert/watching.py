"""A stage looks at its student on held-out texts: the best one is kept, and it may end early."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from alembert import checkpoint
from alembert.log import Log


@dataclass(frozen=True)
class Watch:
    """What is looked at during a stage: a value of the student, higher is better, `times` times.

    patience: looks in a row without a better value, after which the stage ends; 0: never.
    """

    measure: Callable[[], float]
    name: str
    times: int
    patience: int = 0

    def look(self, module: nn.Module, best: Path, facts: dict[str, Any], log: Log) -> None:
        """Measure the student as it is now and keep it when it is the best so far."""
        value = self.measure()
        log.note({"step": facts["step"], f"valid_{self.name}": value})
        facts["since"] = facts.get("since", 0) + 1
        if facts["best"] is None or value > facts["best"]:
            facts |= {"best": value, "best_step": facts["step"], "since": 0}
            checkpoint.save(best, module, None, facts)

    def over(self, facts: dict[str, Any]) -> bool:
        """Whether its patience is at an end."""
        return 0 < self.patience <= int(facts.get("since", 0))


def looks(steps: int, times: int) -> set[int]:
    """The steps, of so many, after which to look."""
    return {math.ceil(steps * k / times) for k in range(1, times + 1)} if times else set()
