"""How close an exported graph is to the model it was made of, in torch."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from alembert.export.onnx import pooled
from alembert.inference.engine import Ids

Numbers = NDArray[np.float32]
PLACES = 4  # guessed in each text, at most


def made_up(names: Sequence[str], vocabulary: int, pad: int, room: int) -> list[Ids]:
    """Batches of random words, ragged and padded on the right, from one token to `room`."""
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 2), (2, min(9, room)), (16, min(128, room)), (1, room)]
    batches = []
    for rows, width in shapes:
        lengths = np.maximum(1, width - rng.permutation(rows) * width // rows)
        mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
        words = rng.integers(0, vocabulary - 1, (rows, width))
        words += words >= pad  # any word but padding
        ids = np.where(mask == 1, words, pad)
        batches.append(_inputs({"input_ids": ids, "attention_mask": mask}, names))
    return batches


def graph_inputs(batch: Mapping[str, Tensor], names: Sequence[str]) -> Ids:
    """A padded batch as what a graph of these inputs takes."""
    return _inputs({key: value.numpy() for key, value in batch.items()}, names)


def _inputs(batch: Mapping[str, NDArray[np.int64]], names: Sequence[str]) -> Ids:
    found = {name: batch[name] for name in names if name in batch}
    if "token_type_ids" in names and "token_type_ids" not in found:
        found["token_type_ids"] = np.zeros_like(batch["input_ids"])
    if "places" in names and "places" not in found:
        mask = batch["attention_mask"]
        few = (mask == 1) & (np.cumsum(mask, 1) <= PLACES)
        found["places"] = np.flatnonzero(few)
    return found


def truth(model: PreTrainedModel, kind: str, pooling: str, batches: Sequence[Ids]) -> list[Numbers]:
    """What the model itself, in torch, says of each batch: (N, C), padding left out."""
    found = []
    with torch.inference_mode():
        for batch in batches:
            given = {k: torch.from_numpy(v) for k, v in batch.items() if k != "places"}
            output = model(**given)
            if kind == "encoder":
                numbers = pooled(output.last_hidden_state, given["attention_mask"], pooling)
            else:
                numbers = output.logits
            if kind == "words":
                numbers = numbers.flatten(0, 1)[torch.from_numpy(batch["places"])]
            found.append(_rows(kind, numbers.numpy(), batch))
    return found


def said(answer: Callable[[Ids], Numbers], kind: str, batches: Sequence[Ids]) -> list[Numbers]:
    """The same of an engine."""
    return [_rows(kind, answer(batch), batch) for batch in batches]


def _rows(kind: str, numbers: Numbers, batch: Ids) -> Numbers:
    return numbers[batch["attention_mask"] == 1] if kind == "tokens" else numbers


def fidelity(kind: str, found: Sequence[Numbers], true: Sequence[Numbers]) -> dict[str, float]:
    """max_error, as a share of torch's largest number; correlation; agreement of labels.

    NaN where the engine gave what is no number. Correlation is left out where one number alone, or
    the same one throughout, was said; agreement where there are no labels.
    """
    student, torchs = (np.concatenate(each).astype(np.float64) for each in (found, true))
    result = {"max_error": float(np.abs(student - torchs).max() / np.abs(torchs).max())}
    if min(np.ptp(student), np.ptp(torchs)) > 0:
        result["correlation"] = float(np.corrcoef(student.ravel(), torchs.ravel())[0, 1])
    if kind in ("classification", "tokens", "words"):
        result["agreement"] = float(np.mean(student.argmax(1) == torchs.argmax(1)))
    elif kind == "multilabel":
        result["agreement"] = float(np.mean((student > 0) == (torchs > 0)))
    return result


def error(found: Sequence[Numbers], true: Sequence[Numbers]) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean((np.concatenate(found) - np.concatenate(true)) ** 2)))
