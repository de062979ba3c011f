"""A file of a teacher's recorded traces of a range of sequences: safetensors with a checksum."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from alembert.io.tensors import facts_of, save_part
from alembert.objectives.recorded import PER_ROW, REST, TOP_IDS

COUNTS = "counts"  # (n,) rows with top logits of each sequence


class TraceFile:
    """A mapped file; file[i] reads the recorded trace of its i-th sequence."""

    def __init__(self, path: Path, lengths: NDArray[np.int32]) -> None:
        file: Any = safe_open(path, framework="pt")
        self._tokens = _ends(lengths)
        names = set(file.keys())
        self._rows = _ends(file.get_tensor(COUNTS).numpy()) if COUNTS in names else None
        self._slices = {name: file.get_slice(name) for name in sorted(names - {COUNTS})}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tensors = {}
        for name, full in self._slices.items():
            ends = self._rows if name in PER_ROW else self._tokens
            assert ends is not None
            tensors[name] = full[int(ends[index]) : int(ends[index + 1])]
        if TOP_IDS in tensors:
            tensors[TOP_IDS] = tensors[TOP_IDS].to(torch.int32)
        return tensors

    @staticmethod
    def outside(path: Path) -> tuple[int, list[float]]:
        """Return the number of rows with top logits, and their mass outside at each temperature."""
        count, masses = facts_of(path)["outside"]
        return int(count), list(map(float, masses))


def write(path: Path, part: range, rows: list[dict[str, Tensor]]) -> None:
    """Write the recorded traces of the sequences with these numbers."""
    tensors = {name: torch.cat([row[name] for row in rows]).contiguous() for name in rows[0]}
    outside: tuple[int, list[float]] = (0, [])
    if TOP_IDS in tensors:
        tensors[COUNTS] = torch.tensor([len(row[TOP_IDS]) for row in rows], dtype=torch.int32)
        outside = len(tensors[TOP_IDS]), tensors[REST].double().sum(dim=0).tolist()
    save_part(path, part, tensors, {"outside": outside})


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of all tensors."""
    return sum(x.numel() * x.element_size() for x in tensors.values())


def _ends(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))
