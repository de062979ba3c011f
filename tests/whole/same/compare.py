"""Compares what two sides were seen to do, and takes out the differences that are meant."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import islice

from .words import Rename, rows_of, translated

Seen = Mapping[str, Mapping[str, str]]  # by a probe's title, text by file


@dataclass(frozen=True)
class Difference:
    """Lines of one file of one probe: "- " before what BASE has, "+ " before what HEAD has."""

    probe: str
    file: str
    lines: tuple[str, ...]


@dataclass
class Meant:
    """Differences that are wanted, with their reason. Patterns of probe and file may have stars.

    lines: a regular expression; of a difference the lines that have it are let pass.
    """

    reason: str
    probe: str = "*"
    file: str = "*"
    lines: str = ""
    passed: int = field(default=0, compare=False)

    def left(self, difference: Difference) -> tuple[str, ...]:
        """The lines that this does not let pass."""
        if not fnmatch(difference.probe, self.probe) or not fnmatch(difference.file, self.file):
            return difference.lines
        left = tuple(line for line in difference.lines if not re.search(self.lines, line))
        self.passed += len(difference.lines) - len(left)
        return left


def meant(text: str, base: str = "") -> list[Meant]:
    """The list in a YAML text, less what BASE's own has. Raises TableError."""
    fields = ("reason", "probe", "file", "lines")
    known = [Meant(**row) for row in rows_of(base, fields, ("reason",))]
    rows = [Meant(**row) for row in rows_of(text, fields, ("reason",))]
    return [row for row in rows if row not in known]


def differences(base: Seen, head: Seen, renames: Sequence[Rename] = ()) -> Iterator[Difference]:
    """All that differs, once BASE is read in HEAD's words."""
    for probe in dict.fromkeys((*base, *head)):
        old, new = _renamed(base.get(probe, {}), renames), head.get(probe, {})
        for file in dict.fromkeys((*old, *new)):
            if file not in new or file not in old:
                where = "BASE" if file in old else "HEAD"
                yield Difference(probe, file, (f"{'-+'[where == 'HEAD']} only in {where}",))
            elif old[file] != new[file]:
                yield Difference(probe, file, tuple(_changed(old[file], new[file])))


def unmeant(found: Iterator[Difference], wanted: Sequence[Meant]) -> Iterator[Difference]:
    """What is left of the differences; the list counts what it lets pass."""
    for difference in found:
        for each in wanted:
            difference = Difference(difference.probe, difference.file, each.left(difference))
        if difference.lines:
            yield difference


def _renamed(seen: Mapping[str, str], renames: Sequence[Rename]) -> dict[str, str]:
    found = {
        translated(file, renames, "texts"): translated(text, renames, "texts")
        for file, text in seen.items()
    }
    if renames and "files" in found:  # sorted by the old names
        found["files"] = "\n".join(sorted(found["files"].splitlines()))
    return found


def _changed(old: str, new: str) -> Iterator[str]:
    """The lines of a diff that are not alike."""
    before, after = old.split("\n"), new.split("\n")
    if len(before) == len(after):
        pairs = [(x, y) for x, y in zip(before, after, strict=True) if x != y]
        yield from (line for x, y in pairs for line in (f"- {x}", f"+ {y}"))
        return
    headless = islice(difflib.unified_diff(before, after, n=0, lineterm=""), 2, None)
    yield from (f"{line[0]} {line[1:]}" for line in headless if line[0] in "+-")
