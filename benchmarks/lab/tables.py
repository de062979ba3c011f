"""Tables in Markdown."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Cell = str | Callable[[Any], str]


def markdown(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Cell]) -> str:
    """A line for each row. A column is its head and its cell, which is a function of the row or
    a format such as "{kept:.1%}", with the row's fields.
    """
    lines = [line(columns), "|" + "---|" * len(columns)]
    for row in rows:
        cells = (
            cell.format_map(row) if isinstance(cell, str) else cell(row)
            for cell in columns.values()
        )
        lines.append(line(cells))
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
