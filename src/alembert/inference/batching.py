"""Runs rows through an engine, in batches of similar length under a token budget."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from alembert.inference.engine import Ids
from alembert.inference.predictions import Floats
from alembert.inference.tokenization import Rows

T = TypeVar("T")
Forward = Callable[[Ids], Floats]  # an engine
# A call of a small int8 model costs as much as 14 to 20 tokens of a batch (4 layers x 312); so
# rows of another length join only while the padding that they cause stays below it.
CALL = 16


def plan(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Batches of row numbers, longest first: every row once, rows x longest row <= tokens.

    The padding of a batch is less than CALL tokens. A row over the budget has its own batch.
    """
    batches: list[list[int]] = []
    longest, padding = 0, 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        more = padding + longest - lengths[row]
        if batches and more < CALL and (len(batches[-1]) + 1) * longest <= tokens:
            batches[-1].append(row)
            padding = more
        else:
            batches.append([row])
            longest, padding = lengths[row], 0
    return batches


def per_text(rows: Rows, engine: Forward, tokens: int) -> Floats:
    """The logits of each text, (texts, C); those of windows are averaged, weighted by tokens."""
    lengths = rows.lengths
    values: list[Floats] = [np.empty(0, np.float32)] * len(lengths)
    for batch in plan(lengths, tokens):
        for row, value in zip(batch, engine(rows.batch(batch)), strict=True):
            values[row] = value
    logits = np.stack(values)
    if len(lengths) == rows.texts:
        return logits
    return mean_of_windows(logits, lengths, np.flatnonzero(np.diff(rows.owners, prepend=-1)))


def mean_of_windows(logits: Floats, lengths: Sequence[int], starts: Sequence[int] | Any) -> Floats:
    """The mean logits (texts, C) of texts whose windows begin at `starts`, weighted by tokens."""
    weights = np.array(lengths, np.float32)[:, None]
    mean = np.add.reduceat(logits * weights, starts) / np.add.reduceat(weights, starts)
    return mean.astype(np.float32)


def per_token(
    rows: Rows,
    positions: Sequence[Sequence[tuple[int, int] | None]],
    engine: Forward,
    tokens: int,
    finish: Callable[[Floats], Sequence[T]],
) -> list[list[T | None]]:
    """The answers of single tokens, whose positions (row, column) are listed for each text.

    finish turns logits (N, C) into answers batch by batch, so that all are never held at once.
    """
    answers: list[list[T | None]] = [[None] * len(each) for each in positions]
    tokens_of_row: dict[int, list[tuple[int, int, int]]] = {}
    for text, each in enumerate(positions):
        for slot, position in enumerate(each):
            if position is not None:
                tokens_of_row.setdefault(position[0], []).append((position[1], text, slot))
    chosen = list(tokens_of_row)  # a window without a position is not computed
    for batch in plan([len(rows.encodings[row]) for row in chosen], tokens):
        inputs = rows.batch([chosen[i] for i in batch])
        targets = [sorted(tokens_of_row[chosen[i]]) for i in batch]
        values = at(engine, inputs, [[column for column, _, _ in row] for row in targets])
        for (_, text, slot), answer in zip(chain(*targets), finish(values), strict=True):
            answers[text][slot] = answer
    return answers


def at(engine: Forward, inputs: Ids, columns: Sequence[Sequence[int]]) -> Floats:
    """The logits (N, C) of N tokens, whose columns are listed for each row of the batch."""
    width = inputs["input_ids"].shape[1]
    positions = [b * width + column for b, row in enumerate(columns) for column in row]
    inputs["places"] = np.array(positions, np.int64)
    values = engine(inputs)
    # a graph without the input `places` gives (B, T, C)
    return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])[inputs["places"]]
