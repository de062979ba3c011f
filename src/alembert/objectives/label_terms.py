"""Terms that compare a student's logits: with the data's labels, or with the teacher's logits."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from alembert.models.layer_map import Pairs
from alembert.models.logits import VocabularyLogits
from alembert.models.trace import Batch, Reads, Trace, rows_selected
from alembert.objectives import functional, fused_linear, top_k
from alembert.objectives.term import Term

Positive = Annotated[float, Field(gt=0)]


class HardLabels(Term):
    """The loss of the data's labels: classes, scores, tags, answers or masked words (DistilBERT).

    class_weights are weights of classes or tags by name, or "balanced"; the run replaces them by a
    tuple in the order of the ids (runs.texts.class_weights), and the term becomes a weighted mean.
    """

    kind: Literal["HardLabels"] = "HardLabels"
    over: ClassVar[str] = "labels"
    class_weights: Literal["balanced"] | dict[str, Positive] | tuple[Positive, ...] | None = None

    def weights(self, labels: Tensor) -> Tensor | None:
        """The weights (C,), scaled so that the smallest is 1; None when all classes weigh 1."""
        if self.class_weights is None:
            return None
        assert isinstance(self.class_weights, tuple), "weights by id: class_weights.weighed"
        weights = torch.tensor(self.class_weights, device=labels.device)
        return weights / weights.min()

    def count(self, batch: Batch) -> Tensor:
        if self.class_weights is None:
            return super().count(batch)
        labels = batch["labels"]
        weights = self.weights(labels)
        assert weights is not None
        return weights[labels[labels != -100]].sum()

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        return (Reads(vocabulary="masked") if corpus else Reads(logits=True)), Reads()

    def vocabulary_term(
        self, student: VocabularyLogits, teacher: Trace, batch: Batch
    ) -> fused_linear.VocabularyTerm:
        masked = rows_selected(batch, "masked")
        return fused_linear.hard_labels(batch["labels"][masked], student.numbers(masked))

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        logits = _logits(student)
        if "spans" in batch:
            return functional.hard_spans(logits, batch["spans"])
        labels = batch["labels"]
        if not labels.is_floating_point():
            rows, weights = logits.reshape(-1, logits.shape[-1]), self.weights(labels)
            return functional.hard_labels(rows, labels.reshape(-1), weights)
        if labels.dim() == 1:
            return functional.squared_error(logits.reshape(-1), labels)
        return functional.hard_bernoulli(logits, labels)


class SoftLabels(Term):
    """The teacher's distribution at a temperature (DistilBERT, L_ce; TinyBERT, eq. 10 with T^2).

    Regression compares the two scores by squared error. `rows` says whether the distribution over
    the vocabulary is compared at all real tokens or at the masked ones only.
    """

    kind: Literal["SoftLabels"] = "SoftLabels"
    over: ClassVar[str] = "answers"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    rows: Literal["all", "masked"] = "all"

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        read = Reads(vocabulary=self.rows) if corpus else Reads(logits=True)
        return read, read

    def vocabulary_term(
        self, student: VocabularyLogits, teacher: Trace, batch: Batch
    ) -> fused_linear.VocabularyTerm:
        selected = rows_selected(batch, self.rows)
        rows = student.numbers(selected)
        if teacher.top_k is not None:
            return top_k.top_k_soft_labels(teacher.top_k.only(selected), self.temperature, rows)
        assert teacher.vocabulary is not None
        return fused_linear.soft_labels(teacher.vocabulary.only(selected), self.temperature, rows)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        student_logits, teacher_logits = _logits(student), _logits(teacher)
        if "spans" in batch:
            return functional.soft_spans(
                student_logits, teacher_logits, batch["spans"], self.temperature
            )
        labels = batch["labels"]
        if labels.is_floating_point() and labels.dim() == 1:
            return functional.squared_error(student_logits.reshape(-1), teacher_logits.reshape(-1))
        if labels.is_floating_point():
            return functional.soft_bernoulli(student_logits, teacher_logits, self.temperature)
        return functional.soft_labels(
            _real(student_logits, batch), _real(teacher_logits, batch), self.temperature
        )


class LogitsMSE(Term):
    """Squared error of a task's or the vocabulary's logits (optional in DistilBERT's code)."""

    kind: Literal["LogitsMSE"] = "LogitsMSE"
    over: ClassVar[str] = "answers"

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        read = Reads(vocabulary="all") if corpus else Reads(logits=True)
        return read, read

    def count(self, batch: Batch) -> Tensor:
        return (batch["spans"] != -100).sum() if "spans" in batch else super().count(batch)

    def vocabulary_term(
        self, student: VocabularyLogits, teacher: Trace, batch: Batch
    ) -> fused_linear.VocabularyTerm | None:
        if teacher.vocabulary is None:
            return None
        selected = rows_selected(batch, "all")
        return fused_linear.logits_mse(teacher.vocabulary.only(selected), student.numbers(selected))

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        return functional.squared_error(
            _real(_logits(student), batch), _real(_logits(teacher), batch)
        )


class NextSentence(Term):
    """Whether the second segment of a sequence follows the first (MobileBERT, section 3.4; BERT).

    Only on a corpus, whose batches then have two segments a sequence (data.segments) and
    `next_sentence` (B,): 0 where the second is the next one, 1 where it is another sequence's. The
    linear layer that reads the first token is trained with the student and not saved with it.
    """

    kind: Literal["NextSentence"] = "NextSentence"
    over: ClassVar[str] = "texts"

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        return Reads(first=True), Reads()

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        assert student.next_sentence is not None
        return functional.hard_labels(student.next_sentence, batch["next_sentence"])


def _logits(trace: Trace) -> Tensor:
    assert trace.logits is not None
    return trace.logits


def _real(logits: Tensor, batch: Batch) -> Tensor:
    """Logits (N, C): those of a token task at real tokens only, as padding has no target.

    Those of a window of a question are at the tokens that may start or end an answer.
    """
    if "spans" in batch:
        return logits[batch["spans"] != -100]
    return logits[batch["attention_mask"].bool()] if logits.dim() == 3 else logits
