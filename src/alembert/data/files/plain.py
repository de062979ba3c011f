"""Lines of plain text, and those of fastText, which begin with their labels."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from alembert.data.files.skipped import BadRow

_LABEL = "__label__"
_LABELLED = re.compile(rf"\s*((?:{_LABEL}\S+\s+)+)(\S.*)")

log = logging.getLogger(__name__)
Numbered = Iterable[tuple[int, str]]  # (line, its text)


def rows_of(
    sample: Sequence[tuple[int, str]], rest: Numbered, path: Path, bad: BadRow
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 3", a text) of each line with one; of fastText's lines with their labels too.

    `bad` takes a line without a label among those of fastText, which the `sample` shows.
    """
    filled = [line for _, line in sample if line.strip()]
    numbered = ((n, line) for n, line in chain(sample, rest) if line.strip())
    if filled and all(line.lstrip().startswith(_LABEL) for line in filled):
        yield from _labelled(numbered, path, bad)
    else:
        yield from ((f"line {n}", {"text": line}) for n, line in numbered)


def _labelled(numbered: Numbered, path: Path, bad: BadRow) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = list[tuple[str, list[str], str]]()
    for number, line in numbered:
        if match := _LABELLED.fullmatch(line):
            names = [name.removeprefix(_LABEL) for name in match[1].split()]
            rows.append((f"line {number}", names, match[2]))
        else:
            bad(path, f"line {number}", f"no {_LABEL} before a text; write both, or drop the line")
    several = any(len(names) > 1 for _, names, _ in rows)
    log.info(f"{path}: read as fastText's lines, {'several labels' if several else 'a label'} each")
    for where, names, text in rows:
        yield where, {"text": text, "label": names if several else names[0]}
