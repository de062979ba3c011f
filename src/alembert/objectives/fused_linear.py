"""Losses over the vocabulary in chunks of rows, their gradient made in the forward pass.

Logits of all tokens, (N, V) for student and teacher, would be the largest tensors of a step. Here a
chunk of rows at a time meets the vocabulary, gives its share of the loss and of the gradient, and
is gone (the idea of Liger-Kernel's fused linear cross entropy). All terms of an objective read the
student's logits in one pass.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alembert.models.logits import VocabularyLogits, _compute_dtype

CHUNK = 1024  # rows: large enough for the matrix product's full speed, 62 MB of bf16 at V = 30,522
BLOCK = 2**17  # logits of the arithmetic on a core at a time: 512 KB of fp32 stay in its cache

# (student logits (n, V) fp32, owned by the callee; their place) -> loss (), gradient (n, V)
ChunkLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class VocabularyTerm:
    """What one term asks of the student's logits: a sum over rows.

    ready(part) brings what is known of the asked rows `part` of a chunk (labels, the teacher's
    logits) and returns the arithmetic; its slices count from part's first row. rows (n,): the
    numbers of the student's rows that are asked, rising; None: all.
    """

    ready: Callable[[slice], ChunkLoss]
    rows: Tensor | None = None


Weights = Sequence[float | Tensor]


def soft_labels(
    teacher: VocabularyLogits, temperature: float, rows: Tensor | None = None
) -> VocabularyTerm:
    """T^2 * KL(teacher || student), sum over V, mean over N (DistilBERT, L_ce); 0 when N is 0."""
    frozen = teacher.detach()
    scale = temperature / max(len(teacher.rows), 1)

    def ready(part: slice) -> ChunkLoss:
        teacher_logits = frozen.logits(part)
        return lambda s, block: _soft(s, teacher_logits[block].float(), temperature, scale)

    return VocabularyTerm(ready, rows)


def hard_labels(labels: Tensor, rows: Tensor | None = None) -> VocabularyTerm:
    """Cross entropy with word ids labels (N,), mean over N (L_mlm); 0 when N is 0."""
    count = max(len(labels), 1)

    def ready(part: slice) -> ChunkLoss:
        own = labels[part].unsqueeze(1)

        def chunk(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
            target = own[block]
            log_probability = torch.log_softmax(logits, dim=-1)
            loss = -log_probability.gather(1, target).sum() / count
            gradient = log_probability.exp_()
            gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=gradient.dtype))
            return loss, gradient.div_(count)

        return chunk

    return VocabularyTerm(ready, rows)


def logits_mse(teacher: VocabularyLogits, rows: Tensor | None = None) -> VocabularyTerm:
    """Squared error of logits, sum over N and V, divided by N (DistilBERT's optional L_mse)."""
    frozen, count = teacher.detach(), max(len(teacher.rows), 1)

    def ready(part: slice) -> ChunkLoss:
        teacher_logits = frozen.logits(part)

        def chunk(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
            gap = logits.sub_(teacher_logits[block].float())
            return gap.square().sum() / count, gap.mul_(2 / count)

        return chunk

    return VocabularyTerm(ready, rows)


def fused_linear_losses(
    student: VocabularyLogits, asks: Sequence[VocabularyTerm], weights: Weights
) -> tuple[Tensor, Tensor]:
    """The weighted sum of what is asked (), and each loss alone, unweighted (len(asks),)."""
    found = _Chunked.apply(student.rows, student.weight, student.bias, asks, weights)  # type: ignore[no-untyped-call]
    total, values = found
    return total, values


def fused_linear_loss(student: VocabularyLogits, ask: VocabularyTerm) -> Tensor:
    """One loss, ()."""
    return fused_linear_losses(student, [ask], [1.0])[0]


def _soft(s: Tensor, t: Tensor, temperature: float, scale: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a block; both tensors are written over."""
    log_student, log_teacher = (torch.log_softmax(x.div_(temperature), dim=-1) for x in (s, t))
    target = torch.exp(log_teacher)
    gap = log_teacher.sub_(log_student)
    loss = torch.dot(target.flatten(), gap.flatten()) * (temperature * scale)
    return loss, log_student.exp_().sub_(target).mul_(scale)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        asks: Sequence[VocabularyTerm],
        weights: Weights,
    ) -> tuple[Tensor, Tensor]:
        dtype = _compute_dtype(weight)
        back = torch.float32 if dtype == torch.float16 else dtype  # a share of 1/N is 0 in fp16
        rows_low, weight_low = rows.to(dtype), weight.to(dtype)
        low = None if bias is None else bias.to(dtype)
        need_rows, need_weight, need_bias, *_ = ctx.needs_input_grad
        d_rows = torch.zeros_like(rows) if need_rows else None
        d_weight = torch.zeros_like(weight) if need_weight else None
        d_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        values = torch.zeros(len(asks), device=rows.device)
        numbers = [range(len(rows)) if a.rows is None else a.rows.tolist() for a in asks]
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, min(start + CHUNK, len(rows)))
                logits = torch.nn.functional.linear(rows_low[part], weight_low, low)
                shares = [_share(ask, n, part) for ask, n in zip(asks, numbers, strict=True)]
                # written over the logits, of which nobody reads a block again
                gradient = logits if back == dtype else logits.to(back)
                for block in _blocks(logits):
                    made = _arithmetic(logits, block, shares, weights, values)
                    gradient[block] = made
                    if d_bias is not None and made.dim():
                        d_bias += made.sum(dim=0)
                if d_rows is not None:
                    d_rows[part] = gradient @ weight_low.to(back)
                if d_weight is not None:
                    d_weight += gradient.T @ rows_low[part].to(back)
        ctx.gradients = (d_rows, d_weight, d_bias)
        ctx.mark_non_differentiable(values)
        total = torch.zeros((), device=rows.device)
        for factor, value in zip(weights, values, strict=True):
            total = total + factor * value
        return total, values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found, ctx.gradients = ctx.gradients, None  # given away: their new owner adds to them
        if upstream.device.type != "cpu" or upstream != 1:
            found = [None if g is None else g.mul_(upstream.to(g.dtype)) for g in found]
        return (*found, None, None)


# of an ask in a chunk: its arithmetic, and its rows counted from the chunk's first
_Share = tuple[ChunkLoss, list[int]]


def _share(ask: VocabularyTerm, numbers: Sequence[int], chunk: slice) -> _Share:
    part = slice(bisect_left(numbers, chunk.start), bisect_left(numbers, chunk.stop))
    return ask.ready(part), [n - chunk.start for n in numbers[part]]


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Rows of a chunk (n, V) that the arithmetic takes at a time; on a GPU all of them."""
    size = len(logits)
    if logits.device.type == "cpu":
        size = max(BLOCK // logits.shape[1], 1) * torch.get_num_threads()
    return (slice(i, min(i + size, len(logits))) for i in range(0, len(logits), size))


def _arithmetic(
    logits: Tensor, block: slice, shares: list[_Share], weights: Weights, values: Tensor
) -> Tensor:
    """The weighted gradient (m, V) of a block of a chunk's logits; adds each loss to values.

    Where no row is asked for, a 0 of no dimension.
    """
    size, gradient = block.stop - block.start, None
    for i, ((chunk, rows), weight) in enumerate(zip(shares, weights, strict=True)):
        own = slice(bisect_left(rows, block.start), bisect_left(rows, block.stop))
        count = own.stop - own.start
        if count == 0:
            continue
        which = torch.tensor(rows[own], device=logits.device)
        asked = logits[block] if count == size else logits[which]
        loss, made = chunk(asked.to(torch.float32, copy=True), own)
        values[i] += loss
        made.mul_(weight)
        if count == size:
            gradient = made if gradient is None else gradient.add_(made)
            continue
        if gradient is None:
            gradient = made.new_zeros(size, made.shape[1])
        gradient.index_add_(0, which - block.start, made)
    return logits.new_zeros(()) if gradient is None else gradient
