"""A term, a metric and a callback of one's own; docs/own.md says how a run takes them."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, arange
from torch.nn.functional import cross_entropy, normalize

from alembert import Callback, Progress, Term
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


def worst_recall(logits: np.ndarray, labels: np.ndarray) -> float:
    """Recall of the class that is found worst: logits (N, C), class ids (N,); higher is better."""
    right = logits.argmax(axis=1) == labels
    return float(min(right[labels == c].mean() for c in np.unique(labels)))


class Watch(Callback):
    """Counts the steps of a run, and keeps the step with the highest loss."""

    def __init__(self) -> None:
        self.steps, self.highest, self.at = 0, 0.0, 0

    def step(self, progress: Progress) -> None:
        self.steps += 1
        if progress.losses["loss"] > self.highest:
            self.highest, self.at = progress.losses["loss"], progress.step

    def end(self, progress: Progress) -> None:
        print(f"{progress.stage}: {self.steps} steps, the loss was highest at step {self.at}")

    def state_dict(self) -> dict[str, float]:
        return vars(self)  # lies in each checkpoint, so a resumed run counts no step twice

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self).update(state)
