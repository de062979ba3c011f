"""Terms that compare layers: hidden states, and attention in its forms."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from alembert.io.errors import UserError
from alembert.models.layer_map import Pairs, layer_map
from alembert.models.trace import Batch, Reads, Trace, parted
from alembert.objectives import functional
from alembert.objectives.attention_kl import attention_kl, relations
from alembert.objectives.term import Term

Map = str | tuple[tuple[int, int], ...]
Scaled = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
# for models that differ in their number of heads: how many all heads of each are joined and parted
# into (a divisor of both widths)
Heads = Annotated[int, Field(gt=0)] | None


class LayerTerm(Term):
    """A term that compares layers of the two models."""

    kind: str
    layers: Map = "uniform"

    def pairs(self, student: int, teacher: int) -> Pairs:
        try:
            return layer_map(self.layers, student, teacher)
        except UserError as error:
            raise UserError(f"{self.kind}.layers: {error}") from None


class _Hidden(LayerTerm):
    """A term that compares hidden states."""

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        return Reads(hidden=frozenset(s for s, _ in pairs)), Reads(
            hidden=frozenset(t for _, t in pairs)
        )


class HiddenCosine(_Hidden):
    """Direction of hidden states; by default of the two last layers (DistilBERT, L_cos)."""

    kind: Literal["HiddenCosine"] = "HiddenCosine"
    layers: Map = "output"

    def pairs(self, student: int, teacher: int) -> Pairs:
        if self.layers == "output":
            return ((student, teacher),)
        return super().pairs(student, teacher)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = [
            functional.hidden_cosine(student.hidden[s], teacher.hidden[t], mask) for s, t in pairs
        ]
        return _sum(gaps) / len(gaps)


class HiddenMSE(_Hidden):
    """Hidden states by squared error, summed over pairs (TinyBERT, eq. 8); (0, 0): embeddings."""

    kind: Literal["HiddenMSE"] = "HiddenMSE"
    embeddings: bool = True

    def pairs(self, student: int, teacher: int) -> Pairs:
        pairs = super().pairs(student, teacher)
        return ((0, 0), *pairs) if self.embeddings and (0, 0) not in pairs else pairs

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = [functional.hidden_mse(student.hidden[s], teacher.hidden[t], mask) for s, t in pairs]
        return _sum(gaps)


class _Attention(LayerTerm):
    """A term that compares attention: layer 0, the embedding, has none."""

    heads: Heads = None

    def pairs(self, student: int, teacher: int) -> Pairs:
        found = super().pairs(student, teacher)
        if any(0 in pair for pair in found):
            raise UserError(f"{self.kind}.layers: layer 0 is the embedding and has no attention")
        return found

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        return Reads(attention=frozenset(s for s, _ in pairs)), Reads(
            attention=frozenset(t for _, t in pairs)
        )

    def scaled(self, student: Trace, teacher: Trace, s: int, t: int) -> Scaled:
        """Scaled queries and keys of both models' layers, in fp32: gaps are small beside scores."""
        student_parts, teacher_parts = student.scaled(s, self.heads), teacher.scaled(t, self.heads)
        return (student_parts[0].float(), student_parts[1].float()), (
            teacher_parts[0].float(),
            teacher_parts[1].float(),
        )


class AttentionMSE(_Attention):
    """Unnormalised attention scores by squared error, summed over layers (TinyBERT, eq. 7)."""

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
    """Hidden states, each normalised over its width, by squared error (MobileBERT, eq. 1).

    Summed over layers. The normalisation, without parameters, is that of the authors' code.
    """

    kind: Literal["FeatureMap"] = "FeatureMap"

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = [
            functional.feature_map(student.hidden[s], teacher.hidden[t], mask) for s, t in pairs
        ]
        return _sum(gaps)


class AttentionKL(_Attention):
    """Attention probabilities by KL divergence, summed over layers (MobileBERT, eq. 2)."""

    kind: Literal["AttentionKL"] = "AttentionKL"

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        return _sum([attention_kl(*self.scaled(student, teacher, s, t), mask) for s, t in pairs])


class Relations(_Attention):
    """How tokens relate by queries, by keys and by values: KL, summed (MiniLMv2, section 3.1).

    heads: relation heads; they need not be those of either model. Of several pairs the mean.
    """

    kind: Literal["Relations"] = "Relations"
    over: ClassVar[str] = "texts"

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = [
            relations(
                parted(student_vectors[s], self.heads), parted(teacher_vectors[t], self.heads), mask
            )
            for s, t in pairs
            for student_vectors, teacher_vectors in (
                (student.queries, teacher.queries),
                (student.keys, teacher.keys),
                (student.values, teacher.values),
            )
        ]
        return _sum(gaps) / len(pairs)


def _product(queries: Tensor, keys: Tensor) -> Tensor:
    """(B, A, T, T)."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ keys.transpose(-1, -2)


def _sum(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0])
