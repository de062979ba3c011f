"""Which rows share a batch: those of like length, under a token budget."""

from collections.abc import Sequence

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
