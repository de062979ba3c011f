"""Soft labels over a teacher's likeliest words, all others taken as one: the plain formula."""

import pytest
import torch
import torch.nn.functional as F
from support.shapes import Shapes
from torch import Tensor

from alembert.models.logits import VocabularyLogits
from alembert.objectives import fused_linear, top_k

N, H, V = 37, 8, 53


def pair(chunk: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """A student's rows, matrix and bias, with gradient, and a teacher's."""
    torch.manual_seed(0)
    for module in (fused_linear, top_k):
        monkeypatch.setattr(module, "CHUNK", chunk)
    student = [x.requires_grad_() for x in (torch.randn(N, H), torch.randn(V, H), torch.randn(V))]
    return student, [torch.randn(N, H), torch.randn(V, H), torch.randn(V)]


def words(rows: Tensor, weight: Tensor, bias: Tensor) -> VocabularyLogits:
    return VocabularyLogits(rows, weight, bias, torch.ones(1, len(rows), dtype=torch.bool))


def with_the_rest_as_one(student: Tensor, teacher: Tensor, k: int, temperature: float) -> Tensor:
    """The formula, plainly: KL over the teacher's k likeliest words and the sum of all others."""
    p, q = (F.softmax(x.double() / temperature, dim=-1) for x in (teacher, student))
    order = p.argsort(dim=-1, descending=True)
    p, q = p.gather(1, order), q.gather(1, order)
    loss = (p[:, :k] * (p[:, :k] / q[:, :k]).log()).sum(dim=1)
    if k < V:
        rest_p, rest_q = p[:, k:].sum(dim=1), q[:, k:].sum(dim=1)
        loss = loss + rest_p * (rest_p / rest_q).log()
    return (loss.mean() * temperature**2).float()


@pytest.mark.parametrize("chunk", [5, 512])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("k", [1, 7, V - 1, V])
def test_value_and_gradient_are_those_of_the_plain_formula(
    k: int, temperature: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = pair(chunk, monkeypatch)
    best = top_k.top_k(words(*teacher), k, (temperature,))
    loss = 3 * fused_linear.fused_linear_loss(
        words(*student), top_k.top_k_soft_labels(best, temperature)
    )
    found = torch.autograd.grad(loss, student)
    plain = 3 * with_the_rest_as_one(F.linear(*student), F.linear(*teacher), k, temperature)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(found, torch.autograd.grad(plain, student), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-5)


def test_with_all_words_kept_it_is_the_whole_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = pair(5, monkeypatch)
    best = top_k.top_k(words(*teacher), 10 * V, (2.0,))
    assert not best.rest[2.0].any()
    losses = [
        fused_linear.fused_linear_loss(words(*student), top_k.top_k_soft_labels(best, 2.0)),
        fused_linear.fused_linear_loss(
            words(*student), fused_linear.soft_labels(words(*teacher), 2.0)
        ),
    ]
    torch.testing.assert_close(losses[0], losses[1])
    kept, whole = (torch.autograd.grad(loss, student) for loss in losses)
    for mine, theirs in zip(kept, whole, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("k", [1, 7, 40])
def test_what_it_falls_short_by_is_the_divergence_among_the_other_words(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = pair(512, monkeypatch)
    best = top_k.top_k(words(*teacher), k, (2.0,))
    cut = fused_linear.fused_linear_loss(words(*student), top_k.top_k_soft_labels(best, 2.0))
    whole = fused_linear.fused_linear_loss(
        words(*student), fused_linear.soft_labels(words(*teacher), 2.0)
    )
    outside = torch.ones(N, V, dtype=torch.bool).scatter_(1, best.ids, False)
    p, q = (F.linear(*x)[outside].view(N, V - k) / 2 for x in (teacher, student))
    rest = F.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(whole - cut, 4 * (best.rest[2.0] * rest).mean(), rtol=1e-4, atol=0.0)


def test_a_student_that_says_what_its_teacher_says_has_no_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, teacher = pair(512, monkeypatch)
    rows = [x.clone().requires_grad_() for x in teacher]
    best = top_k.top_k(words(*teacher), 7, (1.0,))
    loss = fused_linear.fused_linear_loss(words(*rows), top_k.top_k_soft_labels(best, 1.0))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert all(x.abs().max() < 1e-6 for x in torch.autograd.grad(loss, rows))


def test_no_tensor_of_all_rows_by_all_words_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = pair(4, monkeypatch)
    with Shapes() as made:
        best = top_k.top_k(words(*teacher), 7, (2.0,))
        fused_linear.fused_linear_loss(
            words(*student), top_k.top_k_soft_labels(best, 2.0)
        ).backward()
    assert (4, V) in made.seen
    assert (N, V) not in made.seen


def test_extreme_logits_and_no_rows_stay_finite() -> None:
    weight = torch.eye(3) * 1e4
    student = VocabularyLogits(torch.eye(3).requires_grad_(), weight, None, torch.ones(1, 3) > 0)
    teacher = VocabularyLogits(torch.eye(3).flip(0), weight, None, student.selected)
    loss = fused_linear.fused_linear_loss(
        student, top_k.top_k_soft_labels(top_k.top_k(teacher, 2, (1.0,)), 1.0)
    )
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2 / 3 * 1e4, rel=1e-5)  # as if all were kept
    none = teacher.only(torch.zeros(1, 3, dtype=torch.bool))
    empty = top_k.top_k(none, 2, (1.0,))
    assert float(fused_linear.fused_linear_loss(none, top_k.top_k_soft_labels(empty, 1.0))) == 0.0
