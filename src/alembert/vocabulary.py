"""Losses over the vocabulary in chunks of rows, their gradient made in the forward pass.

Logits of all tokens, (N, V) for student and teacher, would be the largest tensors of a step. Here a
chunk of rows at a time meets the vocabulary, gives its share of the loss and of the gradient, and
is gone (the idea of Liger-Kernel's fused linear cross entropy).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK = 512  # rows: large enough for the matrix product's full speed, 62 MB of fp32 at V = 30,522

# (student logits (n, V) fp32, owned by the callee; first and last row) -> loss (), gradient (n, V)
ChunkLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Vocabulary:
    """Logits that have not been made: logits = rows @ weight.T + bias.

    rows (N, H) enter the decoder, weight (V, H), bias (V,) or None. Row i stands at the i-th True
    of selected (B, T).
    """

    rows: Tensor
    weight: Tensor
    bias: Tensor | None
    selected: Tensor

    def logits(self, part: slice | Tensor = slice(None)) -> Tensor:
        """The logits (n, V) of some rows, in autocast's precision."""
        return torch.nn.functional.linear(self.rows[part], self.weight, self.bias)

    def only(self, where: Tensor) -> "Vocabulary":
        """The same at fewer places: where (B, T) bool, a subset of selected."""
        return Vocabulary(self.rows[where[self.selected]], self.weight, self.bias, where)

    def detach(self) -> "Vocabulary":
        """The same without gradient, its matrix already in autocast's precision."""
        dtype = _compute_dtype(self.weight)
        bias = None if self.bias is None else self.bias.detach().to(dtype)
        weight = self.weight.detach().to(dtype)
        return Vocabulary(self.rows.detach().to(dtype), weight, bias, self.selected)


def soft_labels(student: Vocabulary, teacher: Vocabulary, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student), sum over V, mean over N (DistilBERT, L_ce); 0 when N is 0."""
    frozen = teacher.detach()
    scale = temperature / max(len(student.rows), 1)

    def chunk(logits: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        return _soft(logits, frozen.logits(part).float(), temperature, scale)

    return by_chunks(student, chunk)


def hard_labels(student: Vocabulary, labels: Tensor) -> Tensor:
    """Cross entropy of the rows with word ids labels (N,), mean over N (L_mlm); 0 when N is 0."""
    count = max(len(labels), 1)

    def chunk(logits: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        target = labels[part].unsqueeze(1)
        log_probability = torch.log_softmax(logits, dim=-1)
        loss = -log_probability.gather(1, target).sum() / count
        gradient = log_probability.exp_()
        gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=gradient.dtype))
        return loss, gradient.div_(count)

    return by_chunks(student, chunk)


def logits_mse(student: Vocabulary, teacher: Vocabulary) -> Tensor:
    """Squared error of logits, sum over N and V, divided by N (DistilBERT's optional L_mse)."""
    frozen, count = teacher.detach(), max(len(student.rows), 1)

    def chunk(logits: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        gap = logits.sub_(frozen.logits(part).float())
        return gap.square().sum() / count, gap.mul_(2 / count)

    return by_chunks(student, chunk)


def _soft(s: Tensor, t: Tensor, temperature: float, scale: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient of one chunk; with x = logits / T: KL = p_t (t - s) - lse(t) + lse(s)."""
    p_s, lse_s = softmax(s.div_(temperature))
    p_t, lse_t = softmax(t.div_(temperature))
    kl = torch.linalg.vecdot(p_t, t) - torch.linalg.vecdot(p_t, s) - lse_t + lse_s
    return kl.sum() * temperature * scale, p_s.sub_(p_t).mul_(scale)


def softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (n, V) and the logarithm of their divisor (n,)."""
    probabilities = torch.softmax(logits, dim=-1)
    # the largest probability is exp(top - lse): one more reduction instead of a second exp pass
    return probabilities, logits.amax(dim=-1) - probabilities.amax(dim=-1).log()


def by_chunks(student: Vocabulary, chunk: ChunkLoss) -> Tensor:
    """The sum over all chunks of the student's rows, (); its gradient is ready."""
    loss: Tensor = _Chunked.apply(student.rows, student.weight, student.bias, chunk)  # type: ignore[no-untyped-call]
    return loss


def _compute_dtype(like: Tensor) -> torch.dtype:
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, chunk: ChunkLoss
    ) -> Tensor:
        dtype = _compute_dtype(weight)
        back = torch.float32 if dtype == torch.float16 else dtype  # a share of 1/N is 0 in fp16
        rows_low, weight_low = rows.to(dtype), weight.to(dtype)
        need_rows, need_weight, need_bias, _ = ctx.needs_input_grad
        d_rows = torch.zeros_like(rows) if need_rows else None
        d_weight = torch.zeros_like(weight) if need_weight else None
        d_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        loss = torch.zeros((), dtype=torch.float32, device=rows.device)
        with torch.autocast(rows.device.type, enabled=False):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                low = None if bias is None else bias.to(dtype)
                logits = torch.nn.functional.linear(rows_low[part], weight_low, low).float()
                value, gradient = chunk(logits, part)
                loss += value
                low_gradient = gradient.to(back)
                if d_rows is not None:
                    d_rows[part] = low_gradient @ weight_low.to(back)
                if d_weight is not None:
                    d_weight += low_gradient.T @ rows_low[part].to(back)
                if d_bias is not None:
                    d_bias += gradient.sum(dim=0)
        ctx.gradients = (d_rows, d_weight, d_bias)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if g is None else g * upstream.to(g.dtype) for g in ctx.gradients]
        return (*scaled, None)
