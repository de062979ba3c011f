"""Numbers as people write them in texts: with a decimal comma, or with a percent sign."""

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

from alembert.io.errors import UserError

_SIGN = "[-+\u2212]?"  # of ASCII, or the minus of Unicode
_POWER = "([eE][-+]?[0-9]+)?"
_POINT = re.compile(rf"{_SIGN}([0-9]+(\.[0-9]*)?|\.[0-9]+){_POWER}")
_GROUPS = r"[1-9][0-9]{0,2}([ .'\u00a0\u2009\u202f][0-9]{3})+"  # parted thousands
_COMMA = re.compile(rf"{_SIGN}(({_GROUPS}|[0-9]+)(,[0-9]+)?|,[0-9]+){_POWER}")
_PERCENT = re.compile(rf"{_SIGN}[0-9]+([.,][0-9]+)?\s?[%\uff05]")
_THOUSANDS = re.compile(r"[-+]?([1-9][0-9]{0,2}(,[0-9]{3})+|[0-9]{1,3})")
_WHOLE = re.compile(rf"{_SIGN}[0-9]+\.0*")
_ERRORS = re.compile(r"#(N/A|NAME\?|REF!|VALUE!|DIV/0!|NULL!|NUM!|NV|WERT!|BEZUG!|NOMBRE\?|NOM\?)")
_PLAIN = str.maketrans({"\u2212": "-", ",": ".", "%": None, "\uff05": None, "'": None})

log = logging.getLogger(__name__)


def numbers_of(
    values: Sequence[Any],
    source: str,
    column: str,
    scored: bool,
    known: Sequence[str] | None,
) -> list[float | None] | None:
    """The numbers that texts are; None for other texts, and for those of known classes.

    `scored` says that they are meant as scores. Raises UserError for scores that are no numbers,
    or whose commas may part thousands.
    """
    filled = [value.strip() for value in values if value and value.strip()]
    if not filled or filled[0] in (known or ()):
        return None
    if all(map(_PERCENT.fullmatch, filled)):
        log.info(f"{source}: {column!r} is read as numbers without their percent sign")
    elif all(map(_WHOLE.fullmatch, filled)) or (scored and all(map(_POINT.fullmatch, filled))):
        pass  # 1.0, or scores in quotes
    elif not _with_commas(filled, source, column, scored):
        return None
    return [_number(value) if value and value.strip() else None for value in values]


def formula_error(texts: Iterable[str]) -> str:
    """The error of a spreadsheet's formula among texts; "" without one."""
    return next((text for text in texts if _ERRORS.fullmatch(text)), "")


def _with_commas(filled: Sequence[str], source: str, column: str, scored: bool) -> bool:
    """Whether texts are numbers with a decimal comma."""
    marked = scored or any("," in text for text in filled)
    if not marked or not all(map(_COMMA.fullmatch, filled)):
        odd = next((text for text in filled if not _COMMA.fullmatch(text)), "")
        if scored and all(re.match(rf"{_SIGN}[0-9]", text) for text in filled):
            raise UserError(
                f"{source}: {column!r} holds {odd!r}, which is no number: write the number alone, "
                "or say --kind classification"
            )
        return False
    if all(map(_THOUSANDS.fullmatch, filled)):
        if not scored:
            return False
        raise UserError(
            f"{source}: {column!r} holds {next(t for t in filled if ',' in t)!r}, whose comma may "
            "part thousands or fractions: write a point for fractions, and nothing for thousands"
        )
    log.info(f"{source}: {column!r} is read as numbers with a decimal comma")
    return True


def _number(text: str) -> float:
    """The number of a text, in which a comma is that of the fraction where there is one."""
    text = "".join(text.split())
    return float((text.replace(".", "") if "," in text else text).translate(_PLAIN))
