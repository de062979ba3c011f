"""Attention that is not the slowest part of a small student's step on a CPU.

PyTorch's fused attention takes 3 to 10 times as long backward in bf16 as in fp32 for texts up to
128 tokens: it is fused in fp32. With dropout nothing is fused and all is fp32. There the scores are
made in fp32, their softmax is rounded to bf16, and every other product is one of bf16.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa-fast-on-cpu"
BLOCK = 2**19  # scores made at a time: 2 MB of fp32 stay in a core's cache
DRAWS = 2**16  # dropout's random numbers have 16 bits


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' sdpa (query, key, value (B, A, T, d)), on a CPU under bf16 autocast by ours."""
    dropout = float(options.get("dropout") or 0.0)
    if not query.requires_grad or not _bf16(query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if not dropout or not _plain(module, query, key, attention_mask, options):
        with torch.autocast("cpu", enabled=False):
            parts = (query.float(), key.float(), value.float())
            found, _ = sdpa_attention_forward(module, *parts, attention_mask, **options)
        return found.to(query.dtype), None
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    made: Tensor = _Attention.apply(query, key, value, attention_mask, scale, dropout)  # type: ignore[no-untyped-call]
    return made.transpose(1, 2).contiguous(), None


def _bf16(query: Tensor) -> bool:
    """Whether a model computes in bf16 on a CPU, by autocast."""
    by_autocast = torch.is_autocast_enabled("cpu") and query.device.type == "cpu"
    return by_autocast and query.dtype == torch.get_autocast_dtype("cpu") == torch.bfloat16


def _plain(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> bool:
    """Whether tokens attend to one another by a bool mask or none: nothing causal, no bias."""
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
            keep = _kept(weights.shape, dropout) if dropout else None
            out = _dropped(weights, keep, dropout) @ value
        ctx.save_for_backward(query, key, value, weights, keep, out)
        ctx.scale, ctx.dropout = scale, dropout
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """With D = dropped weights: sum_j dD D = dO . O, so nothing (T, T) is added up."""
        query, key, value, weights, keep, out = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            d_value = _dropped(weights, keep, ctx.dropout).mT @ upstream
            d_scores = _dropped(upstream @ value.mT, keep, ctx.dropout)
            total = (upstream.float() * out.float()).sum(dim=-1, keepdim=True)
            d_scores = d_scores.sub_(total).mul_(weights)
            d_query = (d_scores @ key).mul_(ctx.scale)
            d_key = (d_scores.mT @ query).mul_(ctx.scale)
        return d_query, d_key, d_value, None, None, None


def _softmax(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(q k^T scale) (B, A, T, T), a few texts at a time; the mask (B, 1, T, T) is bool."""
    texts, heads, tokens, _ = query.shape
    found = query.new_empty(texts, heads, tokens, tokens)
    size = max(BLOCK // (heads * tokens * tokens), 1) * torch.get_num_threads()
    for start in range(0, texts, size):
        part = slice(start, start + size)
        scores = (query[part].float() * scale) @ key[part].float().mT
        if mask is not None:
            here = mask[part] if len(mask) > 1 else mask
            scores.masked_fill_(~here, torch.finfo(scores.dtype).min)
        found[part] = torch.softmax(scores, dim=-1)
    return found


def _kept(shape: torch.Size, dropout: float) -> Tensor:
    """What dropout leaves, bool; one draw of 64 bits is four numbers."""
    draws = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    numbers = draws.view(torch.int16)[: shape.numel()].view(shape)
    return numbers >= round(dropout * DRAWS) - DRAWS // 2


def _dropped(values: Tensor, keep: Tensor | None, dropout: float) -> Tensor:
    """The values that are left, made larger so that their mean stays; all of them without keep."""
    if keep is None:
        return values
    return (values * keep).mul_(1 / (1 - round(dropout * DRAWS) / DRAWS))


def use_fused(model: PreTrainedModel) -> None:
    """Let a model that runs transformers' sdpa run this one; others stay as they are."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
