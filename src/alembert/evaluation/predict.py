"""A model and encoded rows -> predictions and metrics; a model and a corpus -> perplexity."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from alembert.data.collate import Masking, pad
from alembert.data.corpus.corpus import Corpus
from alembert.data.encoded import IGNORED, Encoded
from alembert.evaluation.metrics import Logits
from alembert.models.architectures import inputs_of


def predict(
    model: nn.Module,
    data: Encoded,
    pad_token_id: int,
    batch_size: int = 64,
    progress: str | None = None,
) -> Logits:
    """What `ask` gives of a model in torch; the model keeps its mode and its device."""

    def answer(batch: dict[str, Tensor]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model(**_inputs(model, batch)).logits.float().cpu().numpy()
        return found

    with _asking(model):
        return predict_by(answer, data, pad_token_id, batch_size, progress)


def predict_by(
    answer: Callable[[dict[str, Tensor]], NDArray[np.float32]],
    data: Encoded,
    pad_token_id: int,
    batch_size: int = 64,
    progress: str | None = None,
) -> Logits:
    """Logits in float32, rows in the order of the data: (N, C), or for tags N arrays (T, C).

    answer: a padded batch -> (B, C) or (B, T, C). Rows of similar length share a batch;
    `progress` is the title of a progress bar, if any.
    """
    order = np.argsort(data.lengths, kind="stable")[::-1].tolist()
    found: list[Any] = [None] * len(order)
    with tqdm(total=len(order), desc=progress, disable=progress is None) as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = pad([data[i] for i in rows], pad_token_id)
            for i, row in zip(rows, answer(batch), strict=True):
                found[i] = row[: data.lengths[i]] if data.per_token else row
            bar.update(len(rows))
    return found if data.per_token else np.stack(found)


@contextmanager
def _asking(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, full precision; the mode is put back."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device.type
    try:
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            yield
    finally:
        model.train(training)


def _inputs(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What this model reads of a batch, on its device."""
    device = next(model.parameters()).device
    return {name: batch[name].to(device) for name in inputs_of(model) if name in batch}


def evaluate_masked_words(
    model: nn.Module,
    corpus: Corpus,
    masking: Masking,
    pad_token_id: int,
    sequences: int = 2000,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, float]:
    """What `guess_words` gives of a model in torch."""
    with _asking(model):
        return score_masked_words(
            lambda batch, places: logits_at(model, batch, places).cpu(),
            corpus, masking, pad_token_id, sequences, seed, batch_size,
        )  # fmt: skip


def score_masked_words(
    guess: Callable[[dict[str, Tensor], Tensor], Tensor],
    corpus: Corpus,
    masking: Masking,
    pad_token_id: int,
    sequences: int = 2000,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, float]:
    """How well hidden words are guessed: perplexity, top1 (share right), tokens (how many).

    guess: a batch and its hidden places (B, T) -> logits (N, V). The same seed hides the same words
    of the same sequences, whoever guesses.
    """
    drawn = np.random.default_rng(seed).permutation(len(corpus))[:sequences].tolist()
    chosen = sorted(drawn, key=lambda i: corpus.lengths[i])
    generator = torch.Generator().manual_seed(seed)
    loss, right, tokens = 0.0, 0, 0
    for start in range(0, len(chosen), batch_size):
        rows = [corpus[i] for i in chosen[start : start + batch_size]]
        batch = masking(pad(rows, pad_token_id), generator)
        labels = batch["labels"][batch["labels"] != IGNORED]
        logits = guess(batch, batch["labels"] != IGNORED)
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
        tokens += len(labels)
    return {"perplexity": math.exp(loss / tokens), "top1": right / tokens, "tokens": tokens}


def logits_at(model: nn.Module, batch: dict[str, Tensor], places: Tensor) -> Tensor:
    """(N, V) logits at the places (B, T) alone: the head never sees the other hidden states."""

    def keep(module: nn.Module, given: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden[places.to(hidden.device)][None]
        return output

    body = getattr(model, getattr(model, "base_model_prefix", ""), None)
    if body is None:
        logits: Tensor = model(**_inputs(model, batch)).logits[places].float()
        return logits
    hook = body.register_forward_hook(keep)
    try:
        logits = model(**_inputs(model, batch)).logits[0].float()
    finally:
        hook.remove()
    return logits


def logits_of(model: nn.Module, batch: dict[str, Tensor], places: Tensor) -> Tensor:
    """logits_at for places (N,) as an exported graph takes them: b * T + t, ascending."""
    mask = torch.zeros(batch["input_ids"].shape, dtype=torch.bool)
    mask.view(-1)[places] = True
    return logits_at(model, batch, mask)
