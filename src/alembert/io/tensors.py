"""Tensors and facts in safetensors with a checksum, and caches in parts of some thousand rows."""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from alembert.io.files import CACHE_FIX, atomic
from alembert.io.locks import waited_for

log = logging.getLogger(__name__)

FACTS, CHECKSUM = "facts", "crc32"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write contiguous tensors on the CPU, JSON facts and the checksum of both to `path`."""
    content = json.dumps(facts)
    checksum = _checksum(content, tensors, tensors.__getitem__)
    save_file(dict(tensors), path, metadata={FACTS: content, CHECKSUM: checksum})


def facts_of(path: Path) -> dict[str, Any]:
    """The facts in a file that `save_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()[FACTS])
    return facts


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file that `save_tensors` wrote."""
    return dict(load_file(path))


def damage_of(path: Path) -> str:
    """A few words on the damage of a file that `save_tensors` wrote; "" when it is whole."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            checksum = _checksum(metadata.get(FACTS, ""), file.keys(), file.get_tensor)
    except (SafetensorError, OSError, ValueError) as error:
        return " ".join(str(error).split())
    # a checkpoint of a version without checksums has facts alone
    if metadata.get(CHECKSUM) != checksum and metadata.keys() != {FACTS}:
        return "its content is not what was written"
    return ""


def save_part(
    path: Path, part: range, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """As `save_tensors`, with the numbers of the rows that the file holds among its facts."""
    save_tensors(path, tensors, {**facts, "rows": [part.start, part.stop]})


def damage_of_part(path: Path, part: range) -> str:
    """As `damage_of`, of a file that `save_part` wrote for these rows."""
    if damage := damage_of(path):
        return damage
    return "" if facts_of(path).get("rows") == [part.start, part.stop] else "it holds other rows"


def _checksum(facts: str, names: Iterable[str], tensor_of: Callable[[str], Tensor]) -> str:
    """CRC-32 of the facts and of all tensors: names, types, shapes and bytes."""
    crc = zlib.crc32(facts.encode())
    for name in sorted(names):
        tensor = tensor_of(name)
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


@dataclass(frozen=True)
class Parts:
    """The files of a cache in `folder`, each of `size` of its `rows` rows; the last may be shorter.

    A part's file is written by `save_part`. A run that is killed loses one part at most.
    """

    folder: Path
    rows: int
    size: int

    @property
    def ranges(self) -> list[range]:
        """The numbers of each part's rows."""
        starts = range(0, self.rows, self.size)
        return [range(start, min(start + self.size, self.rows)) for start in starts]

    def path(self, part: range) -> Path:
        """The part's file, named by its first row."""
        return self.folder / f"{part.start:010d}.safetensors"

    def is_whole(self, part: range) -> bool:
        """Whether the part's file is there and undamaged; a damaged one is named and removed."""
        path = self.path(part)
        if not path.is_file():
            return False
        if damage := damage_of_part(path, part):
            log.warning(f"{path}: is damaged ({damage}): its {len(part):,} rows are made anew")
            path.unlink()
        return not damage

    def make(self, part: range, write: Callable[[Path], None]) -> None:
        """Writes the part's file, unless it is whole; of several processes only one writes."""
        path = self.path(part)
        with waited_for(path.with_suffix(".lock"), fix=CACHE_FIX):
            if not self.is_whole(part):
                with atomic(path, CACHE_FIX) as partial:
                    write(partial)
