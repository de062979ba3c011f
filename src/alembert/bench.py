"""Size and CPU time of saved models, side by side, measured interleaved at one thread."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Measured:
    """cpu_ms: process CPU time per text, batch 1, torch eager fp32, the median of the texts."""

    parameters: int
    size_mb: float
    cpu_ms: float


def measure(
    models: dict[str, tuple[PreTrainedModel, Path]], batches: list[dict[str, Tensor]]
) -> dict[str, Measured]:
    """Each batch (one text) goes through every model before the next one: drift hits all alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in models}
    try:
        with torch.inference_mode():
            for batch in batches[:5] + batches:  # the first five warm up
                for name, (model, _) in models.items():
                    began = time.process_time()
                    model(**batch)
                    times[name].append(1000 * (time.process_time() - began))
    finally:
        torch.set_num_threads(threads)
    return {
        name: Measured(
            sum(p.numel() for p in model.parameters()),
            sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6,
            median(times[name][5:]),
        )
        for name, (model, folder) in models.items()
    }
