"""Terms that compare layers: hidden states, and attention in its forms."""

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from alembert.io.errors import UserError
from alembert.models.layer_map import Pairs, layer_map
from alembert.models.trace import Batch, Reads, Trace, split_heads
from alembert.objectives import functional
from alembert.objectives.attention_kl import attention_kl, relations
from alembert.objectives.term import Term

Map = str | tuple[tuple[int, int], ...]
Scaled = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
# for models with different numbers of heads: the number of heads that both models' attention
# vectors are split into anew (a divisor of both widths)
Heads = Annotated[int, Field(gt=0)] | None


class LayerTerm(Term):
    """A term that compares layers of the two models, in pairs of a layer map."""

    layers: Map = "uniform"

    def pairs(self, student: int, teacher: int) -> Pairs:
        try:
            return layer_map(self.layers, student, teacher)
        except UserError as error:
            raise UserError(f"{self.kind}.layers: {error}") from None


class _Hidden(LayerTerm):
    """A term that compares hidden states by `loss`, summed over pairs."""

    @staticmethod
    @abstractmethod
    def loss(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """The loss of one pair's states (B, T, H)."""

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        return Reads(hidden=frozenset(s for s, _ in pairs)), Reads(
            hidden=frozenset(t for _, t in pairs)
        )

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        return _sum([self.loss(student.hidden[s], teacher.hidden[t], mask) for s, t in pairs])


class HiddenCosine(_Hidden):
    """Cosine distance of hidden states, by default those of the last layers (DistilBERT, L_cos)."""

    kind: Literal["HiddenCosine"] = "HiddenCosine"
    loss = staticmethod(functional.hidden_cosine)
    layers: Map = "output"

    def pairs(self, student: int, teacher: int) -> Pairs:
        if self.layers == "output":
            return ((student, teacher),)
        return super().pairs(student, teacher)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        return super().__call__(student, teacher, pairs, batch) / len(pairs)


class HiddenMSE(_Hidden):
    """Squared error of hidden states, summed over pairs (TinyBERT, eq. 8 and, for (0, 0), 9)."""

    kind: Literal["HiddenMSE"] = "HiddenMSE"
    loss = staticmethod(functional.hidden_mse)
    embeddings: bool = True

    def pairs(self, student: int, teacher: int) -> Pairs:
        pairs = super().pairs(student, teacher)
        return ((0, 0), *pairs) if self.embeddings and (0, 0) not in pairs else pairs


class _Attention(LayerTerm):
    """A term that compares attention: layer 0, the embedding, has none."""

    heads: Heads = None

    def pairs(self, student: int, teacher: int) -> Pairs:
        pairs = super().pairs(student, teacher)
        if any(0 in pair for pair in pairs):
            raise UserError(f"{self.kind}.layers: layer 0 is the embedding and has no attention")
        return pairs

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        return Reads(attention=frozenset(s for s, _ in pairs)), Reads(
            attention=frozenset(t for _, t in pairs)
        )

    def scaled(self, student: Trace, teacher: Trace, s: int, t: int) -> Scaled:
        """Scaled queries and keys of both layers, in fp32: scores are large beside their gaps."""
        (q, k), (teacher_q, teacher_k) = (
            trace.scaled(layer, self.heads) for trace, layer in ((student, s), (teacher, t))
        )
        return (q.float(), k.float()), (teacher_q.float(), teacher_k.float())


class AttentionMSE(_Attention):
    """Squared error of unnormalised attention scores, summed over layers (TinyBERT, eq. 7)."""

    kind: Literal["AttentionMSE"] = "AttentionMSE"
    over: ClassVar[str] = "pairs"

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = []
        for s, t in pairs:
            student_vectors, teacher_vectors = self.scaled(student, teacher, s, t)
            if mask.shape[1] < student_vectors[0].shape[-1] + teacher_vectors[0].shape[-1]:
                scores = [_product(*part) for part in (student_vectors, teacher_vectors)]
                gaps.append(functional.attention_mse(scores[0], scores[1], mask))
            else:
                gaps.append(functional.attention_mse_of(student_vectors, teacher_vectors, mask))
        return _sum(gaps)


class FeatureMap(_Hidden):
    """Squared error of hidden states normalised over their width (MobileBERT, eq. 1).

    It is summed over layers. The normalisation, without parameters, is that of the authors' code.
    """

    kind: Literal["FeatureMap"] = "FeatureMap"
    loss = staticmethod(functional.feature_map)


class AttentionKL(_Attention):
    """KL divergence of attention probabilities, summed over layers (MobileBERT, eq. 2)."""

    kind: Literal["AttentionKL"] = "AttentionKL"

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        return _sum([attention_kl(*self.scaled(student, teacher, s, t), mask) for s, t in pairs])


class Relations(_Attention):
    """KL divergence of query, key and value relations, summed (MiniLMv2, section 3.1).

    heads is the number of relation heads, which neither model needs to have. The value is the mean
    over layer pairs.
    """

    kind: Literal["Relations"] = "Relations"
    over: ClassVar[str] = "texts"

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = [
            relations(
                split_heads(getattr(student, vectors)[s], self.heads),
                split_heads(getattr(teacher, vectors)[t], self.heads),
                mask,
            )
            for s, t in pairs
            for vectors in ("queries", "keys", "values")
        ]
        return _sum(gaps) / len(pairs)


def _product(queries: Tensor, keys: Tensor) -> Tensor:
    """The scores Q K^T, (B, A, T, T)."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ keys.transpose(-1, -2)


def _sum(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0])
