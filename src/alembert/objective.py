"""The terms a student is asked to imitate, and what all of them together read."""

from typing import Annotated

from pydantic import Field

from alembert.label_terms import HardLabels, LogitsMSE, SoftLabels
from alembert.layer_terms import (
    AttentionKL,
    AttentionMSE,
    FeatureMap,
    HiddenCosine,
    HiddenMSE,
    LayerTerm,
    Relations,
)
from alembert.trace import Reads

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
    mine, theirs = Reads(), Reads()
    for term in objective:
        more_mine, more_theirs = term.reads(term.pairs(student, teacher), words)
        mine, theirs = mine | more_mine, theirs | more_theirs
    return mine, theirs
