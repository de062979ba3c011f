"""Computes a model's logits on encoded rows, and its perplexity on masked tokens of a corpus."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alembert.data.collate import Masking, pad
from alembert.data.corpus.corpus import Corpus
from alembert.data.encoded import IGNORED, Encoded
from alembert.evaluation.metrics import Logits
from alembert.io.progress import Work
from alembert.models.architectures import inputs_of
from alembert.models.logits import logits_in

Forward = Callable[[dict[str, Tensor]], NDArray[np.float32]]
MaskedForward = Callable[[dict[str, Tensor], Tensor], NDArray[np.float32] | Tensor]


def predict(
    model: nn.Module | Forward,
    data: Encoded,
    pad_token_id: int,
    batch_size: int = 64,
    title: str = "predicting",
) -> Logits:
    """Logits in float32, texts in the order of the data: (N, C), or for tags N arrays (T, C).

    Those of a text's windows are joined; of questions each window has its own.

    model is a torch model, whose mode and device stay unchanged, or maps a padded batch to logits
    (B, C) or (B, T, C). Rows of similar length share a batch; `title` says whose answers they are
    while they are computed.
    """
    forward: Forward = partial(_forward, model) if isinstance(model, nn.Module) else model
    order = np.argsort(data.lengths, kind="stable")[::-1].tolist()
    logits: list[Any] = [None] * len(order)
    with _evaluating(model), Work(title, len(order), "texts") as work:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = pad([data[i] for i in rows], pad_token_id)
            for i, row in zip(rows, forward(batch), strict=True):
                logits[i] = row[: data.lengths[i]] if data.per_token else row
            work.update(len(rows))
    joined: Logits = data.joined(logits)
    return joined


def _forward(model: nn.Module, batch: dict[str, Tensor]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = logits_in(model(**_inputs(model, batch))).float().cpu().numpy()
    return logits


@contextmanager
def _evaluating(model: nn.Module | Callable[..., Any]) -> Iterator[None]:
    """Eval mode, no gradients and fp32 within; the mode of a torch model is restored afterwards."""
    if not isinstance(model, nn.Module):
        yield
        return
    training = model.training
    model.eval()
    device = next(model.parameters()).device.type
    try:
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            yield
    finally:
        model.train(training)


def _inputs(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of a batch that this model reads, on its device."""
    device = next(model.parameters()).device
    return {name: batch[name].to(device) for name in inputs_of(model) if name in batch}


def evaluate_masked_words(
    model: nn.Module | MaskedForward,
    corpus: Corpus,
    masking: Masking,
    pad_token_id: int,
    sequences: int = 2000,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, float]:
    """The MLM scores on a corpus: perplexity, top1 (accuracy) and tokens (the number masked).

    model is a torch model, or maps a batch and its masked positions (B, T) to logits (N, V). The
    same seed masks the same tokens of the same sequences for every model.
    """
    forward: MaskedForward = partial(logits_at, model) if isinstance(model, nn.Module) else model
    sample = np.random.default_rng(seed).permutation(len(corpus))[:sequences].tolist()
    by_length = sorted(sample, key=lambda i: corpus.lengths[i])
    generator = torch.Generator().manual_seed(seed)
    loss, correct, tokens = 0.0, 0, 0
    with _evaluating(model), Work("masked words", len(by_length), "sequences") as work:
        for start in range(0, len(by_length), batch_size):
            rows = [corpus[i] for i in by_length[start : start + batch_size]]
            batch = masking(pad(rows, pad_token_id), generator)
            labels = batch["labels"][batch["labels"] != IGNORED]
            logits = torch.as_tensor(forward(batch, batch["labels"] != IGNORED)).cpu()
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(1) == labels).sum())
            tokens += len(labels)
            work.update(len(rows))
    return {"perplexity": math.exp(loss / tokens), "top1": correct / tokens, "tokens": tokens}


@contextmanager
def mlm_head_at(body: nn.Module, rows: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block, the head on `body` reads only rows (N, H) of hidden states (B, T, H)."""

    def select(module: nn.Module, _: Any, output: Any) -> Any:
        output.last_hidden_state = rows(output.last_hidden_state)[None]
        return output

    hook = body.register_forward_hook(select)
    try:
        yield
    finally:
        hook.remove()


def logits_at(model: nn.Module, batch: dict[str, Tensor], positions: Tensor) -> Tensor:
    """The logits (N, V) at positions (B, T), bool; the head computes no others."""
    body = getattr(model, getattr(model, "base_model_prefix", ""), None)
    if body is None:
        logits: Tensor = model(**_inputs(model, batch)).logits[positions].float()
        return logits
    with mlm_head_at(body, lambda hidden: hidden[positions.to(hidden.device)]):
        logits = model(**_inputs(model, batch)).logits[0].float()
    return logits


def logits_of(model: nn.Module, batch: dict[str, Tensor], positions: Tensor) -> Tensor:
    """logits_at for positions (N,) as an exported graph takes them: b * T + t, ascending."""
    mask = torch.zeros(batch["input_ids"].shape, dtype=torch.bool)
    mask.view(-1)[positions] = True
    return logits_at(model, batch, mask)
