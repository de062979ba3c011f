"""Fits the layers of a MobileBERT or IB-BERT to its teacher's by least squares.

Layers are fitted one after the other, each on the outputs of the fitted layers below it for a
sample of text: progressive transfer (Sun et al. 2020, section 3.3) in closed form.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from alembert.initialization.least_squares import (
    assign,
    least_squares,
    rescale,
    ridge,
    rows_of_heads,
    unwhiten,
    whiten,
)
from alembert.initialization.pca import factors, principal
from alembert.models import architectures
from alembert.models.architectures import anatomy, inputs_of, sharpness
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, no_grad_trace

if TYPE_CHECKING:
    from transformers.models.mobilebert import modeling_mobilebert as mobilebert

    Layer = mobilebert.MobileBertLayer
    Attention = mobilebert.MobileBertSelfAttention
    Normed = (
        mobilebert.BottleneckLayer
        | mobilebert.FFNOutput
        | mobilebert.MobileBertOutput
        | mobilebert.MobileBertSelfOutput
    )

WHY = "starting a bottlenecked student"
DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
AT_ONCE = 3  # teacher layers held in memory; each batch of them costs a forward pass from layer 1


@dataclass(frozen=True, kw_only=True)
class LayerActivations:
    """A teacher layer's activations at the sample's N real tokens; queries and keys are unscaled.

    before and after (N, H) are hidden states; queries, keys, values and contexts (N, A * d) have
    the heads side by side, and contexts are the attention outputs; neurons (N, n) are feed-forward
    pre-activations, the most active first.
    """

    before: Tensor
    after: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor
    contexts: Tensor
    neurons: Tensor


def fit_layers(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Pairs, basis: Tensor, sample: Batch
) -> None:
    """Fits the student's layers by least squares, in place.

    basis (H, S) projects the teacher's hidden states to those of the student. Layers with another
    number of heads than the teacher's, or a wider bottleneck than its hidden size, stay random.
    """
    config, heads = student.config, int(teacher.config.num_attention_heads)
    inside = int(config.intra_bottleneck_size)
    if not config.use_bottleneck or config.num_attention_heads != heads or inside > len(basis):
        return
    with torch.no_grad():
        trace = no_grad_trace(student, sample, Reads(hidden=frozenset({0})))
        stream = trace.hidden[0].float()
        mask = sample["attention_mask"].bool()
        layers: list[Any] = list(architectures.layers(student, WHY))
        for start in range(0, len(layers), AT_ONCE):
            sources = [source for _, source in pairs[start : start + AT_ONCE]]
            targets = _activations(teacher, sources, sample)
            for layer, acts in zip(layers[start:], targets, strict=False):
                stream = _fit(layer, stream, mask, acts, basis, inside, heads)


def _activations(
    teacher: PreTrainedModel, numbers: list[int], sample: Batch
) -> Iterator[LayerActivations]:
    name = anatomy(teacher.config, WHY).copies[5:6] or ("intermediate.dense",)
    parts = [architectures.layers(teacher, WHY)[i - 1].get_submodule(name[0]) for i in numbers]
    captured: list[Tensor] = []
    handles = [part.register_forward_hook(lambda _, __, x: captured.append(x)) for part in parts]
    inputs = {k: sample[k] for k in (*inputs_of(teacher), "attention_mask") if k in sample}
    hidden = frozenset(i - before for i in numbers for before in (0, 1))
    trace = no_grad_trace(teacher, inputs, Reads(hidden=hidden, attention=frozenset(numbers)))
    for handle in handles:
        handle.remove()
    real = sample["attention_mask"].bool()
    for i in numbers:
        q, k, v = (x[i].float() for x in (trace.queries, trace.keys, trace.values))
        q = q * sharpness(teacher.config)
        neurons = captured.pop(0)[real].float()
        order = F.relu(neurons).std(dim=0).argsort(descending=True)
        before, after = (trace.hidden[j][real].float() for j in (i - 1, i))
        rows = [_concat_heads(x)[real] for x in (q, k, v, _attend(q, k, v, real))]
        yield LayerActivations(
            before=before,
            after=after,
            queries=rows[0],
            keys=rows[1],
            values=rows[2],
            contexts=rows[3],
            neurons=neurons[:, order],
        )


def _attend(queries: Tensor, keys: Tensor, values: Tensor, real: Tensor) -> Tensor:
    """Attention outputs (B, A, T, d) over real tokens (B, T)."""
    return F.scaled_dot_product_attention(queries, keys, values, real[:, None, None, :])


def _concat_heads(vectors: Tensor) -> Tensor:
    """(B, A, T, d) -> (B, T, A * d)."""
    return vectors.transpose(1, 2).flatten(2)


def _fit(
    layer: "Layer", stream: Tensor, real: Tensor, acts: LayerActivations, basis: Tensor,
    inside: int, heads: int,
) -> Tensor:  # fmt: skip
    """Fits one layer on its input (B, T, S) and returns its output, the next layer's input."""
    inner = _inside(acts, inside)
    inner = _bottlenecks(layer, stream[real], acts, inner)
    queries, keys, values, start = layer.bottleneck(stream)
    attn = layer.attention.self
    _scores(attn, queries[real], acts, heads)
    _values(attn, values[real], acts, inner[1] - start[real], heads)
    q, k, v = (
        part(x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for part, x in ((attn.query, queries), (attn.key, keys), (attn.value, values))
    )
    context = _concat_heads(_attend(q, k, v, real))
    output = layer.attention.output
    least_squares(output.dense, context[real], inner[1] - start[real], *DAMPINGS)
    _match_norm(output, context[real], start[real])
    state: Tensor = output(context, start)[real]
    state = _feed_forward(layer, state, acts.neurons, inner[1])
    return _widen(layer, stream, real, state, acts.after @ basis)


def _inside(acts: LayerActivations, width: int) -> tuple[Tensor, Tensor]:
    """The teacher's states before and after a layer, projected to the bottleneck: (N, width) each.

    The projection is the principal components of the two states and their difference, each
    weighted alike.
    """
    if width == acts.before.shape[1]:
        return acts.before, acts.after
    parts = [x - x.mean(dim=0) for x in (acts.before, acts.after, acts.after - acts.before)]
    components = principal(torch.cat([x / x.norm() for x in parts]), width)
    return acts.before @ components, acts.after @ components


def _bottlenecks(
    layer: "Layer", rows: Tensor, acts: LayerActivations, inner: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Fits the input bottlenecks and returns the target states inside, before and after."""
    part = layer.bottleneck
    query_key = torch.cat([acts.queries, acts.keys], dim=1)
    if part.use_bottleneck_attention:  # one projection for queries, keys, values and states
        blocks = [x / (x - x.mean(dim=0)).norm() for x in (query_key, acts.values, inner[0])]
        _reduced_rank(part.input, rows, torch.cat(blocks, dim=1))
        weight, bias = ridge(acts.before, part.input(rows), *DAMPINGS)
        return acts.before @ weight.T + bias, acts.after @ weight.T + bias
    least_squares(part.input.dense, rows, inner[0], *DAMPINGS)
    _match_norm(part.input, rows)
    if part.key_query_shared_bottleneck:
        _reduced_rank(part.attention, rows, query_key)
    return inner


def _reduced_rank(bottleneck: "mobilebert.BottleneckLayer", rows: Tensor, targets: Tensor) -> None:
    """Fits a bottleneck by reduced-rank regression of the targets on rows (N, S)."""
    weight, _ = ridge(rows, targets, *DAMPINGS)
    dense = bottleneck.dense
    fitted = (rows - rows.mean(dim=0)) @ weight.T
    projection = principal(fitted, len(dense.weight)).T @ weight
    spread = ((rows - rows.mean(dim=0)) @ projection.T).std()
    assign(dense, projection / spread, -(projection / spread) @ rows.mean(dim=0))
    _match_norm(bottleneck, rows)


def _match_norm(part: "Normed", rows: Tensor, *residual: Tensor) -> None:
    """Sets a LayerNorm so that its outputs have the mean and spread of its inputs."""
    if isinstance(norm := part.LayerNorm, nn.LayerNorm):
        sums = sum(residual, part.dense(rows))
        rescale(norm, norm(sums), sums)


def _scores(attn: "Attention", rows: Tensor, acts: LayerActivations, heads: int) -> None:
    """Fits each head's query-key product at the student's rank, best on the sample's tokens.

    A term that all keys share cancels in the softmax and is left out.
    """
    if len(attn.query.weight) == acts.queries.shape[1]:
        least_squares(attn.query, rows, acts.queries, *DAMPINGS)
        least_squares(attn.key, rows, acts.keys, *DAMPINGS)
        return
    mean, lower = whiten(rows)
    query, query_bias = ridge(rows, acts.queries, *DAMPINGS)
    key, _ = ridge(rows, acts.keys, *DAMPINGS)
    student, teacher = (len(w) // heads for w in (attn.query.weight, query))
    scale = math.sqrt(student / teacher)
    queries = torch.cat([query @ lower, (query @ mean + query_bias)[:, None]], dim=1)
    for to, source in rows_of_heads(heads, student, teacher):
        left, right = factors(queries[source].T * scale, key[source] @ lower, student)
        weight = unwhiten(left[:-1].T, lower)
        attn.query.weight[to], attn.query.bias[to] = weight, left[-1] - weight @ mean
        attn.key.weight[to] = weight = unwhiten(right, lower)
        attn.key.bias[to] = -weight @ mean


def _values(
    attn: "Attention",
    rows: Tensor,
    acts: LayerActivations,
    targets: Tensor,
    heads: int,
) -> None:
    """Fits each head's values at the student's rank, best for its context's part of `targets`."""
    if len(attn.value.weight) == acts.values.shape[1]:
        least_squares(attn.value, rows, acts.values, *DAMPINGS)
        return
    mean, lower = whiten(rows)
    value, _ = ridge(rows, acts.values, *DAMPINGS)
    out, _ = ridge(acts.contexts, targets, *DAMPINGS)
    student, teacher = len(attn.value.weight) // heads, len(value) // heads
    for to, source in rows_of_heads(heads, student, teacher):
        weight = unwhiten(factors(out[:, source], value[source] @ lower, student)[1], lower)
        attn.value.weight[to], attn.value.bias[to] = weight, -weight @ mean


def _feed_forward(layer: "Layer", state: Tensor, neurons: Tensor, aim: Tensor) -> Tensor:
    """Regresses a share of the teacher's neurons in each network, and the residual of those before.

    Takes states (N, I), neurons (N, n) and target states (N, I); returns the fitted states (N, I).
    """
    stack: list[Layer | mobilebert.FFNLayer] = [*getattr(layer, "ffn", ()), layer]
    for number, part in enumerate(stack):
        first, output = part.intermediate.dense, part.output
        student = neurons[:, number :: len(stack)][:, : len(first.weight)]
        if student.shape[1]:  # a student with more neurons keeps the others as drawn
            weight, bias = ridge(state, student, *DAMPINGS)
            first.weight[: len(weight)] = weight
            first.bias[: len(bias)] = bias
        active = part.intermediate(state)
        least_squares(output.dense, active, aim - state, *DAMPINGS)
        _match_norm(output, active, state)
        next_state: Tensor = output.LayerNorm(output.dense(active) + state)
        state = next_state
    return state


def _widen(layer: "Layer", stream: Tensor, real: Tensor, state: Tensor, aim: Tensor) -> Tensor:
    """Fits the output bottleneck (N, I) -> (N, S), which is added to a share of the layer's input.

    Returns the layer's output (B, T, S); it is zero at padding.
    """
    part, rows = layer.output.bottleneck, stream[real]
    weight, bias = ridge(state, rows, *DAMPINGS)
    residual = rows - state @ weight.T - bias  # not explained by the state
    variance = residual.square().sum(dim=0).clamp(min=1e-6)
    share = ((residual * (aim - aim.mean(dim=0))).sum(dim=0) / variance).clamp(0.3, 1.5)
    norm = part.LayerNorm
    if isinstance(norm, nn.LayerNorm):
        share = share.mean().expand_as(share)
    least_squares(part.dense, state, aim / share - rows, *DAMPINGS)
    sums = part.dense(state) + rows
    rescale(norm, norm(sums), aim)
    next_stream = torch.zeros_like(stream)  # padding is masked wherever it is read
    next_stream[real] = norm(sums)
    return next_stream
