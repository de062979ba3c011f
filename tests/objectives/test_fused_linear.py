"""Chunked losses over the vocabulary: the plain formula's value and gradient, never all logits."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.shapes import Shapes
from torch import Tensor

from alembert.models.logits import VocabularyLogits
from alembert.objectives import functional, fused_linear
from alembert.objectives.fused_linear import fused_linear_loss

N, H, V = 37, 8, 53


def rows_and_matrices() -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    make = [torch.randn(N, H), torch.randn(V, H), torch.randn(V)]
    student = [tensor.requires_grad_() for tensor in make]
    return (*student, torch.randn(N, H), torch.randn(V, H), torch.randn(V))


def all_of(rows: Tensor, weight: Tensor, bias: Tensor | None) -> VocabularyLogits:
    return VocabularyLogits(rows, weight, bias, torch.ones(1, len(rows), dtype=torch.bool))


LABELS = torch.randint(0, V, (N,), generator=torch.Generator().manual_seed(1))
CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "soft labels at 2": (
        lambda s, t: fused_linear_loss(s, fused_linear.soft_labels(t, 2.0)),
        lambda s, t: functional.soft_labels(s, t, 2.0),
    ),
    "soft labels at 0.5": (
        lambda s, t: fused_linear_loss(s, fused_linear.soft_labels(t, 0.5)),
        lambda s, t: functional.soft_labels(s, t, 0.5),
    ),
    "hard labels": (
        lambda s, t: fused_linear_loss(s, fused_linear.hard_labels(LABELS)),
        lambda s, t: F.cross_entropy(s, LABELS),
    ),
    "squared error": (
        lambda s, t: fused_linear_loss(s, fused_linear.logits_mse(t)),
        lambda s, t: F.mse_loss(s, t, reduction="sum") / N,
    ),
}


@pytest.mark.parametrize("chunk", [5, 37, 512])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_plain_formula(
    case: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_linear, "CHUNK", chunk)
    ours, plain = CASES[case]
    rows, weight, bias, t_rows, t_weight, t_bias = rows_and_matrices()
    loss = 3 * ours(all_of(rows, weight, bias), all_of(t_rows, t_weight, t_bias))
    loss.backward()
    found = [rows.grad, weight.grad, bias.grad]
    for tensor in (rows, weight, bias):
        tensor.grad = None
    expected = 3 * plain(F.linear(rows, weight, bias), F.linear(t_rows, t_weight, t_bias))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(found, (rows.grad, weight.grad, bias.grad), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("chunk", "block"), [(512, 2**17), (5, 2 * V), (37, V), (6, 3 * V)])
def test_terms_together_have_the_sum_of_their_values_and_gradients(
    chunk: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One term over all rows and two over some; one of these over none of most blocks."""
    monkeypatch.setattr(fused_linear, "CHUNK", chunk)
    monkeypatch.setattr(fused_linear, "BLOCK", block)
    rows, weight, bias, t_rows, t_weight, t_bias = rows_and_matrices()
    student, teacher = all_of(rows, weight, bias), all_of(t_rows, t_weight, t_bias)
    some, few = torch.arange(1, N, 3), torch.tensor([20, 21])
    fewer = VocabularyLogits(t_rows[few], t_weight, t_bias, torch.ones(1, 2, dtype=torch.bool))
    asks = [
        fused_linear.hard_labels(LABELS[some], some),
        fused_linear.soft_labels(teacher, 2.0),
        fused_linear.logits_mse(fewer, few),
    ]
    total, values = fused_linear.fused_linear_losses(student, asks, [2.0, 5.0, torch.tensor(0.5)])
    (3 * total).backward()
    found = [rows.grad, weight.grad, bias.grad]
    for tensor in (rows, weight, bias):
        tensor.grad = None
    mine, theirs = F.linear(rows, weight, bias), F.linear(t_rows, t_weight, t_bias)
    parts = [
        F.cross_entropy(mine[some], LABELS[some]),
        functional.soft_labels(mine, theirs, 2.0),
        F.mse_loss(mine[few], theirs[few], reduction="sum") / 2,
    ]
    (3 * (2 * parts[0] + 5 * parts[1] + parts[2] / 2)).backward()
    torch.testing.assert_close(values, torch.stack(parts), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(found, (rows.grad, weight.grad, bias.grad), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_right_numerically() -> None:
    torch.manual_seed(0)
    rows, weight = torch.randn(3, 4, dtype=torch.double), torch.randn(5, 4, dtype=torch.double)
    teacher = all_of(torch.randn(3, 4), torch.randn(5, 4), None)
    rows = rows.float().requires_grad_()
    loss = fused_linear_loss(
        all_of(rows, weight.float(), None), fused_linear.soft_labels(teacher, 2.0)
    )
    loss.backward()
    assert rows.grad is not None
    plain = lambda r: functional.soft_labels(r @ weight.float().T, teacher.logits(), 2.0)  # noqa: E731
    for i, j in ((0, 0), (1, 3), (2, 2)):
        step = torch.zeros_like(rows)
        step[i, j] = 1e-2
        slope = (plain(rows.detach() + step) - plain(rows.detach() - step)) / 2e-2
        assert float(rows.grad[i, j]) == pytest.approx(float(slope), rel=2e-2, abs=1e-4)


def test_no_rows_give_a_zero_and_no_gradient() -> None:
    rows, weight = torch.randn(0, H, requires_grad=True), torch.randn(V, H, requires_grad=True)
    empty = VocabularyLogits(rows, weight, None, torch.zeros(1, 4, dtype=torch.bool))
    loss = fused_linear_loss(empty, fused_linear.soft_labels(empty, 2.0))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert weight.grad is not None
    assert not weight.grad.any()


def test_extreme_logits_stay_finite() -> None:
    weight = torch.eye(3) * 1e4
    student = all_of(torch.eye(3).requires_grad_(), weight, None)
    teacher = all_of(torch.eye(3).flip(0), weight, None)
    loss = fused_linear_loss(student, fused_linear.soft_labels(teacher, 1.0))
    loss.backward()
    assert torch.isfinite(loss)
    assert float(loss.detach()) == pytest.approx(2 / 3 * 1e4, rel=1e-5)


def test_no_tensor_of_all_rows_by_all_words_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_linear, "CHUNK", 4)
    rows, weight, bias, t_rows, t_weight, t_bias = rows_and_matrices()
    with Shapes() as made:
        teacher = fused_linear.soft_labels(all_of(t_rows, t_weight, t_bias), 2.0)
        fused_linear_loss(all_of(rows, weight, bias), teacher).backward()
    assert (4, V) in made.seen
    assert (N, V) not in made.seen


def test_autocast_computes_in_its_precision_and_accumulates_in_fp32() -> None:
    rows, weight, bias, t_rows, t_weight, t_bias = rows_and_matrices()
    pair = all_of(rows, weight, bias), all_of(t_rows, t_weight, t_bias)
    exact = fused_linear_loss(pair[0], fused_linear.soft_labels(pair[1], 2.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = fused_linear_loss(pair[0], fused_linear.soft_labels(pair[1], 2.0))
    low.backward()
    assert low.dtype == torch.float32
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert float(low.detach()) == pytest.approx(float(exact.detach()), rel=2e-2)


def test_small_gradients_survive_half_precision() -> None:
    torch.manual_seed(0)
    rows, matrix, teacher = torch.randn(256, 8), 0.05 * torch.randn(20_000, 8), torch.randn(256, 8)
    gradients = []
    for half in (False, True):
        mine = rows.clone().requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=half):
            pair = all_of(mine, matrix, None), all_of(teacher, matrix, None)
            fused_linear_loss(pair[0], fused_linear.soft_labels(pair[1], 2.0)).backward()
        assert mine.grad is not None
        gradients.append(mine.grad)
    assert (gradients[0] - gradients[1]).norm() < 0.01 * gradients[0].norm()
