"""What is asked of a student, and how much is spent on finding it."""

from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        if self.max_latency_ms is None and self.min_retention is None:
            raise UserError("nothing bounds the search: give --max-latency-ms or --min-retention")
        for option, value in (
            ("--max-latency-ms", self.max_latency_ms), ("--epochs", self.epochs),
            ("--trials", self.trials), ("--steps", self.steps), ("--length", self.length),
        ):  # fmt: skip
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{option} {value:g}: must be over 0, and a finite number")
        if self.min_retention is not None and not 0 < self.min_retention <= 1:
            raise UserError(
                f"--min-retention {self.min_retention:g}: a share, over 0 and at most 1 (0.97)"
            )
