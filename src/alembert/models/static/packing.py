"""The file of a static student: each row of a table in int8, with a scale a row."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

TABLES = ("word_embeddings", "bigram_embeddings")
MOST = 127
SMALLEST = 1e-12  # a scale: rows of zeros have one, too


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file: NAME.rows int8 (V, H) and NAME.scales (V,) for each table."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        table = name.removesuffix(".weight")
        if table.endswith(TABLES):
            tensors[f"{table}.rows"], tensors[f"{table}.scales"] = quantised(tensor.detach().cpu())
        elif name.endswith("log_weights"):
            tensors[name] = tensor.detach().cpu().half()
        else:
            tensors[name] = tensor.detach().cpu().contiguous()
    return tensors


def quantised(table: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (V, H) in int8 and scales (V,), whose products come next to the table."""
    scales = (table.float().abs().amax(dim=1) / MOST).clamp_min(SMALLEST)
    return (table.float() / scales[:, None]).round().to(torch.int8), scales


def unpacked(file: Path) -> dict[str, Tensor]:
    """The state of the torch model that `packed` made the file of."""
    tensors = load_file(file)
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(".rows"):
            table = name.removesuffix(".rows")
            scales = tensors[f"{table}.scales"]
            state[f"{table}.weight"] = tensor.float() * scales[:, None]
        elif name.endswith("_keys"):
            state[name] = tensor
        elif not name.endswith(".scales"):
            state[name] = tensor.float()
    return state
