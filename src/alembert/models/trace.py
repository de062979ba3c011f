"""One forward pass that computes only the tensors that an objective reads."""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.io.errors import UserError
from alembert.models.architectures import (
    anatomy,
    depth,
    ends,
    inputs_of,
    known,
    layers,
    vocabulary_matrix,
)
from alembert.models.logits import TopK, VocabularyLogits, logits_in

Batch = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Reads:
    """The tensors that an objective reads of a model. Layers count from 1; hidden[0]: embedding."""

    hidden: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()  # layers whose queries, keys and values are read
    logits: bool = False  # of a task head
    vocabulary: str = ""  # logits over the vocabulary: "" none, "masked" or "all" real tokens
    first: bool = False  # the first token after the last layer

    def __or__(self, other: "Reads") -> "Reads":
        rows = self.vocabulary, other.vocabulary
        return Reads(
            hidden=self.hidden | other.hidden,
            attention=self.attention | other.attention,
            logits=self.logits or other.logits,
            vocabulary="all" if "all" in rows else rows[0] or rows[1],
            first=self.first or other.first,
        )

    @property
    def deepest(self) -> int:
        """The last layer that has to run when no head is read."""
        return max(self.hidden | self.attention, default=0)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Tensors of one forward pass: hidden[k] (B, T, H); queries, keys, values[k] (B, A, T, d)."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    queries: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None  # (B, C), or (B, T, C) of tokens
    vocabulary: VocabularyLogits | None = None
    first: Tensor | None = None  # (B, H)
    next_sentence: Tensor | None = None  # logits (B, 2) of `first`: the next one, another
    top_k: TopK | None = None  # of a recorded teacher trace, in place of vocabulary

    def scaled(self, layer: int, heads: int | None = None) -> tuple[Tensor, Tensor]:
        """Queries / sqrt(d), and keys, (B, A, T, d): their products are unnormalised scores."""
        queries, keys = (split_heads(x[layer], heads) for x in (self.queries, self.keys))
        return queries / math.sqrt(queries.shape[-1]), keys

    def scores(self, layer: int) -> Tensor:
        """Unnormalised attention scores q k / sqrt(d), (B, A, T, T), no mask applied."""
        queries, keys = self.scaled(layer)
        return queries @ keys.transpose(-1, -2)


def split_heads(vectors: Tensor, heads: int | None) -> Tensor:
    """Concatenates the heads of (B, A, T, d) and splits them anew (MiniLMv2, section 3.1)."""
    if heads is None:
        return vectors
    joined: Tensor = vectors.transpose(1, 2).flatten(2)
    again: Tensor = joined.unflatten(2, (heads, -1)).transpose(1, 2)
    return again


def rows_selected(batch: Batch, rows: str) -> Tensor:
    """The positions (B, T), bool, whose rows count: the "masked" ones, or "all" real tokens."""
    return batch["labels"] != -100 if rows == "masked" else batch["attention_mask"].bool()


class _Stop(BaseException):
    """Raised by a hook to end a forward pass once all tensors are recorded; caught in this file."""


def trace(model: PreTrainedModel, batch: Batch, reads: Reads) -> Trace:
    """Runs `model` on a batch and returns the tensors that `reads` names.

    The batch has input_ids and attention_mask (B, T), token_type_ids if the model takes them, and,
    to read "masked" rows, labels (B, T) that are -100 where no token is masked. Without logits no
    head runs, and no layer after the deepest one read. Raises UserError naming an architecture
    that cannot be read.
    """
    if reads.first:
        last = depth(model.config)
        found = trace(model, batch, replace(reads, hidden=reads.hidden | {last}, first=False))
        kept = {layer: states for layer, states in found.hidden.items() if layer in reads.hidden}
        return replace(found, hidden=kept, first=found.hidden[last][:, 0])
    inputs = {name: batch[name] for name in inputs_of(model) if name in batch}
    if not known(model.config) and (reads.hidden or reads.attention):
        return _output_hidden_states(model, batch, inputs, reads)
    recorded = Trace()
    with ExitStack() as hooks:
        if reads.hidden or reads.attention:
            _add_hooks(model, reads, recorded, hooks)
        if reads.vocabulary:
            logits = _vocabulary_logits(model, batch, inputs, reads, hooks)
            return replace(recorded, vocabulary=logits)
        if reads.logits:
            return replace(recorded, logits=logits_in(model(**inputs)))
        if reads.hidden or reads.attention:
            _run(model.base_model, inputs)
    return recorded


