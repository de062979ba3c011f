"""What a teacher says of a corpus with fixed masks: read once, kept on disk, mapped into memory.

A file holds a stretch of sequences: safetensors of what kept.rows_of leaves, with a checksum.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from alembert.data.batches import Masked
from alembert.data.collate import Masking, pad
from alembert.data.corpus.corpus import Corpus
from alembert.data.corpus.preparing import IDS
from alembert.io.errors import UserError
from alembert.io.files import CACHE_FIX, cache, naming
from alembert.io.parts import Parts
from alembert.io.tensors import damage_of_part
from alembert.models.trace import no_grad_trace
from alembert.objectives import recorded
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import add_weights
from alembert.training.trace_file import TraceFile, bytes_of, write

log = logging.getLogger(__name__)

FILE = 2**27  # bytes of a file at most: what an interrupted reading loses, and twice its memory
TOKENS = 4096  # padding too, that the teacher reads at a time
OPEN = 1000  # files that are mapped at a time


@dataclass(frozen=True)
class Caching:
    """How what a teacher says of a corpus is kept: words of a soft label, precision of states."""

    top: int = 128
    precision: str = "bf16"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UserError(f"--cache-top {self.top}: must be 1 or more")
        if self.precision not in ("bf16", "fp32"):
            raise UserError(f"--cache-precision {self.precision}: choose bf16 or fp32")


class WithTeacherTraces(torch.utils.data.Dataset[dict[str, Any]]):
    """Sequences with their masks and what the teacher left of them (kept.rows_of)."""

    def __init__(self, rows: Corpus | Masked, parts: Parts) -> None:
        self.rows, self.lengths = rows, rows.lengths
        self._parts, self._ranges = parts, parts.ranges
        self._mapped: dict[range, TraceFile] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part = self._ranges[index // self._parts.size]
        if part not in self._mapped:
            if len(self._mapped) == OPEN:
                self._mapped.pop(next(iter(self._mapped)))
            lengths = self.lengths[part.start : part.stop]
            self._mapped[part] = TraceFile(self._parts.path(part), lengths)
        return {**self.rows[index], **self._mapped[part][index - part.start]}


@dataclass(frozen=True)
class _Reader:
    """All that a reading of some sequences depends on."""

    teacher: PreTrainedModel
    rows: Corpus | Masked
    what: recorded.TraceSpec
    asked: Caching
    pad_token_id: int
    accelerator: Accelerator

    def read(self, places: list[int]) -> list[dict[str, Tensor]]:
        """What is kept of these sequences, in the precision of the file."""
        batch = pad([self.rows[i] for i in places], self.pad_token_id)
        batch = {name: x.to(self.accelerator.device) for name, x in batch.items()}
        with self.accelerator.autocast():
            left = no_grad_trace(self.teacher, batch, self.what.reads)
            with torch.no_grad():
                rows = recorded.trace_to_rows(left, batch, self.what, self.asked.top)
        return [
            {name: self._cast(name, x, place) for name, x in row.items()}
            for place, row in zip(places, rows, strict=True)
        ]

    def stretch(self, part: range, bar: "tqdm[Any]") -> list[dict[str, Tensor]]:
        """The same of a file's sequences, read in batches of alike lengths."""
        order = sorted(part, key=self.rows.lengths.__getitem__)
        found: dict[int, dict[str, Tensor]] = {}
        while order:
            count = max(TOKENS // int(self.rows.lengths[order[-1]]), 1)
            places = order[-count:]
            del order[-count:]
            found |= zip(places, self.read(places), strict=True)
            bar.update(len(places))
        return [found[i] for i in part]

    def _cast(self, name: str, x: Tensor, place: int) -> Tensor:
        x = x.cpu()
        if name == recorded.TOP_IDS:
            return x.to(torch.uint16 if self.teacher.config.vocab_size <= 2**16 else torch.int32)
        if not x.isfinite().all():
            raise UserError(
                f"--cache-teacher: the teacher's output for sequence {place} is not a number "
                f"({name}): try --precision fp32, or another teacher"
            )
        if self.asked.precision == "fp32" or name == recorded.REST:
            return x.float()
        # gaps to the largest logit are small where there is mass: fp16 keeps three bits more
        return x.clamp(min=-6e4).half() if name == recorded.GAPS else x.bfloat16()


def cached_traces(
    distillation: Distillation,
    rows: Corpus,
    masking: Masking | None,
    pad_token_id: int,
    asked: Caching,
    seed: int,
    accelerator: Accelerator,
) -> WithTeacherTraces:
    """The corpus with what its teacher says of it, read once for all epochs and runs.

    masking: drawn once a sequence, from the seed. Kept under the user's cache by what it depends
    on; what is missing or damaged is read. Raises UserError when the disk has no room for it.
    """
    teacher = distillation.teacher
    assert teacher is not None
    what = recorded.trace_spec(distillation.objective, distillation.reads[1])
    home = cache("traces") / _key(teacher, rows, masking, what, asked, seed, accelerator)
    seen = rows if masking is None else Masked(rows, masking, seed)
    distillation.ready(accelerator.device, accelerator.mixed_precision == "bf16")
    reader = _Reader(teacher, seen, what, asked, pad_token_id, accelerator)
    sizes = _sizes(reader)
    size = max(int(FILE // sizes.max()), 1)
    parts = Parts(home, ".safetensors", len(rows), size, damage_of_part)
    with naming(home, CACHE_FIX):
        home.mkdir(parents=True, exist_ok=True)
    checked = tqdm(parts.ranges, unit="file", desc="checking", disable=None, leave=False)
    missing = [part for part in checked if not parts.is_whole(part)]
    _room(home, float(sizes.sum()), sum(float(sizes[part].sum()) for part in missing))
    with tqdm(
        total=sum(map(len, missing)), unit="seq", desc="teacher", dynamic_ncols=True,
        disable=not missing or None, mininterval=0.5,
    ) as bar:  # fmt: skip

        def fill(part: range, path: Path) -> None:
            write(path, part, reader.stretch(part, bar))

        for part in missing:
            parts.make(part, partial(fill, part))
    if what.reads.vocabulary:
        _log_outside(parts, what, min(asked.top, teacher.config.vocab_size))
    return WithTeacherTraces(seen, parts)


def _sizes(reader: _Reader) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Bytes that each sequence takes (N,), by what the first one takes."""
    (first,) = reader.read([0])
    lengths = np.asarray(reader.rows.lengths, np.float64)
    states = bytes_of({k: x for k, x in first.items() if k not in recorded.PER_ROW}) / lengths[0]
    counts = lengths
    if isinstance(reader.rows, Masked) and reader.what.reads.vocabulary == "masked":
        counts = np.ceil(reader.rows.masking.share * lengths)
    answers = {k: x for k, x in first.items() if k in recorded.PER_ROW}
    a_row = bytes_of(answers) / len(answers[recorded.TOP_IDS]) if answers else 0.0
    sizes: np.ndarray[Any, np.dtype[np.float64]] = lengths * states + counts * a_row
    return sizes


def _room(home: Path, whole: float, wanted: float) -> None:
    """Say what it takes; refuse what the disk has no room for."""
    free = shutil.disk_usage(home).free
    there = "" if wanted else ", there already"
    if wanted and wanted < whole:
        there = f", {_bytes(whole - wanted)} there already"
    log.info(f"the cached teacher of the corpus takes {_bytes(whole)}{there}; {home}")
    if wanted > free:
        raise UserError(
            f"--cache-teacher: {_bytes(wanted)} are to be written to {home} and {_bytes(free)} are "
            "free: cache fewer logits (--cache-top), free some space, name another folder in "
            "XDG_CACHE_HOME, or leave --cache-teacher out"
        )


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _log_outside(parts: Parts, what: recorded.TraceSpec, k: int) -> None:
    """Log the mass that cutting at the k likeliest words leaves out."""
    read = [TraceFile.outside(parts.path(part)) for part in parts.ranges]
    rows = sum(count for count, _ in read)
    for i, temperature in enumerate(what.temperatures):
        mean = sum(masses[i] for _, masses in read) / max(rows, 1)
        log.info(
            f"soft labels at temperature {temperature:g}: {mean:.2%} of the teacher's mass lies "
            f"outside the {k:,} top tokens and is learned as one class (mean of {rows:,} rows)"
        )


def _key(
    teacher: PreTrainedModel,
    rows: Corpus,
    masking: Masking | None,
    what: recorded.TraceSpec,
    asked: Caching,
    seed: int,
    accelerator: Accelerator,
) -> str:
    reads = what.reads
    plain: list[Any] = [2, accelerator.mixed_precision, asked.top, asked.precision]
    plain += [sorted(reads.hidden), sorted(reads.attention), reads.vocabulary]
    plain += [what.attention, what.temperatures, rows.tokenizer]
    known = hashlib.sha256()
    if masking is not None:
        plain += [seed, masking.share, masking.replace, masking.mask_token_id]
        plain += [masking.vocab_size, masking.special_ids]
        if masking.weights is not None:
            known.update(masking.weights.numpy().data)
    known.update(json.dumps(plain).encode())
    # a pooler is read by no term, and drawn anew at each start where the teacher was saved without
    add_weights(known, teacher, unread="pooler.")
    known.update(np.ascontiguousarray(rows.lengths).data)
    with (rows.folder / IDS).open("rb") as file:
        known.update(hashlib.file_digest(file, "sha256").digest())
    return known.hexdigest()[:32]
