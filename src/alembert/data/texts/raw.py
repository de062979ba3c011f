"""The texts of rows before they are encoded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from alembert.data.labels import Columns, is_list
from alembert.io.errors import UserError

Asked = str | tuple[str, str] | list[str]  # a text, a pair, or the words of a text
ASKED = 200  # texts of test that are asked one by one, to time the answers


@dataclass(frozen=True)
class RawRows:
    """Labelled rows before encoding, and the names of their columns."""

    rows: Dataset
    columns: Columns

    @property
    def texts(self) -> list[Asked]:
        """The text, the pair of texts or the list of words of each row."""
        parts = [texts_in(self.rows, name, "") for name in self.columns.texts]
        return parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))

    def sample(self, most: int = ASKED) -> list[Asked]:
        """Return at most so many of the texts, drawn at random, as a user asks a model."""
        return asked_texts(self.rows, self.columns, most)


def texts_in(data: Dataset, column: str, source: str) -> list[Any]:
    """The texts, or lists of words, of a column. Raises UserError for an empty row or word."""
    words = is_list(data, column)
    values = data[column][:]
    for row, value in enumerate(values, start=1):
        if not value or None in value if words else value is None or not str(value).strip():
            raise UserError(f"{source}, row {row}: {column!r} is empty; fill it or drop the row")
    if words:
        return [[str(word) for word in value] for value in values]
    return [str(value) for value in values]


def readable_texts(rows: Dataset, columns: Columns) -> tuple[str, ...]:
    """Each row's text in readable form: words joined by spaces, a second text on a second line."""
    parts = [rows[name][:] for name in columns.texts]
    return tuple(
        "\n".join(" ".join(part) if isinstance(part, list) else str(part) for part in row)
        for row in zip(*parts, strict=True)
    )


def asked_texts(rows: Dataset, columns: Columns, most: int) -> list[Asked]:
    """At most so many rows, drawn at random, as a model is asked; empty ones are left out."""
    order = np.random.default_rng(0).permutation(len(rows))[:most]
    chosen = rows.select(order.tolist())

    def column(name: str) -> list[str]:
        return ["" if each is None else str(each).strip() for each in chosen[name]]

    if is_list(rows, columns.text):
        return [[str(word) for word in words] for words in chosen[columns.text] if words]
    if columns.text_pair is None:
        return [text for text in column(columns.text) if text]
    pairs = zip(column(columns.text), column(columns.text_pair), strict=True)
    return [pair for pair in pairs if all(pair)]
