"""Rows that cannot be read: refused, or left out and listed where the user allows it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from alembert.io.errors import UserError

log = logging.getLogger(__name__)

# of a file, a position in it ("line 3") and the reason; it raises, or the row is left out
BadRow = Callable[[Path | str, str, str], None]


def refuse(path: Path | str, where: str, why: str) -> None:
    """Raises UserError for a row that cannot be read."""
    raise UserError(f"{path}, {where}: {why}")


@dataclass(frozen=True)
class Skipped:
    """A row that was left out: its file, its position there, and why."""

    file: str
    row: str
    why: str


@dataclass(eq=False)
class Skips:
    """Leaves out at most `most` rows of a run's files that cannot be read, and lists them.

    With `all_listed` any number is left out, and none is reported.
    """

    most: int = 0
    rows: list[Skipped] = field(default_factory=list)
    all_listed: bool = False
    _seen: set[Skipped] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.most < 0:
            raise UserError(f"--skip-bad-rows {self.most}: must be 0 or more")

    def __call__(self, path: Path | str, where: str, why: str) -> None:
        """Lists a row. Raises UserError when `most` rows are listed already."""
        row = Skipped(str(path), where, why)
        if row in self._seen:  # a file that is read again
            return
        if len(self.rows) >= self.most and not self.all_listed:
            more = f" (--skip-bad-rows {self.most}: as many are left out already)"
            refuse(path, where, why + (more if self.most else ""))
        self._seen.add(row)
        self.rows.append(row)
        if self.all_listed:
            return
        log.warning(f"{path}, {where}: left out: {why}")
