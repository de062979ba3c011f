"""Word embeddings of a task stage: only the rows that its texts read are trained.

A dense step over 30,522 rows costs a small student more than its layers do, and a row that no text
reads has no gradient: weight decay alone moves it, by a factor known beforehand. So the rows that
are read make a table of their own, as large as the texts' vocabulary, with moments, gradients and
checkpoints as small; the others get their factor when the stage ends. AdamW's answer is the same.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.training.monitor import Schedule

TABLE = "embeddings.word_embeddings"  # from the base model


class RestrictedEmbedding(nn.Module):
    """The rows of an embedding that are read. weight (n, H); pieces (n,): their ids, rising.

    forward(ids) -> (..., H); an id that is not among the pieces is an IndexError.
    """

    place: Tensor

    def __init__(self, whole: nn.Embedding, pieces: Tensor) -> None:
        super().__init__()
        self.pieces = pieces
        self.weight = nn.Parameter(whole.weight.detach()[pieces].clone())
        self.weight.requires_grad_(whole.weight.requires_grad)
        place = torch.full((whole.num_embeddings,), whole.num_embeddings)
        place[pieces] = torch.arange(len(pieces))
        self.register_buffer("place", place, persistent=False)
        padding = whole.padding_idx  # of the model; its tokenizer may pad with another, unread here
        self.padding = int(place[padding]) if padding in pieces.tolist() else None
        self._whole = (whole,)  # in a tuple: no submodule, so neither saved nor trained

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(self.place[ids], self.weight, self.padding)

    def put_back(self, factor: float) -> nn.Embedding:
        """The whole embedding: rows that were read as they are now, the others times a factor."""
        (whole,) = self._whole
        with torch.no_grad():
            whole.to(self.weight.device)
            whole.weight.mul_(factor)
            whole.weight[self.pieces.to(whole.weight.device)] = self.weight
        return whole


def token_ids_in(texts: Iterable[NDArray[Any]], padding: int) -> Tensor:
    """The ids that occur in arrays of them, and that of padding, rising (n,)."""
    found = [np.unique(ids) for ids in texts]
    return torch.from_numpy(np.unique(np.concatenate([[padding], *found])).astype(np.int64))


def restrict(model: PreTrainedModel, pieces: Tensor) -> RestrictedEmbedding | None:
    """Put a table of these pieces in place of a model's word embeddings.

    None, and nothing done, where that would save less than half of the rows, where a decoder
    shares them (its gradient reaches every row), and where their place is not known.
    """
    parts = dict(model.base_model.named_modules())
    whole = parts.get(TABLE)
    shared = model.get_output_embeddings() is not None
    if not isinstance(whole, nn.Embedding) or shared or 2 * len(pieces) > whole.num_embeddings:
        return None
    table = RestrictedEmbedding(whole, pieces)
    model.base_model.set_submodule(TABLE, table)
    return table


def restore(
    model: PreTrainedModel, table: RestrictedEmbedding, schedule: Schedule, done: int
) -> None:
    """Undo `narrow` after `done` steps of a stage: rows that nobody read get their decay."""
    name = f"student.{model.base_model_prefix}.{TABLE}.weight"
    stage = schedule.stage
    rate = stage.learning_rate * (stage.rate(name) if table.weight.requires_grad else 0.0)
    decays = (rate * schedule.factor(k) * stage.weight_decay for k in range(done))
    factor = math.prod(1 - decay for decay in decays)
    model.base_model.set_submodule(TABLE, table.put_back(factor))
