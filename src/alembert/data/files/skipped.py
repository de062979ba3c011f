"""Rows that cannot be read or that nobody has judged: refused, or left out and reported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alembert.io.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

NO_CLASS = (-1,)  # the id of a row without a class, where the classes have names
# (column, its values where they are known, those of rows to leave out)
UNJUDGED: tuple[tuple[str, set[str], tuple[str | int, ...]], ...] = (
    ("answer", {"accept", "reject", "ignore"}, ("reject", "ignore")),
    ("gold_label", set(), ("-",)),
    ("label", set(), NO_CLASS),
)

HINT = "--skip-bad-rows 1 leaves it out"

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
            more = f"--skip-bad-rows {self.most}: as many are left out already"
            refuse(path, where, f"{why} ({more if self.most else HINT})")
        self._seen.add(row)
        self.rows.append(row)
        if self.all_listed:
            return
        log.warning(f"{path}, {where}: left out: {why}")


def without_unjudged(rows: Dataset, label: str | None, source: str) -> Dataset:
    """The rows without those that annotators rejected, or did not agree on.

    Prodigy has a column `answer`, and MultiNLI and SNLI the gold label "-", or -1 on the hub.
    `label` is the column of labels that the user names.
    """
    kept = np.ones(len(rows), bool)
    for column, most, gone in UNJUDGED:
        named = next((name for name in rows.column_names if name.casefold() == column), None)
        if named is None or (column == "answer" and (label or "").casefold() == column):
            continue
        if gone == NO_CLASS and type(rows.features[named]).__name__ != "ClassLabel":
            continue
        values = rows[named][:]
        out = np.array([value in gone for value in values])
        if out.all() or not out.any() or (most and not set(values) <= most):
            continue
        shown = " or ".join(repr(value) for value in gone if value in values)
        log.warning(f"{source}: rows whose {named!r} is {shown} are left out: {out.sum():,}")
        kept &= ~out
    return rows if kept.all() else rows.select(np.flatnonzero(kept))
