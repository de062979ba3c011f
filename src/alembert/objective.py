"""The terms a student is asked to imitate; each pairs a loss with what it reads."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from alembert import losses, vocabulary
from alembert.layermap import Pairs, layer_map
from alembert.trace import Batch, Reads, Trace

Map = str | tuple[tuple[int, int], ...]


class _Term(BaseModel, ABC):
    """A frozen value: its weight in the sum, what it reads, and the loss as a call.

    A call is term(student, teacher, pairs, batch) -> scalar, unweighted; pairs are the layer map
    for the depths at hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    weight: Annotated[float, Field(gt=0)] = 1.0
    over: ClassVar[str] = "tokens"  # what its mean is over: labels, answers, tokens or their pairs

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
        a_text = labels is not None and (labels.dim() == 1 or labels.is_floating_point())
        return mask.new_tensor(len(mask)) if self.over == "answers" and a_text else mask.sum()

    @abstractmethod
    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor: ...


class HardLabels(_Term):
    """The data's own labels: classes, scores, tags, or masked words (L_mlm of DistilBERT)."""

    kind: Literal["HardLabels"] = "HardLabels"
    over: ClassVar[str] = "labels"

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        return (Reads(words="masked") if words else Reads(logits=True)), Reads()

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        labels = batch["labels"]
        if student.words is not None:
            masked = labels != -100
            return vocabulary.hard_labels(student.words.only(masked), labels[masked])
        logits = _logits(student)
        if not labels.is_floating_point():
            return losses.hard_labels(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        if labels.dim() == 1:
            return losses.squared_error(logits.reshape(-1), labels)
        return losses.hard_bernoulli(logits, labels)


class SoftLabels(_Term):
    """The teacher's distribution at a temperature (DistilBERT, L_ce; TinyBERT, eq. 10 with T^2).

    Regression compares the two scores by squared error. `rows`: over the words, at all real tokens
    or at the masked ones only.
    """

    kind: Literal["SoftLabels"] = "SoftLabels"
    over: ClassVar[str] = "answers"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    rows: Literal["all", "masked"] = "all"

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        read = Reads(words=self.rows) if words else Reads(logits=True)
        return read, read

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        if student.words is not None and teacher.words is not None:
            where = batch["attention_mask"].bool()
            if self.rows == "masked":
                where = batch["labels"] != -100
            here, there = student.words.only(where), teacher.words.only(where)
            return vocabulary.soft_labels(here, there, self.temperature)
        mine, theirs, labels = _logits(student), _logits(teacher), batch["labels"]
        if labels.is_floating_point() and labels.dim() == 1:
            return losses.squared_error(mine.reshape(-1), theirs.reshape(-1))
        if labels.is_floating_point():
            return losses.soft_bernoulli(mine, theirs, self.temperature)
        return losses.soft_labels(_real(mine, batch), _real(theirs, batch), self.temperature)


class LogitsMSE(_Term):
    """Squared error of logits over the words, or of a task (optional in DistilBERT's code)."""

    kind: Literal["LogitsMSE"] = "LogitsMSE"
    over: ClassVar[str] = "answers"

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        read = Reads(words="all") if words else Reads(logits=True)
        return read, read

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        if student.words is not None and teacher.words is not None:
            where = batch["attention_mask"].bool()
            return vocabulary.logits_mse(student.words.only(where), teacher.words.only(where))
        return losses.squared_error(_real(_logits(student), batch), _real(_logits(teacher), batch))


class LayerTerm(_Term):
    """A term that compares layers of the two models."""

    layers: Map = "uniform"

    def pairs(self, student: int, teacher: int) -> Pairs:
        return layer_map(self.layers, student, teacher)


class HiddenCosine(LayerTerm):
    """Direction of hidden states; by default of the two last layers (DistilBERT, L_cos)."""

    kind: Literal["HiddenCosine"] = "HiddenCosine"
    layers: Map = "output"

    def pairs(self, student: int, teacher: int) -> Pairs:
        if self.layers == "output":
            return ((student, teacher),)
        return super().pairs(student, teacher)

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        return _hidden(pairs)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        return _mean(
            [losses.hidden_cosine(student.hidden[s], teacher.hidden[t], mask) for s, t in pairs]
        )


class HiddenMSE(LayerTerm):
    """Hidden states by squared error, summed over pairs (TinyBERT, eq. 8); (0, 0): embeddings."""

    kind: Literal["HiddenMSE"] = "HiddenMSE"
    embeddings: bool = True

    def pairs(self, student: int, teacher: int) -> Pairs:
        pairs = super().pairs(student, teacher)
        return ((0, 0), *pairs) if self.embeddings and (0, 0) not in pairs else pairs

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        return _hidden(pairs)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = [losses.hidden_mse(student.hidden[s], teacher.hidden[t], mask) for s, t in pairs]
        return _mean(gaps) * len(gaps)


class AttentionMSE(LayerTerm):
    """Unnormalised attention scores by squared error, summed over layers (TinyBERT, eq. 7).

    `heads`: for models that differ in their number of heads, how many all heads of each are
    joined and parted into (a divisor of both hidden sizes).
    """

    kind: Literal["AttentionMSE"] = "AttentionMSE"
    over: ClassVar[str] = "pairs"
    heads: Annotated[int, Field(gt=0)] | None = None

    def reads(self, pairs: Pairs, words: bool) -> tuple[Reads, Reads]:
        student, teacher = frozenset(s for s, _ in pairs), frozenset(t for _, t in pairs)
        return Reads(attention=student), Reads(attention=teacher)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        mask = batch["attention_mask"]
        gaps = []
        for s, t in pairs:
            mine, theirs = student.scaled(s, self.heads), teacher.scaled(t, self.heads)
            if mask.shape[1] < mine[0].shape[-1] + theirs[0].shape[-1]:
                scores = [queries @ keys.transpose(-1, -2) for queries, keys in (mine, theirs)]
                gaps.append(losses.attention_mse(scores[0], scores[1], mask))
            else:
                gaps.append(losses.attention_mse_of(mine, theirs, mask))
        return _mean(gaps) * len(gaps)


Term = Annotated[
    HardLabels | SoftLabels | LogitsMSE | HiddenCosine | HiddenMSE | AttentionMSE,
    Field(discriminator="kind"),
]
Objective = tuple[Term, ...]


def reads(objective: Objective, student: int, teacher: int, words: bool) -> tuple[Reads, Reads]:
    """What all terms together read of a student and a teacher of these depths."""
    mine, theirs = Reads(), Reads()
    for term in objective:
        more_mine, more_theirs = term.reads(term.pairs(student, teacher), words)
        mine, theirs = mine | more_mine, theirs | more_theirs
    return mine, theirs


def _hidden(pairs: Pairs) -> tuple[Reads, Reads]:
    return Reads(hidden=frozenset(s for s, _ in pairs)), Reads(
        hidden=frozenset(t for _, t in pairs)
    )


def _logits(trace: Trace) -> Tensor:
    assert trace.logits is not None
    return trace.logits


def _real(logits: Tensor, batch: Batch) -> Tensor:
    """(N, C): of a token task the real tokens, since padding has no answer to imitate."""
    return logits[batch["attention_mask"].bool()] if logits.dim() == 3 else logits


def _mean(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0]) / len(values)
