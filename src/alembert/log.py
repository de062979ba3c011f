"""The log of a stage: one JSON object a line, whole however often the stage was interrupted."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from alembert.writing import in_place, named


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
        with in_place(path) as partial:
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
        with named(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
