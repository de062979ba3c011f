"""KL divergence of attention and relation distributions, in blocks: no T x T matrix is kept."""

from typing import Any

import torch
from torch import Tensor

BLOCK = 2**17  # scores computed at a time: they stay in a core's cache
GPU_BLOCK = 2**26  # on a GPU, where each block costs a launch


def attention_kl(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) of softmax(Q K^T), mean over heads and real queries.

    Each side is Q / sqrt(d) and K, both (B, A, T, d); d may differ between the models. Padding keys
    get no probability. MobileBERT, eq. 2.
    """
    real = _real(student[0], mask)
    return _kl(student, teacher, real, real / real.sum().clamp(min=1))


def relations(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of softmax(X X^T / sqrt(d)), X (B, A, T, d); d may differ.

    The mean is over heads and a text's real tokens, then over texts (MiniLMv2, section 3.1).
    """
    real = _real(student, mask)
    pairs = [(x * x.shape[-1] ** -0.5, x) for x in (student.float(), teacher.float())]
    weight = real / (real.sum(dim=1, keepdim=True).clamp(min=1) * len(real))
    return _kl(pairs[0], pairs[1], real, weight)


def _real(x: Tensor, mask: Tensor | None) -> Tensor:
    return x.new_ones(len(x), x.shape[2]).float() if mask is None else mask.float()


def _kl(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], real: Tensor, weight: Tensor
) -> Tensor:
    heads = student[0].shape[1]
    rows = (x.repeat_interleave(heads, dim=0) for x in (weight / heads, real.bool()))
    parts = (x.flatten(0, 1) for x in (*student, *teacher))
    with torch.autocast(real.device.type, enabled=False):
        kl: Tensor = _BlockwiseKL.apply(*parts, *rows)  # type: ignore[no-untyped-call]
    return kl


class _BlockwiseKL(torch.autograd.Function):
    """Takes queries and keys (N, T, d) of N heads, weights (N, T) of queries, real_keys (N, T).

    The gradient is computed in the forward pass: that of a score is the difference of the two
    probabilities. The teacher's side gets none, and there is no second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, teacher_queries: Tensor, teacher_keys: Tensor,
        weight: Tensor, real_keys: Tensor,
    ) -> Tensor:  # fmt: skip
        needs_grad = any(ctx.needs_input_grad)
        grads = (
            [torch.empty_like(x, dtype=torch.float32) for x in (queries, keys)]
            if needs_grad
            else []
        )
        total = weight.new_zeros(())
        size = BLOCK if queries.device.type == "cpu" else GPU_BLOCK
        step = max(1, size // queries.shape[1] ** 2)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            q, k, a, b = (x[part].float() for x in (queries, keys, teacher_queries, teacher_keys))
            student, teacher = (
                _log_softmax(*each, ~real_keys[part, None, :]) for each in ((q, k), (a, b))
            )
            target = teacher.exp()
            total += ((target * (teacher - student)).sum(dim=-1) * weight[part]).sum()
            if needs_grad:
                gap = student.exp_().sub_(target).mul_(weight[part, :, None])
                grads[0][part], grads[1][part] = torch.bmm(gap, k), torch.bmm(gap.mT, q)
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys = ctx.saved_tensors
        return queries * grads[0], keys * grads[0], None, None, None, None


def _log_softmax(queries: Tensor, keys: Tensor, masked: Tensor) -> Tensor:
    scores = torch.bmm(queries, keys.mT).masked_fill_(masked, -1e30)
    return scores.log_softmax(dim=-1)
