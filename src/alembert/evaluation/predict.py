"""A model and encoded rows -> predictions and metrics; a model and a corpus -> perplexity."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as span_f1_score
from seqeval.metrics import precision_score as span_precision_score
from seqeval.metrics import recall_score as span_recall_score
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import Tensor, nn
from tqdm import tqdm

from alembert.data.collate import Masking, pad
from alembert.data.corpus.corpus import Corpus
from alembert.data.encoded import IGNORED, Encoded
from alembert.data.tasks import Task, is_bio
from alembert.io.errors import UserError
from alembert.models.inputs import inputs_of

Logits = NDArray[np.float32] | list[NDArray[np.float32]]


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
        return ask(answer, data, pad_token_id, batch_size, progress)


def ask(
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


def metrics(task: Task, logits: Logits, data: Encoded) -> dict[str, float]:
    """The task's metric first, then the others of its kind; rows without a label do not count."""
    if task.kind == "tokens":
        found = _of_tags(task, logits, data)
    else:
        outputs = np.asarray(logits)
        known = data.labels != IGNORED
        if task.kind != "classification":
            known = ~np.isnan(data.labels.reshape(len(data), -1)).any(1)
        kinds = {
            "classification": _of_classes,
            "regression": _of_scores,
            "multilabel": _of_several,
        }
        if not known.any():
            raise UserError("no row has a label to judge by; name the column with --label")
        found = kinds[task.kind](task, outputs[known], data.labels[known])
    return {task.metric: found[task.metric], **found}


def _of_classes(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    said = logits.argmax(1)
    macro = float(f1_score(labels, said, average="macro", zero_division=0))
    one = macro
    if len(task.labels) == 2:
        # by convention the second class is the positive one; MRPC's and QQP's sorted names
        # (equivalent, not_equivalent) put it first
        positive = 0 if task.labels[1].casefold().startswith("not_") else 1
        one = float(f1_score(labels, said, pos_label=positive, zero_division=0))
    return {
        "accuracy": float(accuracy_score(labels, said)),
        "f1": one,
        "macro_f1": macro,
        "matthews": float(matthews_corrcoef(labels, said)),
    }


def _of_scores(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    said = logits.reshape(-1).astype(np.float64)
    true = labels.astype(np.float64)
    # where one side never varies, correlation is not defined: nothing was learnt, so 0
    varied = len(said) > 1 and np.ptp(said) > 0 and np.ptp(true) > 0
    return {
        "pearson": float(pearsonr(said, true).statistic) if varied else 0.0,
        "spearman": float(spearmanr(said, true).statistic) if varied else 0.0,
        "mse": float(np.mean((said - true) ** 2)),
    }


def _of_several(task: Task, logits: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    said = (logits > 0).astype(int)  # a probability over one half
    true = labels.astype(int)
    return {
        "micro_f1": float(f1_score(true, said, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(true, said, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(true, said)),  # all labels of a row right
    }


def _of_tags(task: Task, logits: Logits, data: Encoded) -> dict[str, float]:
    said: list[list[str]] = []
    true: list[list[str]] = []
    for i, row in enumerate(logits):
        labels = np.array(data[i]["labels"])
        places = labels != IGNORED
        if places.any():
            said.append([task.labels[c] for c in row.argmax(1)[places]])
            true.append([task.labels[c] for c in labels[places]])
    if not true:
        raise UserError("no word has a tag to judge by; name the column with --label")
    right = [a == b for s, t in zip(said, true, strict=True) for a, b in zip(s, t, strict=True)]
    found = {"accuracy": float(np.mean(right))}
    if is_bio(task.labels):
        found["span_f1"] = float(span_f1_score(true, said, zero_division=0))
        found["span_precision"] = float(span_precision_score(true, said, zero_division=0))
        found["span_recall"] = float(span_recall_score(true, said, zero_division=0))
    return found


def masked_words(
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
        return guess_words(
            lambda batch, places: logits_at(model, batch, places).cpu(),
            corpus, masking, pad_token_id, sequences, seed, batch_size,
        )  # fmt: skip


def guess_words(
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
