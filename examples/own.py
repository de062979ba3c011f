"""A term, a metric and a callback of one's own; docs/own.md says how a run takes them."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, arange
from torch.nn.functional import cross_entropy, normalize

from alembert import Term
from alembert.models.trace import Batch, Reads, Trace


class Contrastive(Term):
    """InfoNCE of text vectors: each text's teacher is nearer than those of the others (CoDIR)."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    over: ClassVar[str] = "texts"

    def pairs(self, student: int, teacher: int) -> tuple[tuple[int, int], ...]:
        return ((student, teacher),)  # the last layers

    def reads(self, pairs: tuple[tuple[int, int], ...], corpus: bool) -> tuple[Reads, Reads]:
        ((student, teacher),) = pairs
        return Reads(hidden=frozenset({student})), Reads(hidden=frozenset({teacher}))

    def __call__(
        self, student: Trace, teacher: Trace, pairs: tuple[tuple[int, int], ...], batch: Batch
    ) -> Tensor:
        ((s, t),) = pairs
        texts, targets = student.hidden[s][:, 0], teacher.hidden[t][:, 0]  # of [CLS], (B, H)
        nearness = normalize(texts, dim=-1) @ normalize(targets, dim=-1).T / self.temperature
        return cross_entropy(nearness, arange(len(texts), device=texts.device))
