"""Rows through an engine: batches of like length under a token budget, windows put together."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np

from alembert.inference.engine import Ids
from alembert.inference.predictions import Floats
from alembert.inference.tokenization import Rows

T = TypeVar("T")
Answer = Callable[[Ids], Floats]  # an engine
# A call of a small int8 model costs as much as 14 to 20 tokens of a batch (4 layers x 312); so
# rows of another length join only while the padding that they cause stays below it.
CALL = 16


def plan(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Batches of row numbers, longest first: every row once, rows x longest row <= tokens.

    The padding of a batch is less than CALL tokens. A row that is over the budget is alone.
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


def pooled(rows: Rows, engine: Answer, tokens: int) -> Floats:
    """(texts, C): what the engine says of each text; of windows the mean, weighted by tokens."""
    lengths = rows.lengths
    values: list[Floats] = [np.empty(0, np.float32)] * len(lengths)
    for batch in plan(lengths, tokens):
        for row, value in zip(batch, engine(rows.batch(batch)), strict=True):
            values[row] = value
    found = np.stack(values)
    if len(lengths) == rows.texts:
        return found
    weights = np.array(lengths, np.float32)[:, None]
    starts = np.flatnonzero(np.diff(rows.owners, prepend=-1))
    mean = np.add.reduceat(found * weights, starts) / np.add.reduceat(weights, starts)
    return mean.astype(np.float32)


def placed(
    rows: Rows,
    places: Sequence[Sequence[tuple[int, int] | None]],
    engine: Answer,
    tokens: int,
    finish: Callable[[Floats], Sequence[T]],
) -> list[list[T | None]]:
    """What the engine says of single tokens: places are (row, column), several to a text.

    finish makes answers of (N, C) numbers, batch by batch: all of them are never held at once.
    """
    found: list[list[T | None]] = [[None] * len(each) for each in places]
    asked: dict[int, list[tuple[int, int, int]]] = {}
    for text, each in enumerate(places):
        for slot, place in enumerate(each):
            if place is not None:
                asked.setdefault(place[0], []).append((place[1], text, slot))
    chosen = list(asked)  # a window without a place is not computed
    for batch in plan([len(rows.encodings[row]) for row in chosen], tokens):
        inputs = rows.batch([chosen[i] for i in batch])
        wanted = [sorted(asked[chosen[i]]) for i in batch]
        values = at(engine, inputs, [[column for column, _, _ in row] for row in wanted])
        for (_, text, slot), answer in zip(chain(*wanted), finish(values), strict=True):
            found[text][slot] = answer
    return found


def at(engine: Answer, inputs: Ids, columns: Sequence[Sequence[int]]) -> Floats:
    """(N, C): what the engine says of N tokens; columns: per row of the batch those asked for."""
    width = inputs["input_ids"].shape[1]
    places = [b * width + column for b, row in enumerate(columns) for column in row]
    inputs["places"] = np.array(places, np.int64)
    values = engine(inputs)
    # a graph that answers for every token gives (B, T, C)
    return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])[inputs["places"]]
