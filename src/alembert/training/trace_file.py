"""A file of what a teacher left of a stretch of sequences: safetensors, with a checksum."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from alembert.objectives.recorded import PER_ROW, REST, TOP_IDS

COUNTS = "counts"  # (n,) rows with words of each sequence


class TraceFile:
    """part[i] is what was left of the i-th sequence; mapped, and read when asked for."""

    def __init__(self, path: Path, lengths: NDArray[np.int32]) -> None:
        file = _opened(path)
        self._tokens = _ends(lengths)
        names = set(file.keys())
        self._rows = _ends(file.get_tensor(COUNTS).numpy()) if COUNTS in names else None
        self._slices = {name: file.get_slice(name) for name in sorted(names - {COUNTS})}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        found = {}
        for name, whole in self._slices.items():
            ends = self._rows if name in PER_ROW else self._tokens
            assert ends is not None
            found[name] = whole[int(ends[index]) : int(ends[index + 1])]
        if TOP_IDS in found:
            found[TOP_IDS] = found[TOP_IDS].to(torch.int32)
        return found

    @staticmethod
    def outside(path: Path) -> tuple[int, list[float]]:
        """How many rows have words, and the sum of their masses outside, of each temperature."""
        with _opened(path) as file:
            found = json.loads(file.metadata()["outside"])
        return int(found[0]), list(map(float, found[1]))


def write(path: Path, rows: list[dict[str, Tensor]]) -> None:
    """Put a file of these sequences in place, whole or not at all."""
    tensors = {name: torch.cat([row[name] for row in rows]).contiguous() for name in rows[0]}
    outside: tuple[int, list[float]] = (0, [])
    if TOP_IDS in tensors:
        tensors[COUNTS] = torch.tensor([len(row[TOP_IDS]) for row in rows], dtype=torch.int32)
        outside = len(tensors[TOP_IDS]), tensors[REST].double().sum(dim=0).tolist()
    facts = {"crc": str(_checksum(tensors)), "outside": json.dumps(outside)}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=facts)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(path)


def verify(path: Path, lengths: NDArray[np.int32]) -> str | None:
    """What is wrong with a file of sequences of these lengths; None when it is whole."""
    try:
        with _opened(path) as file:
            names, facts = set(file.keys()), file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
            if facts.get("crc") != str(_checksum(tensors)):
                return "its checksum is another"
    except (SafetensorError, OSError) as error:
        return " ".join(str(error).split())
    rows = int(tensors[COUNTS].sum()) if COUNTS in names else 0
    wanted = {name: rows if name in PER_ROW else int(lengths.sum()) for name in names - {COUNTS}}
    if any(len(tensors[name]) != count for name, count in wanted.items()):
        return "it holds other sequences"
    return None


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """What they take."""
    return sum(x.numel() * x.element_size() for x in tensors.values())


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(tensors[name].view(torch.uint8).numpy().data, found)
    return found


def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt")


def _ends(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))
