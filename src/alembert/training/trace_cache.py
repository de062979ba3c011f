"""A cache on disk of a teacher's traces of a corpus with fixed masks, mapped into memory.

A file has the rows of a range of sequences (recorded.trace_to_rows) as safetensors.
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
from transformers import PreTrainedModel

from alembert.data.batches import Masked
from alembert.data.collate import Masking, by_length, pad
from alembert.data.corpus.corpus import Corpus
from alembert.data.corpus.preparing import IDS
from alembert.data.corpus.segments import Segmented
from alembert.io.errors import UserError
from alembert.io.files import CACHE_FIX, cache, naming
from alembert.io.progress import Work, counted
from alembert.io.tensors import Parts
from alembert.models.trace import no_grad_trace
from alembert.objectives import recorded
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import TOKENS, add_weights
from alembert.training.trace_file import TraceFile, bytes_of, write

log = logging.getLogger(__name__)

FILE = 2**27  # the most bytes of a file; an interrupted run loses one, and writing takes two
OPEN = 1000  # the most files that are mapped at once


@dataclass(frozen=True)
class Caching:
    """Settings of the cache: `top` logits of each token, `precision` of hidden states."""

    top: int = 128
    precision: str = "bf16"


class WithTeacherTraces(torch.utils.data.Dataset[dict[str, Any]]):
    """Sequences with their masks and the teacher's recorded trace of each."""

    def __init__(self, rows: Corpus | Segmented | Masked, parts: Parts) -> None:
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


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Computes a teacher's traces of sequences, in the precision of the file."""

    teacher: PreTrainedModel
    source: Corpus | Segmented  # of the rows, before they are masked
    rows: Corpus | Segmented | Masked
    spec: recorded.TraceSpec
    caching: Caching
    pad_token_id: int
    accelerator: Accelerator

    @property
    def corpus(self) -> Corpus:
        """The corpus itself."""
        return self.source.corpus if isinstance(self.source, Segmented) else self.source

    def key(self) -> str:
        """Return a digest of all that the traces depend on."""
        caching, reads = self.caching, self.spec.reads
        plain: list[Any] = [2, self.accelerator.mixed_precision, caching.top, caching.precision]
        plain += [sorted(reads.hidden), sorted(reads.attention), reads.vocabulary]
        plain += [self.spec.attention, self.spec.temperatures, self.corpus.tokenizer]
        digest = hashlib.sha256()
        if isinstance(self.source, Segmented):
            plain.append(["segments", self.source.seed])
        if isinstance(self.rows, Masked):
            masking = self.rows.masking
            plain += [self.rows.seed, masking.share, masking.replace, masking.mask_token_id]
            plain += [masking.vocab_size, masking.special_ids]
            if masking.weights is not None:
                digest.update(masking.weights.numpy().data)
        digest.update(json.dumps(plain).encode())
        # no term reads a pooler, which is random where the teacher was saved without one
        add_weights(digest, self.teacher, unread="pooler.")
        digest.update(np.ascontiguousarray(self.corpus.lengths).data)
        with (self.corpus.folder / IDS).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:32]

    def read(self, numbers: list[int]) -> list[dict[str, Tensor]]:
        """Return the recorded trace of each of these sequences."""
        batch = pad([self.rows[i] for i in numbers], self.pad_token_id)
        batch = {name: x.to(self.accelerator.device) for name, x in batch.items()}
        with self.accelerator.autocast():
            trace = no_grad_trace(self.teacher, batch, self.spec.reads)
            with torch.no_grad():
                rows = recorded.trace_to_rows(trace, batch, self.spec, self.caching.top)
        return [
            {name: self._cast(name, x, number) for name, x in row.items()}
            for number, row in zip(numbers, rows, strict=True)
        ]

    def read_part(self, part: range, work: Work) -> list[dict[str, Tensor]]:
        """Return the traces of a file's sequences, read in batches of similar lengths."""
        rows: dict[int, dict[str, Tensor]] = {}
        for numbers in by_length(part, self.rows.lengths, TOKENS):
            rows |= zip(numbers, self.read(numbers), strict=True)
            work.update(len(numbers))
        return [rows[i] for i in part]

    def _cast(self, name: str, x: Tensor, number: int) -> Tensor:
        x = x.cpu()
        if name == recorded.TOP_IDS:
            return x.to(torch.uint16 if self.teacher.config.vocab_size <= 2**16 else torch.int32)
        if not x.isfinite().all():
            raise UserError(
                f"--cache-teacher: the teacher's output for sequence {number} is not a number "
                f"({name}): try --precision fp32, or another teacher"
            )
        if self.caching.precision == "fp32" or name == recorded.REST:
            return x.float()
        # probable tokens have small gaps to the largest logit, for which fp16 has three more bits
        return x.clamp(min=-6e4).half() if name == recorded.GAPS else x.bfloat16()


