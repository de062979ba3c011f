"""An objective: the weighted sum of terms that a stage trains, and the traces that it reads."""

from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator
from torch import Tensor

from alembert.io.errors import UserError
from alembert.io.named import is_named
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives import fused_linear, own
from alembert.objectives.label_terms import HardLabels, LogitsMSE, NextSentence, SoftLabels
from alembert.objectives.layer_terms import (
    AttentionKL,
    AttentionMSE,
    FeatureMap,
    HiddenCosine,
    HiddenMSE,
    Relations,
)
from alembert.objectives.term import Term, own_term

BuiltIn = Annotated[
    HardLabels
    | SoftLabels
    | LogitsMSE
    | NextSentence
    | HiddenCosine
    | HiddenMSE
    | AttentionMSE
    | FeatureMap
    | AttentionKL
    | Relations,
    Field(discriminator="kind"),
]  # fmt: skip


def _validated(fields: Any, built_in: ValidatorFunctionWrapHandler) -> Term:
    try:
        found = own_term(fields)
    except UserError as error:
        raise ValueError(str(error)) from None  # pydantic then says where
    term: Term = built_in(fields) if found is None else found
    return term


AnyTerm = Annotated[SerializeAsAny[BuiltIn], WrapValidator(_validated)]
Objective = tuple[AnyTerm, ...]


def describe(objective: Objective) -> str:
    """A phrase with the weights of an objective's terms, for the log."""
    soft = {term.kind: term.temperature for term in objective if isinstance(term, SoftLabels)}
    return ", ".join(
        f"{term.weight:g} {term.kind}"
        + (f" at temperature {soft[term.kind]:g}" if term.kind in soft else "")
        for term in objective
    )


def reads(objective: Objective, student: int, teacher: int, corpus: bool) -> tuple[Reads, Reads]:
    """The reads of a student and of a teacher of these depths, united over all terms."""
    student_reads, teacher_reads = Reads(), Reads()
    for term in objective:
        pairs = term.pairs(student, teacher)
        more = (
            own.reads_of(term, pairs, corpus) if is_named(term.kind) else term.reads(pairs, corpus)
        )
        more_student, more_teacher = more
        student_reads, teacher_reads = student_reads | more_student, teacher_reads | more_teacher
    return student_reads, teacher_reads


def total(
    objective: Objective,
    pairs: list[Pairs],
    student: Trace,
    teacher: Trace,
    batch: Batch,
    full_batch: Batch | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum () of an objective's terms, and {kind: unweighted value ()}.

    When `batch` is a part of `full_batch`, both are the part's share of the full batch's values.
    """
    values: dict[int, Tensor] = {}
    vocabulary_terms: dict[int, fused_linear.VocabularyTerm] = {}
    shares: list[float | Tensor] = []
    vocabulary, loss = student.vocabulary, torch.zeros((), device=batch["input_ids"].device)
    for i, (term, pairs_of) in enumerate(zip(objective, pairs, strict=True)):
        shares.append(1.0)
        if full_batch is not None:
            shares[i] = term.count(batch) / term.count(full_batch).clamp(min=1)
        in_chunks = None if vocabulary is None else term.vocabulary_term(vocabulary, teacher, batch)
        if in_chunks is not None:
            vocabulary_terms[i] = in_chunks
            continue
        call = partial(own.called, term) if is_named(term.kind) else term
        values[i] = call(student, teacher, pairs_of, batch) * shares[i]
        loss = loss + term.weight * values[i]
    if vocabulary is not None and vocabulary_terms:
        weights = [objective[i].weight * shares[i] for i in vocabulary_terms]
        vocabulary_loss, losses = fused_linear.fused_linear_losses(
            vocabulary, list(vocabulary_terms.values()), weights
        )
        loss = loss + vocabulary_loss
        values |= {
            i: value * shares[i] for i, value in zip(vocabulary_terms, losses.unbind(), strict=True)
        }
    kinds: dict[str, Tensor] = {}
    for i, term in enumerate(objective):
        kinds[term.kind] = kinds.get(term.kind, torch.zeros_like(loss)) + values[i].detach()
    return loss, kinds
