"""The table of renamed words: probes speak as the package did when they were written.

Each commit carries its own table, words.yaml. A side is called by the words of its own table; what
BASE says is read in the words that HEAD's table has and BASE's has not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

PLACES = ("everywhere", "commands", "texts")


class TableError(Exception):
    """A data file of the net that says what it cannot mean."""


@dataclass(frozen=True)
class Rename:
    """A word, option, file name, JSON key or whole sentence, and what stands for it now.

    where: in the command lines and files of probes, in what is said and written, or in both.
    """

    old: str
    new: str
    where: str = "everywhere"


def rows_of(text: str, fields: Sequence[str], needed: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a YAML list. Raises TableError for a wrong field, and a needed one left out."""
    rows = yaml.safe_load(text) or []
    for row in rows:
        if wrong := set(row) - set(fields):
            raise TableError(f"{row}: there is no field {sorted(wrong)[0]!r}: {', '.join(fields)}")
        if empty := [field for field in needed if not str(row.get(field) or "").strip()]:
            raise TableError(f"{row}: it has no {empty[0]}, and every row needs one")
    return list(rows)


def read(text: str) -> tuple[Rename, ...]:
    """The table in a YAML text."""
    found = [Rename(**row) for row in rows_of(text, ("old", "new", "where"), ("old", "new"))]
    for rename in found:
        if rename.where not in PLACES:
            raise TableError(f"{rename.old}: where is {rename.where!r} and not one of {PLACES}")
    return tuple(found)


def translated(text: str, renames: Sequence[Rename], where: str) -> str:
    """The text with all old words replaced at once, the longest first; where: commands or texts."""
    new = {each.old: each.new for each in renames if each.where in ("everywhere", where)}
    if not new:
        return text
    longest = sorted(new, key=len, reverse=True)
    words = "|".join(_bounded(word) for word in longest)
    return re.sub(words, lambda match: new[match[0]], text)


def _bounded(word: str) -> str:
    """A pattern of the word that finds no part of a longer word or option."""
    before = r"(?<![\w-])" if re.match(r"[\w-]", word) else ""
    after = r"(?![\w-])" if re.search(r"[\w-]$", word) else ""
    return f"{before}{re.escape(word)}{after}"
