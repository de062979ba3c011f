"""The layers of a MobileBERT or IB-BERT start at least squares answers to their teacher's.

One layer after the other, each on what the layers before it make of a sample of text: what
progressive transfer does by gradients (Sun et al. 2020, section 3.3), in closed form.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from alembert.initialization.least_squares import least_squares, ridge, settle, unwhitened, whitened
from alembert.initialization.pca import factors, principal
from alembert.models import architectures
from alembert.models.architectures import anatomy, inputs_of, sharpness
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, no_grad_trace

WHY = "starting a bottlenecked student"
DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
AT_ONCE = 3  # layers of a teacher, kept in memory: reading them begins at the first layer each time


@dataclass(frozen=True)
class Seen:
    """What a teacher's layer did on the sample's N real tokens; queries and keys are unscaled.

    before, after (N, H); queries, keys, values, contexts (N, A * d): contexts are the heads' means
    of values, side by side; neurons (N, n) before their activation, the most active first.
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
    """Write least squares answers into the student's layers, in place.

    basis (H, S): what of the teacher's states the student's stream stands for. Layers of other
    numbers of heads than the teacher's, or wider inside than it, stay as they were drawn.
    """
    config, heads = student.config, int(teacher.config.num_attention_heads)
    inside = int(config.intra_bottleneck_size)
    if not config.use_bottleneck or config.num_attention_heads != heads or inside > len(basis):
        return
    with torch.no_grad():
        read = no_grad_trace(student, sample, Reads(hidden=frozenset({0})))
        stream = read.hidden[0].float()
        mask = sample["attention_mask"].bool()
        layers = list(architectures.layers(student, WHY))
        for start in range(0, len(layers), AT_ONCE):
            sources = [source for _, source in pairs[start : start + AT_ONCE]]
            for layer, seen in zip(layers[start:], _seen(teacher, sources, sample), strict=False):
                stream = _fit(layer, stream, mask, seen, basis, inside, heads)


def _seen(teacher: PreTrainedModel, numbers: list[int], sample: Batch) -> Iterator[Seen]:
    name = anatomy(teacher.config, WHY).copies[5:6] or ("intermediate.dense",)
    parts = [architectures.layers(teacher, WHY)[i - 1].get_submodule(name[0]) for i in numbers]
    caught: list[Tensor] = []
    handles = [part.register_forward_hook(lambda _, __, x: caught.append(x)) for part in parts]
    inputs = {k: sample[k] for k in (*inputs_of(teacher), "attention_mask") if k in sample}
    hidden = frozenset(i - before for i in numbers for before in (0, 1))
    left = no_grad_trace(teacher, inputs, Reads(hidden=hidden, attention=frozenset(numbers)))
    for handle in handles:
        handle.remove()
    real = sample["attention_mask"].bool()
    for i in numbers:
        q, k, v = (x[i].float() for x in (left.queries, left.keys, left.values))
        q = q * sharpness(teacher.config)
        neurons = caught.pop(0)[real].float()
        order = F.relu(neurons).std(dim=0).argsort(descending=True)
        before, after = (left.hidden[j][real].float() for j in (i - 1, i))
        rows = [_beside(x)[real] for x in (q, k, v, _attend(q, k, v, real))]
        yield Seen(before, after, rows[0], rows[1], rows[2], rows[3], neurons[:, order])


def _attend(queries: Tensor, keys: Tensor, values: Tensor, real: Tensor) -> Tensor:
    """The heads' means of values (B, A, T, d) over real tokens (B, T)."""
    return F.scaled_dot_product_attention(queries, keys, values, real[:, None, None, :])


def _beside(vectors: Tensor) -> Tensor:
    """(B, A, T, d) -> (B, T, A * d)."""
    return vectors.transpose(1, 2).flatten(2)


