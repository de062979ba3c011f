"""Encoded rows: token ids and labels of a whole data set in a few flat arrays."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

IGNORED = -100  # what cross entropy leaves out


class Encoded(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of token ids with their labels, four bytes a token.

    `lengths`: tokens per row. `truncated`: how many rows were cut. `labels`: (N,) class ids or
    scores, (N, C) 0/1, or, when `per_token`, one id per token of all rows in a row.
    A row without a label has -100, or NaN where labels are numbers.
    """

    def __init__(
        self,
        input_ids: NDArray[np.int32],
        lengths: list[int],
        labels: NDArray[Any],
        token_type_ids: NDArray[np.int8] | None = None,
        per_token: bool = False,
        truncated: int = 0,
    ) -> None:
        self.input_ids = input_ids
        self.token_type_ids = token_type_ids
        self.lengths = lengths
        self.labels = labels
        self.per_token = per_token
        self.truncated = truncated
        self.offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`input_ids`, `token_type_ids` where the tokenizer makes them, `labels`: plain lists."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        span = slice(self.offsets[index], self.offsets[index + 1])
        row = {"input_ids": self.input_ids[span].tolist()}
        if self.token_type_ids is not None:
            row["token_type_ids"] = self.token_type_ids[span].tolist()
        row["labels"] = self.labels[span if self.per_token else index].tolist()
        return row


def concat(*parts: Encoded) -> Encoded:
    """The rows of all parts, in order; the parts come from one task and one tokenizer."""
    types = [part.token_type_ids for part in parts if part.token_type_ids is not None]
    if len(types) not in (0, len(parts)) or len({part.per_token for part in parts}) != 1:
        raise ValueError("parts of different tasks or tokenizers cannot be put together")
    return Encoded(
        np.concatenate([part.input_ids for part in parts]),
        [length for part in parts for length in part.lengths],
        np.concatenate([part.labels for part in parts]),
        np.concatenate(types) if types else None,
        parts[0].per_token,
        sum(part.truncated for part in parts),
    )
