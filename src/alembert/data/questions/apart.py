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
    sizes = np.bincount(groups)
    count = min(most, max(1, round(share * len(data))))
    held_out = np.zeros(len(data), bool)
    for row in order:  # a context of many questions is left to train where others are enough
        if not held_out[row] and held_out.sum() + sizes[groups[row]] <= count:
            held_out |= groups == groups[row]
    if not held_out.any():
        held_out = groups == sizes.argmin()
    return data.select(np.flatnonzero(~held_out)), data.select(np.flatnonzero(held_out))
