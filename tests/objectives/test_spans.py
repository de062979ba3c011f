"""Losses of start and end over a window's valid tokens, by hand and by transformers' own loss."""

import math

import pytest
import torch
from support.models import tiny
from torch import Tensor

from alembert.models.trace import Reads, Trace, trace
from alembert.objectives import functional
from alembert.objectives.label_terms import HardLabels, LogitsMSE, SoftLabels
from alembert.objectives.objective import total

NO, NONE, START, END, BOTH = -100, 0, 1, 2, 3
SPANS = torch.tensor([
    [NONE, NO, START, END, NO], [BOTH, NO, NONE, NO, NO], [NONE, NO, NONE, NONE, NO],
])  # fmt: skip


def logits(seed: int, rows: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((rows, SPANS.shape[1], 2), generator=generator) * 2


def by_hand(row: int, column: int, values: Tensor, temperature: float = 1.0) -> list[float]:
    """The distribution over the valid tokens of a row, in plain floats."""
    kept = [
        v for v, span in zip(values[row, :, column].tolist(), SPANS[row], strict=True) if span != NO
    ]
    exponents = [math.exp(v / temperature) for v in kept]
    return [e / sum(exponents) for e in exponents]


def test_soft_spans_are_the_kl_of_both_distributions_over_valid_tokens() -> None:
    student, teacher, temperature = logits(0), logits(1), 3.0
    expected = 0.0
    for row in range(3):
        for column in range(2):
            p, q = (by_hand(row, column, x, temperature) for x in (teacher, student))
            expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    expected *= temperature**2 / 6
    found = functional.soft_spans(student, teacher, SPANS, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(functional.soft_spans(teacher, teacher, SPANS, 1.0)) == pytest.approx(0, abs=1e-6)


def test_hard_spans_are_the_cross_entropy_of_labelled_windows() -> None:
    student = logits(0)
    # of the valid tokens of the first row the second starts and the third ends the answer
    right = [by_hand(0, 0, student)[1], by_hand(0, 1, student)[2],
             by_hand(1, 0, student)[0], by_hand(1, 1, student)[0]]  # fmt: skip
    expected = -sum(map(math.log, right)) / 4
    assert float(functional.hard_spans(student, SPANS)) == pytest.approx(expected, rel=1e-5)


def test_without_a_label_the_loss_and_its_gradient_are_zero() -> None:
    student = logits(0)[2:].requires_grad_()
    loss = functional.hard_spans(student, SPANS[2:])
    loss.backward()
    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()


@pytest.mark.parametrize("seed", range(3))
def test_logits_of_other_tokens_never_matter(seed: int) -> None:
    student, teacher = logits(seed).requires_grad_(), logits(seed + 9)
    other = torch.where((SPANS == NO)[:, :, None], 77.0, student)
    for loss in (
        lambda x: functional.hard_spans(x, SPANS),
        lambda x: functional.soft_spans(x, teacher, SPANS, 2.0),
        lambda x: functional.soft_spans(teacher, x, SPANS, 2.0),
    ):
        assert float(loss(other)) == float(loss(student))
        (gradient,) = torch.autograd.grad(loss(student), student)
        assert not gradient[SPANS == NO].any()


def test_hard_spans_are_the_loss_of_transformers_where_every_token_is_valid() -> None:
    model = tiny("bert", "question answering")
    ids = torch.arange(5, 15).reshape(2, 5)
    start, end = torch.tensor([1, 0]), torch.tensor([3, 0])
    spans = torch.tensor([[0, START, 0, END, 0], [BOTH, 0, 0, 0, 0]])
    mask = torch.ones_like(ids)
    expected = model(input_ids=ids, attention_mask=mask, start_positions=start, end_positions=end)
    found = trace(model, {"input_ids": ids, "attention_mask": mask}, Reads(logits=True))
    assert found.logits is not None
    assert found.logits.shape == (2, 5, 2)
    loss = functional.hard_spans(found.logits, spans)
    assert float(loss) == pytest.approx(float(expected.loss), rel=1e-5)


@pytest.mark.parametrize("term", [HardLabels(), SoftLabels(temperature=2.0), LogitsMSE()])
def test_the_parts_of_a_batch_add_up_to_the_batch(
    term: HardLabels | SoftLabels | LogitsMSE,
) -> None:
    student, teacher = logits(0), logits(1)
    batch = {"input_ids": SPANS, "attention_mask": torch.ones_like(SPANS), "spans": SPANS}

    def loss(rows: slice, whole: bool) -> float:
        part = {name: x[rows] for name, x in batch.items()}
        traces = Trace(logits=student[rows]), Trace(logits=teacher[rows])
        return float(total((term,), [()], *traces, part, None if whole else batch)[0])

    everything = loss(slice(0, 3), True)
    assert everything > 0
    parts = sum(loss(slice(i, i + 1), False) for i in range(3))
    assert parts == pytest.approx(everything, rel=1e-5)


def test_squared_error_of_logits_is_over_valid_tokens() -> None:
    student, teacher = logits(0), logits(1)
    batch = {"input_ids": SPANS, "attention_mask": torch.ones_like(SPANS), "spans": SPANS}
    gap = [
        (a - b) ** 2
        for x, y, span in zip(student, teacher, SPANS, strict=True)
        for u, v, s in zip(x.tolist(), y.tolist(), span.tolist(), strict=True)
        for a, b in zip(u, v, strict=True)
        if s != NO
    ]
    found = LogitsMSE()(Trace(logits=student), Trace(logits=teacher), (), batch)
    assert float(found) == pytest.approx(sum(gap) / len(gap), rel=1e-5)
