"""The terms a student is asked to imitate, and what all of them together read."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives import fused_linear
from alembert.objectives.label_terms import HardLabels, LogitsMSE, SoftLabels
from alembert.objectives.layer_terms import (
    AttentionKL,
    AttentionMSE,
    FeatureMap,
    HiddenCosine,
    HiddenMSE,
    LayerTerm,
    Relations,
)

__all__ = [
    "AttentionKL",
    "AttentionMSE",
    "FeatureMap",
    "HardLabels",
    "HiddenCosine",
    "HiddenMSE",
    "LayerTerm",
    "LogitsMSE",
    "Objective",
    "Relations",
    "SoftLabels",
    "reads",
    "total",
]

AnyTerm = Annotated[
    HardLabels
    | SoftLabels
    | LogitsMSE
    | HiddenCosine
    | HiddenMSE
    | AttentionMSE
    | FeatureMap
    | AttentionKL
    | Relations,
    Field(discriminator="kind"),
]  # fmt: skip
Objective = tuple[AnyTerm, ...]


def reads(objective: Objective, student: int, teacher: int, words: bool) -> tuple[Reads, Reads]:
    """What all terms together read of a student and a teacher of these depths."""
    student_reads, teacher_reads = Reads(), Reads()
    for term in objective:
        more_student, more_teacher = term.reads(term.pairs(student, teacher), words)
        student_reads, teacher_reads = student_reads | more_student, teacher_reads | more_teacher
    return student_reads, teacher_reads


def total(
    objective: Objective,
    pairs: list[Pairs],
    student: Trace,
    teacher: Trace,
    batch: Batch,
    whole: Batch | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum () of an objective's terms, and {kind: unweighted value ()}.

    Of a part of a `whole` batch: the part's share of them.
    """
    values: dict[int, Tensor] = {}
    asked: dict[int, fused_linear.VocabularyTerm] = {}
    shares: list[float | Tensor] = []
    loss = torch.zeros((), device=batch["input_ids"].device)
    for i, (term, pairs_of) in enumerate(zip(objective, pairs, strict=True)):
        shares.append(1.0)
        if whole is not None:
            shares[i] = term.count(batch) / term.count(whole).clamp(min=1)
        if (ask := term.over_words(student, teacher, batch)) is not None:
            asked[i] = ask
            continue
        values[i] = term(student, teacher, pairs_of, batch) * shares[i]
        loss = loss + term.weight * values[i]
    if asked:
        assert student.words is not None
        weights = [objective[i].weight * shares[i] for i in asked]
        more, alone = fused_linear.fused_linear_losses(student.words, list(asked.values()), weights)
        loss = loss + more
        values |= {i: value * shares[i] for i, value in zip(asked, alone.unbind(), strict=True)}
    kinds: dict[str, Tensor] = {}
    for i, term in enumerate(objective):
        kinds[term.kind] = kinds.get(term.kind, torch.zeros_like(loss)) + values[i].detach()
    return loss, kinds
