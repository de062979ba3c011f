"""Fidelity: how close the outputs of an exported graph are to those of its model in torch."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from alembert.data.encoded import Encoded
from alembert.evaluation import predict
from alembert.evaluation.metrics import Logits
from alembert.inference.engine import Engine, Ids
from alembert.inference.manifest import PER_TOKEN

Numbers = NDArray[np.float32]
PREDICTED = 4  # the most tokens of a text that an MLM predicts


def random_batches(
    names: Sequence[str], vocabulary: int, pad: int, max_positions: int
) -> list[Ids]:
    """Return ragged batches of random tokens, padded on the right, up to `max_positions` long."""
    rng = np.random.default_rng(0)
    shapes = [
        (1, 1),
        (1, 2),
        (2, min(9, max_positions)),
        (16, min(128, max_positions)),
        (1, max_positions),
    ]
    batches = []
    for rows, width in shapes:
        lengths = np.maximum(1, width - rng.permutation(rows) * width // rows)
        mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
        tokens = rng.integers(0, vocabulary - 1, (rows, width))
        tokens += tokens >= pad  # any id but that of padding
        ids = np.where(mask == 1, tokens, pad)
        batches.append(_inputs({"input_ids": ids, "attention_mask": mask}, names))
    return batches


def graph_inputs(batch: Mapping[str, Tensor], names: Sequence[str]) -> Ids:
    """Return a padded batch as the inputs of these names that a graph takes."""
    return _inputs({key: value.numpy() for key, value in batch.items()}, names)


def logits_of(engine: Engine, names: Sequence[str], data: Encoded, pad: int) -> Logits:
    """Return the logits of an engine, whose graph has inputs of these names, on encoded rows."""
    return predict.predict(lambda batch: engine(graph_inputs(batch, names)), data, pad)


def _inputs(batch: Mapping[str, NDArray[np.int64]], names: Sequence[str]) -> Ids:
    inputs = {name: batch[name] for name in names if name in batch}
    if "token_type_ids" in names and "token_type_ids" not in inputs:
        inputs["token_type_ids"] = np.zeros_like(batch["input_ids"])
    if "places" in names and "places" not in inputs:
        mask = batch["attention_mask"]
        first = (mask == 1) & (np.cumsum(mask, 1) <= PREDICTED)
        inputs["places"] = np.flatnonzero(first)
    return inputs


def engine_outputs(
    engine: Callable[[Ids], Numbers], kind: str, batches: Sequence[Ids]
) -> list[Numbers]:
    """Return an engine's output for each batch, (N, C), without padding."""
    outputs = ((batch, engine(batch)) for batch in batches)
    return [x[batch["attention_mask"] == 1] if kind in PER_TOKEN else x for batch, x in outputs]


def fidelity(kind: str, outputs: Sequence[Numbers], true: Sequence[Numbers]) -> dict[str, float]:
    """Return max_error, as a share of torch's largest number, correlation, and agreement of labels.

    They are NaN where an output is NaN. Correlation is left out where all numbers of a side are
    equal, agreement where there are no labels.
    """
    engine, torchs = (np.concatenate(each).astype(np.float64) for each in (outputs, true))
    result = {"max_error": float(np.abs(engine - torchs).max() / np.abs(torchs).max())}
    if min(np.ptp(engine), np.ptp(torchs)) > 0:
        result["correlation"] = float(np.corrcoef(engine.ravel(), torchs.ravel())[0, 1])
    if kind in ("classification", "tokens", "words"):
        result["agreement"] = float(np.mean(engine.argmax(1) == torchs.argmax(1)))
    elif kind == "multilabel":
        result["agreement"] = float(np.mean((engine > 0) == (torchs > 0)))
    return result


def rmse(outputs: Sequence[Numbers], true: Sequence[Numbers]) -> float:
    """Return the root mean square difference."""
    return float(np.sqrt(np.mean((np.concatenate(outputs) - np.concatenate(true)) ** 2)))