def _fit(
    layer: Any, stream: Tensor, real: Tensor, seen: Seen, basis: Tensor, inside: int,
    heads: int,
) -> Tensor:  # fmt: skip
    """Fit one layer on its stream (B, T, S); returns the next layer's."""
    there = _inside(seen, inside)
    rows = stream[real]
    there = _bottlenecks(layer, rows, seen, there)
    queries, keys, values, start = layer.bottleneck(stream)
    own = layer.attention.self
    _scores(own, queries[real], seen, heads)
    _values(own, values[real], seen, there[1] - start[real], heads)
    q, k, v = (
        part(x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for part, x in ((own.query, queries), (own.key, keys), (own.value, values))
    )
    context = _beside(_attend(q, k, v, real))
    output = layer.attention.output
    least_squares(output.dense, context[real], there[1] - start[real], *DAMPINGS)
    _plain(output, context[real], start[real])
    state: Tensor = output(context, start)[real]
    state = _feed_forward(layer, state, seen.neurons, there[1])
    return _widen(layer, stream, real, state, seen.after @ basis)


def _inside(seen: Seen, width: int) -> tuple[Tensor, Tensor]:
    """The teacher's states before and after, (N, width), as the narrow part should see them.

    Through the directions in which its states lie and in which they change, counted alike.
    """
    if width == seen.before.shape[1]:
        return seen.before, seen.after
    parts = [x - x.mean(dim=0) for x in (seen.before, seen.after, seen.after - seen.before)]
    found = principal(torch.cat([x / x.norm() for x in parts]), width)
    return seen.before @ found, seen.after @ found


def _bottlenecks(
    layer: Any, rows: Tensor, seen: Seen, there: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The ways into the narrow part; returns the states there that these ways lead to."""
    part = layer.bottleneck
    asked = torch.cat([seen.queries, seen.keys], dim=1)
    if part.use_bottleneck_attention:  # one way for all
        blocks = [x / (x - x.mean(dim=0)).norm() for x in (asked, seen.values, there[0])]
        _reduced(part.input, rows, torch.cat(blocks, dim=1))
        weight, bias = ridge(seen.before, part.input(rows), *DAMPINGS)
        return seen.before @ weight.T + bias, seen.after @ weight.T + bias
    least_squares(part.input.dense, rows, there[0], *DAMPINGS)
    _plain(part.input, rows)
    if part.key_query_shared_bottleneck:
        _reduced(part.attention, rows, asked)
    return there


def _reduced(bottleneck: Any, rows: Tensor, targets: Tensor) -> None:
    """The few combinations of rows (N, S) that say most of the targets: reduced-rank regression."""
    weight, _ = ridge(rows, targets, *DAMPINGS)
    dense = bottleneck.dense
    told = (rows - rows.mean(dim=0)) @ weight.T
    ways = principal(told, len(dense.weight)).T @ weight
    spread = ((rows - rows.mean(dim=0)) @ ways.T).std()
    dense.weight.copy_(ways / spread)
    dense.bias.copy_(-(ways / spread) @ rows.mean(dim=0))
    _plain(bottleneck, rows)


def _plain(part: Any, rows: Tensor, *residual: Tensor) -> None:
    """A norm with statistics is set to give, on the whole, what it is given."""
    if isinstance(norm := part.LayerNorm, nn.LayerNorm):
        given = sum(residual, part.dense(rows))
        settle(norm, norm(given), given)


def _scores(own: Any, rows: Tensor, seen: Seen, heads: int) -> None:
    """Each head's query-key product at the student's rank, best on the sample's tokens.

    What all keys have in common drops out of the softmax and is left out.
    """
    if len(own.query.weight) == seen.queries.shape[1]:
        least_squares(own.query, rows, seen.queries, *DAMPINGS)
        least_squares(own.key, rows, seen.keys, *DAMPINGS)
        return
    mean, lower = whitened(rows)
    query, query_bias = ridge(rows, seen.queries, *DAMPINGS)
    key, _ = ridge(rows, seen.keys, *DAMPINGS)
    student, teacher = (len(w) // heads for w in (own.query.weight, query))
    scale = math.sqrt(student / teacher)
    asking = torch.cat([query @ lower, (query @ mean + query_bias)[:, None]], dim=1)
    for head in range(heads):
        to = slice(head * student, (head + 1) * student)
        of = slice(head * teacher, (head + 1) * teacher)
        left, right = factors(asking[of].T @ (key[of] @ lower) * scale, student)
        weight = unwhitened(left[:-1].T, lower)
        own.query.weight[to], own.query.bias[to] = weight, left[-1] - weight @ mean
        own.key.weight[to] = weight = unwhitened(right, lower)
        own.key.bias[to] = -weight @ mean


def _values(own: Any, rows: Tensor, seen: Seen, wanted: Tensor, heads: int) -> None:
    """The values of each head that say most of what its context adds to `wanted` (N, I)."""
    if len(own.value.weight) == seen.values.shape[1]:
        least_squares(own.value, rows, seen.values, *DAMPINGS)
        return
    mean, lower = whitened(rows)
    value, _ = ridge(rows, seen.values, *DAMPINGS)
    out, _ = ridge(seen.contexts, wanted, *DAMPINGS)
    student, teacher = len(own.value.weight) // heads, len(value) // heads
    for head in range(heads):
        to = slice(head * student, (head + 1) * student)
        of = slice(head * teacher, (head + 1) * teacher)
        weight = unwhitened(factors(out[:, of] @ value[of] @ lower, student)[1], lower)
        own.value.weight[to], own.value.bias[to] = weight, -weight @ mean


def _feed_forward(layer: Any, state: Tensor, neurons: Tensor, aim: Tensor) -> Tensor:
    """Each network takes its share of the teacher's neurons and what the ones before left over."""
    stack: list[Any] = [*getattr(layer, "ffn", ()), layer]
    for number, part in enumerate(stack):
        first, output = part.intermediate.dense, part.output
        student = neurons[:, number :: len(stack)][:, : len(first.weight)]
        if student.shape[1]:  # a student with more neurons keeps the others as drawn
            weight, bias = ridge(state, student, *DAMPINGS)
            first.weight[: len(weight)] = weight
            first.bias[: len(bias)] = bias
        active = part.intermediate(state)
        least_squares(output.dense, active, aim - state, *DAMPINGS)
        _plain(output, active, state)
        following: Tensor = output.LayerNorm(output.dense(active) + state)
        state = following
    return state


def _widen(layer: Any, stream: Tensor, real: Tensor, state: Tensor, aim: Tensor) -> Tensor:
    """The way back (N, I) -> (N, S), beside a stream that each dimension keeps a share of."""
    part, rows = layer.output.bottleneck, stream[real]
    weight, bias = ridge(state, rows, *DAMPINGS)
    left = rows - state @ weight.T - bias  # of the stream, what the state does not say
    kept = (left * (aim - aim.mean(dim=0))).sum(dim=0) / left.square().sum(dim=0).clamp(min=1e-6)
    norm = part.LayerNorm
    kept = kept.clamp(0.3, 1.5)
    if isinstance(norm, nn.LayerNorm):
        kept = kept.mean().expand_as(kept)
    least_squares(part.dense, state, aim / kept - rows, *DAMPINGS)
    given = part.dense(state) + rows
    settle(norm, norm(given), aim)
    following = torch.zeros_like(stream)  # what padding holds reaches nobody
    following[real] = norm(given)
    return following
