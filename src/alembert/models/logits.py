"""Logits of a head; those over a vocabulary are not computed yet, or the k largest are stored."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def logits_in(output: Any) -> Tensor:
    """The logits in a model's output: (B, C), or (B, T, C) of tokens.

    Of question answering they are start and end, (B, T, 2).
    """
    if hasattr(output, "start_logits"):
        return torch.stack((output.start_logits, output.end_logits), dim=-1)
    logits: Tensor = output.logits
    return logits


@dataclass(frozen=True)
class VocabularyLogits:
    """Logits that are not computed yet: logits = rows @ weight.T + bias.

    rows (N, H) enter the decoder; weight is (V, H), bias (V,) or None. Row i belongs to the i-th
    True of selected (B, T).
    """

    rows: Tensor
    weight: Tensor
    bias: Tensor | None
    selected: Tensor

    def logits(self, part: slice | Tensor = slice(None)) -> Tensor:
        """The logits (n, V) of some rows, in autocast's precision."""
        return torch.nn.functional.linear(self.rows[part], self.weight, self.bias)

    def only(self, where: Tensor) -> "VocabularyLogits":
        """The logits at fewer positions: where (B, T) is bool and a subset of selected."""
        return VocabularyLogits(self.rows[where[self.selected]], self.weight, self.bias, where)

    def numbers(self, where: Tensor) -> Tensor:
        """The row numbers (n,) of the positions where (B, T), bool and a subset of selected."""
        return where[self.selected].nonzero().squeeze(1)

    def detach(self) -> "VocabularyLogits":
        """The same logits without gradient, the matrix cast to autocast's precision."""
        dtype = _compute_dtype(self.weight)
        bias = None if self.bias is None else self.bias.detach().to(dtype)
        weight = self.weight.detach().to(dtype)
        return VocabularyLogits(self.rows.detach().to(dtype), weight, bias, self.selected)


def _compute_dtype(like: Tensor) -> torch.dtype:
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


@dataclass(frozen=True)
class TopK:
    """The k largest logits of N rows: ids (N, k) and gaps (N, k) to the largest.

    rest[T] (N,) is the probability of all other tokens at temperature T. Row i belongs to the i-th
    True of selected (B, T).
    """

    ids: Tensor
    gaps: Tensor
    rest: dict[float, Tensor]
    selected: Tensor

    def only(self, where: Tensor) -> "TopK":
        """The rows at fewer positions: where (B, T) is bool and a subset of selected."""
        chosen = where[self.selected]
        rest = {temperature: mass[chosen] for temperature, mass in self.rest.items()}
        return TopK(self.ids[chosen], self.gaps[chosen], rest, where)
