"""Losses over the vocabulary in chunks of rows, their gradient computed in the forward pass.

Logits of all tokens, (N, V) for student and teacher, would be the largest tensors of a step. Here
the decoder is applied to one chunk of rows at a time, whose logits add to the loss and the gradient
and are freed (the idea of Liger-Kernel's fused linear cross entropy). All terms of an objective
share one pass over the student's logits.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alembert.models.logits import VocabularyLogits, _compute_dtype

CHUNK = 1024  # rows: large enough for the matrix product's full speed, 62 MB of bf16 at V = 30,522
BLOCK = 2**17  # logits that a core computes on at a time: 512 KB of fp32 stay in its cache

# (student logits (n, V) fp32, owned by the callee; their rows) -> loss (), gradient (n, V)
ChunkLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class VocabularyTerm:
    """One term's loss over the vocabulary: a sum over some of the student's rows.

    prepare(part) fetches the targets (labels, or the teacher's logits) of the slice `part` of the
    term's rows and returns the arithmetic, whose slices count from part's first row. rows (n,) are
    the ascending indices of the student's rows that the term reads; None means all of them.
    """

    prepare: Callable[[slice], ChunkLoss]
    rows: Tensor | None = None


Weights = Sequence[float | Tensor]


def soft_labels(
    teacher: VocabularyLogits, temperature: float, rows: Tensor | None = None
) -> VocabularyTerm:
    """T^2 * KL(teacher || student), sum over V, mean over N (DistilBERT, L_ce); 0 when N is 0."""
    frozen = teacher.detach()
    scale = temperature / max(len(teacher.rows), 1)

    def prepare(part: slice) -> ChunkLoss:
        teacher_logits = frozen.logits(part)
        return lambda s, block: _soft(s, teacher_logits[block].float(), temperature, scale)

    return VocabularyTerm(prepare, rows)


def hard_labels(labels: Tensor, rows: Tensor | None = None) -> VocabularyTerm:
    """Cross entropy with labels (N,), which are token ids, mean over N (L_mlm); 0 when N is 0."""
    count = max(len(labels), 1)

    def prepare(part: slice) -> ChunkLoss:
        part_labels = labels[part].unsqueeze(1)

        def chunk(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
            target = part_labels[block]
            log_probability = torch.log_softmax(logits, dim=-1)
            loss = -log_probability.gather(1, target).sum() / count
            gradient = log_probability.exp_()
            gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=gradient.dtype))
            return loss, gradient.div_(count)

        return chunk

    return VocabularyTerm(prepare, rows)


def logits_mse(teacher: VocabularyLogits, rows: Tensor | None = None) -> VocabularyTerm:
    """Squared error of logits, sum over N and V, divided by N (DistilBERT's optional L_mse)."""
    frozen, count = teacher.detach(), max(len(teacher.rows), 1)

    def prepare(part: slice) -> ChunkLoss:
        teacher_logits = frozen.logits(part)

        def chunk(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
            gap = logits.sub_(teacher_logits[block].float())
            return gap.square().sum() / count, gap.mul_(2 / count)

        return chunk

    return VocabularyTerm(prepare, rows)


def fused_linear_losses(
    student: VocabularyLogits, terms: Sequence[VocabularyTerm], weights: Weights
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the terms' losses, (), and the unweighted losses, (len(terms),)."""
    total, values = _Chunked.apply(  # type: ignore[no-untyped-call]
        student.rows, student.weight, student.bias, terms, weights
    )
    return total, values


def fused_linear_loss(student: VocabularyLogits, term: VocabularyTerm) -> Tensor:
    """The loss of one term, ()."""
    return fused_linear_losses(student, [term], [1.0])[0]


def _soft(s: Tensor, t: Tensor, temperature: float, scale: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a block of logits s and t (m, V); both tensors are overwritten."""
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
        terms: Sequence[VocabularyTerm],
        weights: Weights,
    ) -> tuple[Tensor, Tensor]:
        dtype = _compute_dtype(weight)
        d_dtype = torch.float32 if dtype == torch.float16 else dtype  # a share of 1/N is 0 in fp16
        rows_low, weight_low = rows.to(dtype), weight.to(dtype)
        bias_low = None if bias is None else bias.to(dtype)
        need_rows, need_weight, need_bias, *_ = ctx.needs_input_grad
        d_rows = torch.zeros_like(rows) if need_rows else None
        d_weight = torch.zeros_like(weight) if need_weight else None
        d_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        values = torch.zeros(len(terms), device=rows.device)
        numbers = [range(len(rows)) if a.rows is None else a.rows.tolist() for a in terms]
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, min(start + CHUNK, len(rows)))
                logits = torch.nn.functional.linear(rows_low[part], weight_low, bias_low)
                shares = [_share(term, n, part) for term, n in zip(terms, numbers, strict=True)]
                # overwrites the logits: no block of them is read twice
                gradient = logits if d_dtype == dtype else logits.to(d_dtype)
                for block in _blocks(logits):
                    block_gradient = _arithmetic(logits, block, shares, weights, values)
                    gradient[block] = block_gradient
                    if d_bias is not None and block_gradient.dim():
                        d_bias += block_gradient.sum(dim=0)
                if d_rows is not None:
                    d_rows[part] = gradient @ weight_low.to(d_dtype)
                if d_weight is not None:
                    d_weight += gradient.T @ rows_low[part].to(d_dtype)
        ctx.gradients = (d_rows, d_weight, d_bias)
        ctx.mark_non_differentiable(values)
        total = torch.zeros((), device=rows.device)
        for factor, value in zip(weights, values, strict=True):
            total = total + factor * value
        return total, values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # autograd may add to them in place
        if upstream.device.type != "cpu" or upstream != 1:
            gradients = [None if g is None else g.mul_(upstream.to(g.dtype)) for g in gradients]
        return (*gradients, None, None)


# the arithmetic of a term in a chunk, and the term's rows counted from the chunk's first
_ChunkShare = tuple[ChunkLoss, list[int]]


def _share(term: VocabularyTerm, numbers: Sequence[int], chunk: slice) -> _ChunkShare:
    part = slice(bisect_left(numbers, chunk.start), bisect_left(numbers, chunk.stop))
    return term.prepare(part), [n - chunk.start for n in numbers[part]]


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Slices of a chunk (n, V) that are computed at a time; on a GPU the chunk itself."""
    size = len(logits)
    if logits.device.type == "cpu":
        size = max(BLOCK // logits.shape[1], 1) * torch.get_num_threads()
    return (slice(i, min(i + size, len(logits))) for i in range(0, len(logits), size))


def _arithmetic(
    logits: Tensor, block: slice, shares: list[_ChunkShare], weights: Weights, values: Tensor
) -> Tensor:
    """The weighted gradient (m, V) of a block of a chunk's logits; adds each loss to values.

    The gradient is a zero without dimensions when no term reads a row of the block.
    """
    size, gradient = block.stop - block.start, None
    for i, ((chunk, rows), weight) in enumerate(zip(shares, weights, strict=True)):
        part = slice(bisect_left(rows, block.start), bisect_left(rows, block.stop))
        count = part.stop - part.start
        if count == 0:
            continue
        indices = torch.tensor(rows[part], device=logits.device)
        selected = logits[block] if count == size else logits[indices]
        loss, term_gradient = chunk(selected.to(torch.float32, copy=True), part)
        values[i] += loss
        term_gradient.mul_(weight)
        if count == size:
            gradient = term_gradient if gradient is None else gradient.add_(term_gradient)
            continue
        if gradient is None:
            gradient = term_gradient.new_zeros(size, term_gradient.shape[1])
        gradient.index_add_(0, indices - block.start, term_gradient)
    return logits.new_zeros(()) if gradient is None else gradient
