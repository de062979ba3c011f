"""Faster attention for training in bf16 on a CPU.

The backward pass of PyTorch's fused attention takes 3 to 10 times as long in bf16 as in fp32 for
texts up to 128 tokens, so we call it in fp32. With dropout PyTorch fuses nothing and computes in
fp32; there we compute scores in fp32, round their softmax to bf16, and multiply in bf16.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa-fast-on-cpu"
BLOCK = 2**19  # scores computed at a time: 2 MB of fp32 stay in a core's cache
DRAWS = 2**16  # dropout's random numbers have 16 bits


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of query, key, value (B, A, T, d): ours for bf16 on a CPU, else transformers'."""
    dropout = float(options.get("dropout") or 0.0)
    if not query.requires_grad or not _bf16(query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if not dropout or not _plain(module, query, key, attention_mask, options):
        with torch.autocast("cpu", enabled=False):
            parts = (query.float(), key.float(), value.float())
            output, _ = sdpa_attention_forward(module, *parts, attention_mask, **options)
        return output.to(query.dtype), None
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    result: Tensor = _Attention.apply(query, key, value, attention_mask, scale, dropout)  # type: ignore[no-untyped-call]
    return result.transpose(1, 2).contiguous(), None


def _bf16(query: Tensor) -> bool:
    """Whether a query is computed in bf16 on a CPU, under autocast."""
    by_autocast = torch.is_autocast_enabled("cpu") and query.device.type == "cpu"
    return by_autocast and query.dtype == torch.get_autocast_dtype("cpu") == torch.bfloat16


def _plain(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> bool:
    """Whether attention is bidirectional self-attention with a bool mask or none, and no bias."""
    if query.shape != key.shape or options.get("position_bias") is not None:
        return False
    return mask.dtype == torch.bool if mask is not None else not getattr(module, "is_causal", True)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float,
        dropout: float,
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            weights = _softmax(query, key, mask, scale)
            keep = _keep_mask(weights.shape, dropout) if dropout else None
            out = _apply_dropout(weights, keep, dropout) @ value
        ctx.save_for_backward(query, key, value, weights, keep, out)
        ctx.scale, ctx.dropout = scale, dropout
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Sums no (T, T): sum_j dW_j W_j = dO . O, where W are the weights after dropout."""
        query, key, value, weights, keep, out = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            d_value = _apply_dropout(weights, keep, ctx.dropout).mT @ upstream
            d_scores = _apply_dropout(upstream @ value.mT, keep, ctx.dropout)
            total = (upstream.float() * out.float()).sum(dim=-1, keepdim=True)
            d_scores = d_scores.sub_(total).mul_(weights)
            d_query = (d_scores @ key).mul_(ctx.scale)
            d_key = (d_scores.mT @ query).mul_(ctx.scale)
        return d_query, d_key, d_value, None, None, None


def _softmax(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(q k^T scale), (B, A, T, T), a few texts at a time; the mask (B, 1, T, T) is bool."""
    texts, heads, tokens, _ = query.shape
    probabilities = query.new_empty(texts, heads, tokens, tokens)
    size = max(BLOCK // (heads * tokens * tokens), 1) * torch.get_num_threads()
    for start in range(0, texts, size):
        part = slice(start, start + size)
        scores = (query[part].float() * scale) @ key[part].float().mT
        if mask is not None:
            texts_mask = mask[part] if len(mask) > 1 else mask
            scores.masked_fill_(~texts_mask, torch.finfo(scores.dtype).min)
        probabilities[part] = torch.softmax(scores, dim=-1)
    return probabilities


def _keep_mask(shape: torch.Size, dropout: float) -> Tensor:
    """The bool mask of values that dropout keeps; one draw of 64 bits gives four numbers."""
    draws = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    numbers = draws.view(torch.int16)[: shape.numel()].view(shape)
    return numbers >= round(dropout * DRAWS) - DRAWS // 2


def _apply_dropout(values: Tensor, keep: Tensor | None, dropout: float) -> Tensor:
    """Drops values and scales the others so that the mean stays; returns all without `keep`."""
    if keep is None:
        return values
    return (values * keep).mul_(1 / (1 - round(dropout * DRAWS) / DRAWS))


def use_fused(model: PreTrainedModel) -> None:
    """Switches a model from transformers' sdpa to this attention; other kinds stay unchanged."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
