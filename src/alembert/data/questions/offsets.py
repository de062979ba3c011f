"""Offsets that do not fit the text of an answer: why, and which offset is meant."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Why an answer is not where its offset says, and its place; None where no place is sure."""

    why: str
    mended: tuple[str, int] | None = None


def fault_of(context: str, text: str, start: int) -> Fault | None:
    """Why a text is not in the context at an offset, and where it is meant; None where it is."""
    if start >= 0 and context.startswith(text, start):
        return None
    there = context[max(start, 0) : max(start, 0) + len(text)]
    why = f"its answer {short(text)} begins at {start} and the context has {short(there)} there"
    for near in (start - 1, start + 1):
        if near >= 0 and context.startswith(text, near):
            return Fault(f"{why}, which is off by one", (text, near))
    if (place := _but_for_blanks(context, text, start)) is not None:
        return Fault(f"{why}, which is off by white space", place)
    found = [match.start() for match in re.finditer(re.escape(text), context)]
    if not found:
        return Fault(f"its answer {short(text)} is not in the context")
    nearest = min(found, key=lambda each: abs(each - start))
    return Fault(f"{why}; the nearest such text begins at {nearest}")


def places_of(answers: Sequence[str], context: str) -> list[tuple[int, int]]:
    """Where any of the answers stands in a context: (start, end) of each place."""
    return [
        match.span() for each in answers if each for match in re.finditer(re.escape(each), context)
    ]


def _but_for_blanks(context: str, text: str, start: int) -> tuple[str, int] | None:
    """The text and offset that are meant where white space alone makes the difference.

    The text may have blanks at its ends or others inside, or the offset may be one of a context
    whose blanks were put together.
    """
    words = text.split()
    if not words or start < 0:
        return None
    pattern = re.compile(r"\s*(" + r"\s+".join(map(re.escape, words)) + ")")
    if match := pattern.match(context, start):
        return match[1], match.start(1)
    leading = len(text) - len(text.lstrip())
    for before in (0, len(context) - len(context.lstrip())):  # blanks that were cut off
        places = _places_without_blanks(context[before:])
        if start + leading < len(places):
            at = before + places[start + leading]
            if match := pattern.match(context, at):
                return match[1], match.start(1)
    return None


def _places_without_blanks(context: str) -> list[int]:
    """The place in the context of each character that stays when runs of blanks become one."""
    return [
        place
        for place, letter in enumerate(context)
        if not (letter.isspace() and place and context[place - 1].isspace())
    ]


def short(text: str, most: int = 30) -> str:
    """A text as messages show it."""
    return repr(text if len(text) <= most else text[:most] + "...")
