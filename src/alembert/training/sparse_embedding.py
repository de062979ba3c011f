"""Word embeddings of a task stage: only the rows of token ids that occur are trained.

A dense step over 30,522 rows takes a small student longer than its layers do, and a row that does
not occur has no gradient: weight decay alone changes it, by a factor known beforehand. So the rows
that occur become a separate, smaller matrix, with smaller moments, gradients and checkpoints; the
others are multiplied by their factor at the end of the stage. The weights are those of AdamW.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.training.monitor import Schedule

TABLE = "embeddings.word_embeddings"  # from the base model


class RestrictedEmbedding(nn.Module):
    """The rows of an embedding that occur: weight (n, H), for the rising token_ids (n,).

    forward(ids) -> (..., H); an id that is not among token_ids is an IndexError.
    """

    row: Tensor

    def __init__(self, full: nn.Embedding, token_ids: Tensor) -> None:
        super().__init__()
        self.token_ids = token_ids
        self.weight = nn.Parameter(full.weight.detach()[token_ids].clone())
        self.weight.requires_grad_(full.weight.requires_grad)
        row = torch.full((full.num_embeddings,), full.num_embeddings)
        row[token_ids] = torch.arange(len(token_ids))
        self.register_buffer("row", row, persistent=False)
        padding = full.padding_idx  # of the model; its tokenizer may pad with another id
        self.padding = int(row[padding]) if padding in token_ids.tolist() else None
        self._full = (full,)  # in a tuple: no submodule, so neither saved nor trained

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(self.row[ids], self.weight, self.padding)

    def put_back(self, factor: float) -> nn.Embedding:
        """Return the full embedding with the trained rows; the others are multiplied by factor."""
        (full,) = self._full
        with torch.no_grad():
            full.to(self.weight.device)
            full.weight.mul_(factor)
            full.weight[self.token_ids.to(full.weight.device)] = self.weight
        return full


def token_ids_in(texts: Iterable[NDArray[np.integer]], padding: int) -> Tensor:
    """Return the ids that occur in arrays of them, and that of padding, rising (n,)."""
    unique = [np.unique(ids) for ids in texts]
    return torch.from_numpy(np.unique(np.concatenate([[padding], *unique])).astype(np.int64))


def restrict(model: PreTrainedModel, token_ids: Tensor) -> RestrictedEmbedding | None:
    """Replace a model's word embeddings by their rows for these token ids.

    Returns None and changes nothing where that saves less than half of the rows, where a decoder
    shares them (its gradient reaches every row), and in an unknown architecture.
    """
    parts = dict(model.base_model.named_modules())
    full = parts.get(TABLE)
    shared = model.get_output_embeddings() is not None
    if not isinstance(full, nn.Embedding) or shared or 2 * len(token_ids) > full.num_embeddings:
        return None
    table = RestrictedEmbedding(full, token_ids)
    model.base_model.set_submodule(TABLE, table)
    return table


def restore(
    model: PreTrainedModel, table: RestrictedEmbedding, schedule: Schedule, done: int
) -> None:
    """Undo `restrict` after `done` steps of a stage and apply the other rows' weight decay."""
    name = f"student.{model.base_model_prefix}.{TABLE}.weight"
    stage = schedule.stage
    rate = stage.learning_rate * (stage.rate(name) if table.weight.requires_grad else 0.0)
    decays = (rate * schedule.factor(k) * stage.weight_decay for k in range(done))
    factor = math.prod(1 - decay for decay in decays)
    model.base_model.set_submodule(TABLE, table.put_back(factor))
