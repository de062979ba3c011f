"""A term: a frozen value that names its reads and, when called, computes a loss of two traces."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from alembert.models.layer_map import Pairs
from alembert.models.logits import VocabularyLogits
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives.fused_linear import VocabularyTerm


class Term(BaseModel, ABC):
    """A frozen value with a weight in the sum, the reads of its loss, and the loss as a call.

    A call term(student, teacher, pairs, batch) returns the unweighted scalar; pairs is the layer
    map for the two depths.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    weight: Annotated[float, Field(gt=0)] = 1.0
    # the mean is over these: labels, answers (rows of logits), texts, tokens or pairs of tokens
    over: ClassVar[str] = "tokens"

    def pairs(self, student: int, teacher: int) -> Pairs:
        """The layer pairs compared, for a student and a teacher of these depths."""
        return ()

    @abstractmethod
    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        """The reads of the student and of the teacher; corpus: the data is a corpus, for MLM."""

    def count(self, batch: Batch) -> Tensor:
        """The number, (), of items of a batch that the term's mean is over."""
        mask, labels = batch["attention_mask"], batch.get("labels")
        if labels is not None and (self.over == "labels" or getattr(self, "rows", "") == "masked"):
            return (~torch.isnan(labels) if labels.is_floating_point() else labels != -100).sum()
        if self.over == "pairs":
            return mask.sum(dim=1).square().sum()
        if self.over == "texts":
            return mask.new_tensor(len(mask))
        per_text = labels is not None and (labels.dim() == 1 or labels.is_floating_point())
        return mask.new_tensor(len(mask)) if self.over == "answers" and per_text else mask.sum()

    def vocabulary_term(
        self, student: VocabularyLogits, teacher: Trace, batch: Batch
    ) -> VocabularyTerm | None:
        """The loss over the vocabulary that stands in for a call; None when the term is called."""
        return None

    @abstractmethod
    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor: ...
