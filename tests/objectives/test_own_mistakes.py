"""Mistakes in a term of one's own: told by its name, its line and the mend."""

from typing import Any

import pytest
import torch
from torch import Tensor

from alembert.io.errors import UserError
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives.objective import reads, total
from alembert.objectives.term import Term

BATCH = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, 3)}


class Returns(Term):
    """A term that returns what the test says, of logits that have a gradient."""

    how: str = "mean"

    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        """One Reads where two belong, for `how` "one"."""
        found: Any = Reads(logits=True)
        return found if self.how == "one" else (found, found)

    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor:
        """A loss, right or wrong."""
        assert student.logits is not None
        wrong: dict[str, Any] = {"float": 0.5, "zero": torch.zeros(()), "rows": student.logits}
        if self.how == "layer":
            return student.hidden[3]
        if self.how == "half":
            raise NotImplementedError("\"pdist\" not implemented for 'BFloat16'")
        if self.how == "detached":
            return student.logits.detach().mean()
        value: Tensor = wrong.get(self.how, student.logits.mean())
        return value


def value_of(how: str) -> Tensor:
    term = Returns(how=how)
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    trace = Trace(logits=logits)
    reads((term,), 2, 2, False)
    return total((term,), [()], trace, trace, BATCH)[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("float", "returns 0.5, a float: return a tensor that is computed from the student's"),
        ("rows", r"returns a tensor of shape \(2, 2\): return a scalar, such as its mean\(\)"),
        ("detached", "its loss has no gradient, so the student learns nothing from it"),
        ("layer", r"\(.*test_own_mistakes.py, line \d+\): KeyError: 3: is not there: reads"),
        ("half", r"\(.*\): NotImplementedError: .* half precision here: use .float\(\) or --prec"),
        ("one", r"reads\(\) returns Reads\(.*: return two Reads, of the student and of the"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_the_name_of_the_term(how: str, said: str) -> None:
    with pytest.raises(UserError, match=r"^term \S+:Returns:? ?" + said):
        value_of(how)


def test_a_right_term_and_a_zero_without_a_gradient_pass() -> None:
    assert value_of("mean").item() == 2.5
    assert value_of("zero").item() == 0
