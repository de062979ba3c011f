"""What a teacher says of a corpus with fixed masks: read once, kept on disk, mapped into memory.

A file holds a stretch of sequences: safetensors of what kept.rows_of leaves, with a checksum.
"""

import fcntl
import hashlib
import json
import shutil
from dataclasses import dataclass
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
from alembert.io.errors import Say, UserError
from alembert.io.files import cache, naming
from alembert.models.trace import no_grad_trace
from alembert.objectives import recorded
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import add_weights
from alembert.training.trace_file import TraceFile, bytes_of, verify, write

FILE = 2**27  # bytes of a file at most: what an interrupted reading loses, and twice its memory
TOKENS = 4096  # padding too, that the teacher reads at a time
OPEN = 1000  # files that are mapped at a time
MEND = "free some space, or name another folder in XDG_CACHE_HOME"


@dataclass(frozen=True)
class Caching:
    """How what a teacher says of a corpus is kept: words of a soft label, precision of states."""

    top: int = 128
    precision: str = "bf16"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UserError(f"--cache-top {self.top}: keep 1 word or more")
        if self.precision not in ("bf16", "fp32"):
            raise UserError(f"--cache-precision {self.precision}: choose bf16 or fp32")


class WithTeacherTraces(torch.utils.data.Dataset[dict[str, Any]]):
    """Sequences with their masks and what the teacher left of them (kept.rows_of)."""

    def __init__(self, rows: Corpus | Masked, folder: Path, size: int) -> None:
        self.rows, self.lengths = rows, rows.lengths
        self._folder, self._size = folder, size
        self._parts: dict[int, TraceFile] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = index - index % self._size
        if start not in self._parts:
            if len(self._parts) == OPEN:
                self._parts.pop(next(iter(self._parts)))
            lengths = self.lengths[start : start + self._size]
            self._parts[start] = TraceFile(_path(self._folder, start), lengths)
        return {**self.rows[index], **self._parts[start][index - start]}


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
                f"--cache-teacher: what the teacher leaves of sequence {place} is not a number "
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
    say: Say,
) -> WithTeacherTraces:
    """The corpus with what its teacher says of it, read once for all epochs and runs.

    masking: drawn once a sequence, from the seed. Kept under the user's cache by what it depends
    on; what is missing or damaged is read. Raises UserError when the disk has no room for it.
    """
    teacher = distillation.teacher
    assert teacher is not None
    what = recorded.trace_spec(distillation.objective, distillation.reads[1])
    home = cache("teacher") / _key(teacher, rows, masking, what, asked, seed, accelerator)
    seen = rows if masking is None else Masked(rows, masking, seed)
    distillation.ready(accelerator.device, accelerator.mixed_precision == "bf16")
    reader = _Reader(teacher, seen, what, asked, pad_token_id, accelerator)
    sizes = _sizes(reader)
    size = max(int(FILE // sizes.max()), 1)
    parts = [range(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]
    with naming(home, MEND):
        home.mkdir(parents=True, exist_ok=True)
        with (home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making the same: wait and use it
            missing = _missing(home, rows, parts, say)
            _room(home, float(sizes.sum()), sum(float(sizes[p].sum()) for p in missing), say)
            with tqdm(
                total=sum(map(len, missing)), unit="seq", desc="teacher", dynamic_ncols=True,
                disable=not missing or None, mininterval=0.5,
            ) as bar:  # fmt: skip
                for part in missing:
                    write(_path(home, part.start), reader.stretch(part, bar))
    if what.reads.vocabulary:
        _say_outside(home, parts, what, min(asked.top, teacher.config.vocab_size), say)
    return WithTeacherTraces(seen, home, size)


def _path(home: Path, start: int) -> Path:
    return home / f"{start:010d}.safetensors"


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


def _missing(home: Path, rows: Corpus, parts: list[range], say: Say) -> list[range]:
    """The stretches whose file is not there, or not whole, which is said."""
    missing = []
    for part in tqdm(parts, unit="file", desc="checking", disable=None, leave=False):
        path = _path(home, part.start)
        found = verify(path, rows.lengths[part.start : part.stop]) if path.exists() else ""
        if found:
            say(f"{path}: is damaged ({found}): its {len(part):,} sequences are read anew")
            path.unlink()
        if found is not None:
            missing.append(part)
    return missing


def _room(home: Path, whole: float, wanted: float, say: Say) -> None:
    """Say what it takes; refuse what the disk has no room for."""
    free = shutil.disk_usage(home).free
    there = "" if wanted else ", there already"
    if wanted and wanted < whole:
        there = f", {_bytes(whole - wanted)} there already"
    say(f"what the teacher says of the corpus takes {_bytes(whole)}{there}; {home}")
    if wanted > free:
        raise UserError(
            f"--cache-teacher: {_bytes(wanted)} are to be written to {home} and {_bytes(free)} are "
            "free: keep fewer words (--cache-top), free some space, name another folder in "
            "XDG_CACHE_HOME, or leave --cache-teacher out"
        )


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _say_outside(
    home: Path, parts: list[range], what: recorded.TraceSpec, k: int, say: Say
) -> None:
    """What cutting at the k likeliest words leaves out."""
    read = [TraceFile.outside(_path(home, part.start)) for part in parts]
    rows = sum(count for count, _ in read)
    for i, temperature in enumerate(what.temperatures):
        mean = sum(masses[i] for _, masses in read) / max(rows, 1)
        say(
            f"soft labels at temperature {temperature:g}: {mean:.2%} of the teacher's mass lies "
            f"outside the {k:,} likeliest words and is learnt as one (mean of {rows:,} rows)"
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
    plain: list[Any] = [1, accelerator.mixed_precision, asked.top, asked.precision]
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
