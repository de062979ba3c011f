"""Questions to validate on that share no context with those that are learnt from."""

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from alembert.io.errors import UserError


def contexts_apart(
    data: Dataset, column: str, order: NDArray[np.int64], share: float, most: int, source: str
) -> tuple[Dataset, Dataset]:
    """Splits questions by their contexts, those first that come first in `order`."""
    _, groups = np.unique(np.array(data[column][:]), return_inverse=True)
    if groups.max(initial=0) < 1:
        raise UserError(f"{source}: all questions are on one context: give --valid")
    count = min(most, max(1, round(share * len(data))))
    held_out = np.zeros(len(data), bool)
    for row in order:
        if held_out.sum() >= count or (held_out | (groups == groups[row])).all():
            break
        held_out |= groups == groups[row]
    return data.select(np.flatnonzero(~held_out)), data.select(np.flatnonzero(held_out))
