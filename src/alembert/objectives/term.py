"""A term: a frozen value that says what it reads and, called, how far two traces are apart."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives.fused_linear import VocabularyTerm


class Term(BaseModel, ABC):
    """A frozen value: its weight in the sum, what it reads, and the loss as a call.

    A call is term(student, teacher, pairs, batch) -> scalar, unweighted; pairs are the layer map
    for the depths at hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    weight: Annotated[float, Field(gt=0)] = 1.0
    # what its mean is over: labels, answers, texts, tokens or pairs of tokens
    over: ClassVar[str] = "tokens"

    def pairs(self, student: int, teacher: int) -> Pairs:
        """Layers compared, for a student and a teacher of these depths."""
        return ()

    @abstractmethod
    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        """What the student and the teacher must leave behind; words: the data is a corpus."""

    def count(self, batch: Batch) -> Tensor:
        """How many things the term's mean is over in a batch, ()."""
        mask, labels = batch["attention_mask"], batch.get("labels")
        if labels is not None and (self.over == "labels" or getattr(self, "rows", "") == "masked"):
            return (~torch.isnan(labels) if labels.is_floating_point() else labels != -100).sum()
        if self.over == "pairs":
            return mask.sum(dim=1).square().sum()
        if self.over == "texts":
            return mask.new_tensor(len(mask))
        a_text = labels is not None and (labels.dim() == 1 or labels.is_floating_point())
        return mask.new_tensor(len(mask)) if self.over == "answers" and a_text else mask.sum()

    def over_words(self, student: Trace, teacher: Trace, batch: Batch) -> VocabularyTerm | None:
        """Of a term over the words, what it asks of the logits; it is not called then."""
        return None

    @abstractmethod
    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor: ...