def cached_traces(
    distillation: Distillation,
    rows: Corpus | Segmented,
    masking: Masking | None,
    pad_token_id: int,
    caching: Caching,
    seed: int,
    accelerator: Accelerator,
) -> WithTeacherTraces:
    """Return the corpus with its teacher's traces, computed once for all epochs and runs.

    Masks are drawn once a sequence, from the seed. Missing and damaged files in the user's cache
    are computed. Raises UserError when the disk has too little space.
    """
    teacher = distillation.teacher
    assert teacher is not None
    spec = recorded.trace_spec(distillation.objective, distillation.reads[1])
    masked = rows if masking is None else Masked(rows, masking, seed)
    reader = _Reader(
        teacher=teacher,
        source=rows,
        rows=masked,
        spec=spec,
        caching=caching,
        pad_token_id=pad_token_id,
        accelerator=accelerator,
    )
    home = cache("traces") / reader.key()
    distillation.ready(accelerator.device, accelerator.mixed_precision == "bf16")
    sizes = _sizes(reader)
    size = max(int(FILE // sizes.max()), 1)
    parts = Parts(home, len(rows), size)
    with naming(home, CACHE_FIX):
        home.mkdir(parents=True, exist_ok=True)
    checked = counted(parts.ranges, "checking the cache", "files")
    missing = [part for part in checked if not parts.is_whole(part)]
    _check_space(home, float(sizes.sum()), sum(float(sizes[part].sum()) for part in missing))
    with Work("teacher's outputs", sum(map(len, missing)), "sequences") as work:

        def fill(part: range, path: Path) -> None:
            write(path, part, reader.read_part(part, work))

        for part in missing:
            parts.make(part, partial(fill, part))
    if spec.reads.vocabulary:
        _log_outside(parts, spec, min(caching.top, teacher.config.vocab_size))
    return WithTeacherTraces(masked, parts)


def _sizes(reader: _Reader) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the bytes of each sequence (N,), extrapolated from the first one."""
    (first,) = reader.read([0])
    lengths = np.asarray(reader.rows.lengths, np.float64)
    states = bytes_of({k: x for k, x in first.items() if k not in recorded.PER_ROW}) / lengths[0]
    counts = lengths
    if isinstance(reader.rows, Masked) and reader.spec.reads.vocabulary == "masked":
        counts = np.ceil(reader.rows.masking.share * lengths)
    top = {k: x for k, x in first.items() if k in recorded.PER_ROW}
    a_row = bytes_of(top) / len(top[recorded.TOP_IDS]) if top else 0.0
    sizes: np.ndarray[Any, np.dtype[np.float64]] = lengths * states + counts * a_row
    return sizes


def _check_space(home: Path, total: float, missing: float) -> None:
    """Log the size of the cache; raise UserError where the disk has too little space for it."""
    free = shutil.disk_usage(home).free
    there = "" if missing else ", there already"
    if missing and missing < total:
        there = f", {_bytes(total - missing)} there already"
    log.info(f"the cached outputs of the teacher take {_bytes(total)}{there}; {home}")
    if missing > free:
        raise UserError(
            f"--cache-teacher: {_bytes(missing)} are to be written to {home} and {_bytes(free)} "
            "are free: cache fewer logits (--cache-top), free some space, name another folder in "
            "XDG_CACHE_HOME, or leave --cache-teacher out"
        )


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _log_outside(parts: Parts, spec: recorded.TraceSpec, k: int) -> None:
    """Log the probability outside the top k tokens."""
    read = [TraceFile.outside(parts.path(part)) for part in parts.ranges]
    rows = sum(count for count, _ in read)
    for i, temperature in enumerate(spec.temperatures):
        mean = sum(masses[i] for _, masses in read) / max(rows, 1)
        log.info(
            f"soft labels at temperature {temperature:g}: {mean:.2%} of the teacher's mass lies "
            f"outside the {k:,} top tokens and is learned as one class (mean of {rows:,} rows)"
        )