def _run(model: nn.Module, inputs: dict[str, Tensor]) -> None:
    try:
        model(**inputs)
    except _Stop:
        return


def _add_hooks(model: PreTrainedModel, reads: Reads, recorded: Trace, hooks: ExitStack) -> None:
    """Adds hooks to the layers; the deepest one read ends the pass when no head follows."""
    why = "a term that reads hidden states or attention"
    parts_of, blocks = anatomy(model.config, why), layers(model, why)
    deepest = -1 if reads.logits or reads.vocabulary else reads.deepest
    heads, fused = model.config.num_attention_heads, len(set(parts_of.attention)) == 1
    layer = 0  # the number of the running layer; a shared one runs several times

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal layer
        if layer == 0 and 0 in reads.hidden:
            recorded.hidden[0] = args[0] if args else kwargs["hidden_states"]
            if deepest == 0:
                raise _Stop
        layer += 1

    def leave(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        if layer in reads.hidden:
            recorded.hidden[layer] = output if isinstance(output, Tensor) else output[0]
        if layer == deepest:
            raise _Stop

    def split_heads(index: int, store: dict[int, Tensor]) -> Callable[..., None]:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
            if layer in reads.attention and layer not in store:  # DeBERTa projects positions next
                part = output.chunk(3, dim=-1)[index] if fused else output
                store[layer] = part.unflatten(-1, (heads, -1)).transpose(1, 2)

        return hook

    for block in dict.fromkeys(blocks):
        handles = [block.register_forward_pre_hook(enter, with_kwargs=True)]
        if reads.attention:
            stores = (recorded.queries, recorded.keys, recorded.values)
            for index, (name, store) in enumerate(zip(parts_of.attention, stores, strict=True)):
                part = block.get_submodule(name)
                handles.append(part.register_forward_hook(split_heads(index, store)))
        for handle in handles:
            hooks.callback(handle.remove)
    for end in dict.fromkeys(ends(model, why)):
        hooks.callback(end.register_forward_hook(leave).remove)


def _vocabulary_logits(
    model: PreTrainedModel, batch: Batch, inputs: dict[str, Tensor], reads: Reads, hooks: ExitStack
) -> VocabularyLogits:
    """The decoder's input at the rows that count; the loss applies the decoder."""
    selected = rows_selected(batch, reads.vocabulary)
    rows: list[Tensor] = []

    def select(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][selected], *args[1:])

    def leave_output(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        rows.append(output)
        raise _Stop

    def leave_input(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        rows.append(args[0][selected])
        raise _Stop

    weight, bias = vocabulary_matrix(model)
    if known(model.config):
        first, last = anatomy(model.config, "soft labels over the vocabulary").transform
        hooks.callback(model.get_submodule(first).register_forward_pre_hook(select).remove)
        hooks.callback(model.get_submodule(last).register_forward_hook(leave_output).remove)
    else:
        decoder = model.get_output_embeddings()
        hooks.callback(decoder.register_forward_pre_hook(leave_input).remove)
    _run(model, inputs)
    if not rows:
        raise UserError(
            f"soft labels over the vocabulary cannot read the head of '{model.config.model_type}'"
        )
    return VocabularyLogits(rows[0], weight, bias, selected)


def _output_hidden_states(
    model: PreTrainedModel, batch: Batch, inputs: dict[str, Tensor], reads: Reads
) -> Trace:
    """The trace of an architecture outside the table, by transformers' output_hidden_states."""
    if reads.attention:
        anatomy(model.config, "an attention term")  # raises, naming the architecture
    with ExitStack() as hooks:
        if reads.vocabulary:
            seen: list[tuple[Tensor, ...]] = []
            catch = lambda _, __, output: seen.append(output.hidden_states)  # noqa: E731
            hooks.callback(model.base_model.register_forward_hook(catch).remove)
            inputs = {**inputs, "output_hidden_states": True}  # type: ignore[dict-item]
            vocabulary = _vocabulary_logits(model, batch, inputs, reads, hooks)
            return Trace(hidden={k: seen[0][k] for k in reads.hidden}, vocabulary=vocabulary)
        body = model if reads.logits else model.base_model
        output = body(**inputs, output_hidden_states=True)
    hidden = {k: output.hidden_states[k] for k in reads.hidden}
    return Trace(hidden=hidden, logits=logits_in(output) if reads.logits else None)


def no_grad_trace(model: PreTrainedModel, batch: Batch, reads: Reads) -> Trace:
    """The trace of a model in eval mode (without dropout) and without gradients."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        recorded = trace(model, batch, reads)
    model.train(was_training)
    return recorded
