"""What differs between two runs of one commit is taken out by its name, never by rounding.

noise.yaml has a pattern for each, and what stands there instead.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .words import Rename, rows_of, translated

TABLE = Path(__file__).with_name("noise.yaml")


@cache
def patterns(renames: tuple[Rename, ...]) -> list[tuple[re.Pattern[str], str]]:
    """The patterns, and the same ones in the side's words where these are others."""
    rows = rows_of(
        TABLE.read_text(encoding="utf-8"), ("what", "pattern", "instead"), ("what", "pattern")
    )
    found = []
    for row in rows:
        here = (row["pattern"], translated(row["pattern"], renames, "texts"))
        found += [(re.compile(each, re.M), row.get("instead", "")) for each in dict.fromkeys(here)]
    return found


def quiet(text: str, home: Path, renames: Sequence[Rename]) -> str:
    """The text without its noise and without the path of the side's folder."""
    text = text.replace(str(home), "HOME")
    for pattern, instead in patterns(tuple(renames)):
        text = pattern.sub(instead, text)
    return text
