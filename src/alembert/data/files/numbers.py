"""Numbers as people write them in texts: with a decimal comma, or with a percent sign."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from alembert.io.errors import UserError

_DECIMAL = re.compile(r"[-+]?[0-9]+(,[0-9]+)?")
_PERCENT = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?\s?%")
_THOUSANDS = re.compile(r"[-+]?([1-9][0-9]{0,2}(,[0-9]{3})+|[0-9]{1,3})")

log = logging.getLogger(__name__)


def percents(
    values: Sequence[Any], source: str, column: str, known: Sequence[str] | None
) -> list[float | None] | None:
    """Numbers that are written with a percent sign; None for other texts and known classes."""
    filled = [value.strip() for value in values if value and value.strip()]
    if (
        not filled
        or not all(_PERCENT.fullmatch(text) for text in filled)
        or filled[0] in (known or ())
    ):
        return None
    log.info(f"{source}: {column!r} is read as numbers without their percent sign")
    cells = [value.strip().rstrip("% ") if value else "" for value in values]
    return [float(cell.replace(",", ".")) if cell else None for cell in cells]


def decimals(
    values: Sequence[Any], source: str, column: str, scored: bool
) -> list[float | None] | None:
    """Numbers that are written with a decimal comma; None where texts are something else.

    Raises UserError for scores whose commas may part thousands.
    """
    filled = [value.strip() for value in values if value and value.strip()]
    if not filled or not all(_DECIMAL.fullmatch(text) for text in filled):
        return None
    if all(_THOUSANDS.fullmatch(text) for text in filled):
        if not scored:
            return None
        raise UserError(
            f"{source}: {column!r} holds {next(t for t in filled if ',' in t)!r}, whose comma may "
            "part thousands or fractions: write a point for fractions, and nothing for thousands"
        )
    log.info(f"{source}: {column!r} is read as numbers with a decimal comma")
    return [float(v.replace(",", ".")) if v and v.strip() else None for v in values]
