"""Calls a term of the user's own, whose mistakes are told by its name and its line."""

import traceback
from typing import Any

import torch
from torch import Tensor

from alembert.io.errors import UserError
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives.term import Term


def called(term: Term, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
    """The value () of a term of one's own.

    Raises UserError where the term raises anything, and where it returns no scalar or a loss
    without a gradient. A zero needs none, since a batch may have nothing that the term compares.
    """
    try:
        value: Any = term(student, teacher, pairs, batch)
    except UserError:
        raise
    except Exception as error:  # the code is the user's, so anything may go wrong in it
        raise UserError(_told(term, error)) from error
    if not isinstance(value, Tensor):
        raise UserError(
            f"term {term.kind}: returns {value!r:.40}, a {type(value).__name__}: return a tensor "
            "that is computed from the student's"
        )
    if value.dim():
        raise UserError(
            f"term {term.kind}: returns a tensor of shape {tuple(value.shape)}: return a scalar, "
            "such as its mean()"
        )
    if torch.is_grad_enabled() and not value.requires_grad and bool(value != 0):
        raise UserError(
            f"term {term.kind}: its loss has no gradient, so the student learns nothing from it: "
            "compute it from the student's tensors, without detach(), item() or numpy"
        )
    return value


def reads_of(term: Term, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
    """What a term of one's own reads; UserError where that is no pair of Reads."""
    try:
        found: Any = term.reads(pairs, corpus)
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(_told(term, error)) from error
    if not isinstance(found, tuple) or [type(each) for each in found] != [Reads, Reads]:
        raise UserError(
            f"term {term.kind}: reads() returns {found!r:.60}: return two Reads, of the student "
            "and of the teacher"
        )
    return found


def _told(term: Term, error: Exception) -> str:
    """The mistake with the line in which it was made, and a mend where it is known."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the call here
    own = [frame for frame in frames if frame.filename == frames[0].filename] if frames else []
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    line = f"term {term.kind}{where}: {type(error).__name__}: {error}"
    if isinstance(error, KeyError):
        return f"{line}: is not there: reads() has to name the layers that the term uses"
    if "BFloat16" in str(error) or "Half" in str(error):
        return f"{line}: tensors have half precision here: use .float() or --precision fp32"
    return line
