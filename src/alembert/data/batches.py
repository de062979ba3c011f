"""The batch of a step as a pure function of (seed, step), so that a run resumes exactly."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from alembert.data.collate import Masking, Plan, pad, plan
from alembert.io.seeds import MASKS, ROW_MASKS, torch_seed


class Rows(Protocol):
    """Encoded rows and their lengths."""

    @property
    def lengths(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Masked:
    """Rows with static masking: the masked positions of a row depend on (seed, its number) alone.

    ceil(share * tokens) positions are drawn in every row, and not in a batch as a whole.
    """

    rows: Rows
    masking: Masking
    seed: int

    @property
    def lengths(self) -> Any:
        return self.rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        ids = torch.tensor([row["input_ids"]])
        generator = torch.Generator().manual_seed(torch_seed(self.seed, ROW_MASKS, index))
        masked = self.masking({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, generator)
        return row | {name: masked[name][0].tolist() for name in ("input_ids", "labels")}


@dataclass(kw_only=True)
class Batches:
    """batches(step) returns the step's global batch, padded on the right.

    Every row comes once an epoch, and rows of similar length share a batch.
    """

    rows: Rows
    batch_size: int
    seed: int
    pad_token_id: int
    masking: Masking | None = None
    _plans: dict[int, Plan] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """input_ids, attention_mask (B, T), labels, and token_type_ids where the rows have them."""
        per_epoch = -(-len(self.rows) // self.batch_size)
        epoch, position = divmod(step, per_epoch)
        if epoch not in self._plans:
            lengths = self.rows.lengths
            self._plans = {epoch: plan(lengths, self.batch_size, self.seed, epoch)}
        batch = pad([self.rows[i] for i in self._plans[epoch][position]], self.pad_token_id)
        if self.masking is None:
            return batch
        generator = torch.Generator().manual_seed(torch_seed(self.seed, MASKS, step))
        return self.masking(batch, generator)
