"""What is asked of a student, and how much is spent on finding it."""

from dataclasses import dataclass, replace

from alembert.errors import UserError
from alembert.search.grid import RECIPES

VOCABULARIES = ("task", "all")


@dataclass(frozen=True)
class Budget:
    """What is asked of a student, and how much is spent on finding it."""

    max_latency_ms: float | None
    min_retention: float | None
    trials: int = 9  # candidates that are trained briefly
    steps: int = 100  # of the first rung
    epochs: float | None = None  # of the winner's stages; None: as its recipe has it
    length: int = 32  # tokens of the text that is timed
    recipes: tuple[str, ...] = RECIPES
    vocabularies: tuple[str, ...] = VOCABULARIES
    min_speedup: float | None = None  # times the teacher's in torch

    def __post_init__(self) -> None:
        if self.max_latency_ms is self.min_retention is self.min_speedup is None:
            raise UserError(
                "nothing bounds the search: give --max-latency-ms, --min-speedup or --min-retention"
            )
        for option, value in (
            ("--max-latency-ms", self.max_latency_ms), ("--epochs", self.epochs),
            ("--min-speedup", self.min_speedup),
            ("--trials", self.trials), ("--steps", self.steps), ("--length", self.length),
        ):  # fmt: skip
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{option} {value:g}: must be over 0, and a finite number")
        if self.min_retention is not None and not 0 < self.min_retention <= 1:
            raise UserError(
                f"--min-retention {self.min_retention:g}: a share, over 0 and at most 1 (0.97)"
            )

    def within(self, teacher_ms: float) -> "Budget":
        """The same with --min-speedup as milliseconds, the teacher taking so many."""
        if self.min_speedup is None:
            return self
        ms = teacher_ms / self.min_speedup
        if self.max_latency_ms is not None and self.max_latency_ms < ms:
            return replace(self, min_speedup=None)
        return replace(self, max_latency_ms=ms)
