"""How a token's probabilities over the others diverge, in blocks: no T x T matrix is kept."""

from typing import Any

import torch
from torch import Tensor

BLOCK = 2**17  # entries of a matrix of scores that stay in a core's cache
WHOLE = 2**26  # on a GPU, where each block costs a launch


def attention_kl(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) of softmax of Q K^T, mean over heads and real queries.

    Q / sqrt(d) and K (B, A, T, d) of each; widths may differ. Keys that are padding get no
    probability. MobileBERT, eq. 2.
    """
    real = _real(student[0], mask)
    return _gap(student, teacher, real, real / real.sum().clamp(min=1))


def relations(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of softmax of X X^T / sqrt(d), X (B, A, T, d); widths may differ.

    Mean over heads and a text's real tokens, then over texts (MiniLMv2, section 3.1).
    """
    real = _real(student, mask)
    pairs = [(x * x.shape[-1] ** -0.5, x) for x in (student.float(), teacher.float())]
    weight = real / (real.sum(dim=1, keepdim=True).clamp(min=1) * len(real))
    return _gap(pairs[0], pairs[1], real, weight)


def _real(x: Tensor, mask: Tensor | None) -> Tensor:
    return x.new_ones(len(x), x.shape[2]).float() if mask is None else mask.float()


def _gap(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], real: Tensor, weight: Tensor
) -> Tensor:
    heads = student[0].shape[1]
    rows = (x.repeat_interleave(heads, dim=0) for x in (weight / heads, real.bool()))
    parts = (x.flatten(0, 1) for x in (*student, *teacher))
    with torch.autocast(real.device.type, enabled=False):
        found: Tensor = _Gap.apply(*parts, *rows)  # type: ignore[no-untyped-call]
    return found


class _Gap(torch.autograd.Function):
    """Queries and keys (N, T, d) of N heads; weight (N, T) of a query; there (N, T) real keys.

    The gradient is made on the way: of a score it is the gap of the probabilities. The
    teacher's side gets none, and there is no second derivative.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, their_queries: Tensor, their_keys: Tensor,
        weight: Tensor, there: Tensor,
    ) -> Tensor:  # fmt: skip
        learns = any(ctx.needs_input_grad)
        grads = (
            [torch.empty_like(x, dtype=torch.float32) for x in (queries, keys)] if learns else []
        )
        total = weight.new_zeros(())
        size = BLOCK if queries.device.type == "cpu" else WHOLE
        step = max(1, size // queries.shape[1] ** 2)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            q, k, a, b = (x[part].float() for x in (queries, keys, their_queries, their_keys))
            student, teacher = (
                _log_softmax(*each, ~there[part, None, :]) for each in ((q, k), (a, b))
            )
            wanted = teacher.exp()
            total += ((wanted * (teacher - student)).sum(dim=-1) * weight[part]).sum()
            if learns:
                gap = student.exp_().sub_(wanted).mul_(weight[part, :, None])
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
