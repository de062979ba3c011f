"""A teacher's answers to the rows of a task: made once, kept on disk, keyed by their content."""

import fcntl
import hashlib
import io
import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from alembert.data.collate import pad
from alembert.data.encoded import Encoded
from alembert.io.errors import UserError
from alembert.io.files import cache, naming
from alembert.models.trace import Reads, no_grad_trace

PART = 4096  # rows of a file: what an interrupted run loses at most
BATCH = 64


class RowSubset(NamedTuple):
    """The rows that a teacher is asked about: the first `reads` of `order`, all rows' numbers."""

    order: NDArray[np.int64]
    reads: int


class WithTeacherLogits(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows with `teacher_logits` (C,), or (T, C) of a token task, beside what they had.

    asked: which of them have some, where not all have; `logits` are in its order.
    """

    def __init__(
        self, rows: Encoded, logits: list[NDArray[np.float32]], asked: RowSubset | None = None
    ) -> None:
        self.rows, self.logits, self.lengths, self.asked = rows, logits, rows.lengths, asked
        self._places, self._offsets = np.arange(len(rows)), rows.offsets
        if asked is not None:
            self._places = np.argsort(asked.order)
            lengths = np.asarray(rows.lengths, np.int64)[asked.order]
            self._offsets = np.concatenate(([0], np.cumsum(lengths)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, place = divmod(int(self._places[index]), PART)
        if self.rows.per_token:
            first, place = part * PART, part * PART + place
            span = self._offsets[[place, place + 1]] - self._offsets[first]
            place = slice(*span)  # type: ignore[assignment]
        return {**self.rows[index], "teacher_logits": self.logits[part][place]}


def cached_logits(
    teacher: PreTrainedModel,
    rows: Encoded,
    pad_token_id: int,
    accelerator: Accelerator,
    asked: RowSubset | None = None,
) -> WithTeacherLogits:
    """The rows with their teacher's logits; each text is read once, whatever is trained on them.

    Of several processes each makes its share of the parts; all must call it. Kept under the
    user's cache by what they depend on: weights, token ids, precision.
    """
    order, count = asked or (np.arange(len(rows)), len(rows))
    home = cache("answers") / _key(teacher, rows, accelerator.mixed_precision, asked)
    teacher.to(accelerator.device)
    numbers = {first: order[first : first + PART].tolist() for first in range(0, count, PART)}
    parts = list(numbers)
    student = parts[accelerator.process_index :: accelerator.num_processes]
    kept: dict[int, NDArray[np.float32]] = {}
    with naming(home, "free some space, or name another folder in XDG_CACHE_HOME"):
        home.mkdir(parents=True, exist_ok=True)
        missing = [first for first in student if not _file(home, first).is_file()]
        with tqdm(
            total=sum(len(numbers[first]) for first in missing), unit="text", desc="teacher",
            dynamic_ncols=True, mininterval=0.5,
            disable=not missing or not accelerator.is_main_process or None,
        ) as bar:  # fmt: skip
            for share in (student, parts):  # the others' is there then, or their cache is another
                for first in share:
                    if first not in kept:
                        kept[first] = _compute(
                            _file(home, first), teacher, rows, numbers[first], pad_token_id,
                            accelerator, bar,
                        )  # fmt: skip
                accelerator.wait_for_everyone()
    return WithTeacherLogits(rows, [kept[first] for first in parts], asked)


def _compute(
    path: Path,
    teacher: PreTrainedModel,
    rows: Encoded,
    numbers: Sequence[int],
    pad_token_id: int,
    accelerator: Accelerator,
    bar: "tqdm[Any]",
) -> NDArray[np.float32]:
    """The logits of the rows of these numbers, read from disk or made and put there."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making the same: wait and use it
        logits = _load(path, rows, numbers)
        if logits is None:
            logits = _read(teacher, rows, numbers, pad_token_id, accelerator, bar)
            _save(path, logits)
    return logits


def _file(home: Path, first: int) -> Path:
    return home / f"{first:09d}.npy"


def _load(path: Path, rows: Encoded, numbers: Sequence[int]) -> NDArray[np.float32] | None:
    """A part's logits; None where there is none, or a file that is not what was written: said."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    body, checksum = content[:-4], content[-4:]
    wanted = sum(rows.lengths[i] for i in numbers) if rows.per_token else len(numbers)
    if len(checksum) == 4 and int.from_bytes(checksum) == zlib.crc32(body):
        found: NDArray[np.float32] = np.load(io.BytesIO(body))
        if found.ndim == 2 and len(found) == wanted:
            return found
    logging.getLogger(__name__).warning("%s: is damaged: its answers are made anew", path)
    return None


def _save(path: Path, logits: NDArray[np.float32]) -> None:
    """As np.save, and four bytes more: a CRC-32 of all before."""
    held = io.BytesIO()
    np.save(held, logits)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(held.getbuffer())
        file.write(zlib.crc32(held.getbuffer()).to_bytes(4))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _read(
    teacher: PreTrainedModel,
    rows: Encoded,
    numbers: Sequence[int],
    pad_token_id: int,
    accelerator: Accelerator,
    bar: "tqdm[Any]",
) -> NDArray[np.float32]:
    order = sorted(numbers, key=rows.lengths.__getitem__)
    found: dict[int, NDArray[np.float32]] = {}
    for first in range(0, len(order), BATCH):
        places = order[first : first + BATCH]
        batch = pad([rows[i] for i in places], pad_token_id)
        on_device = {k: v.to(accelerator.device) for k, v in batch.items()}
        with accelerator.autocast():
            logits = no_grad_trace(teacher, on_device, Reads(logits=True)).logits
        assert logits is not None
        _check(teacher, logits, places)
        for place, row in zip(places, logits.float().cpu().numpy(), strict=True):
            found[place] = row[: rows.lengths[place]] if rows.per_token else row
        bar.update(len(places))
    join = np.concatenate if rows.per_token else np.stack
    return join([found[i] for i in numbers])


def _check(teacher: PreTrainedModel, logits: Tensor, places: Sequence[int]) -> None:
    """Refuse answers that are no numbers before they are kept. logits (B, ...), of these rows."""
    fine = logits.isfinite().flatten(1).all(dim=1).tolist()
    if not all(fine):
        raise UserError(
            f"{teacher.name_or_path}: this teacher answers text {places[fine.index(False)] + 1} of "
            "those trained on with NaN or infinity: train it with --precision fp32, or name "
            "another with --teacher"
        )


def _key(teacher: PreTrainedModel, rows: Encoded, precision: str, asked: RowSubset | None) -> str:
    known = hashlib.sha256(f"2 {precision} ".encode())
    add_weights(known, teacher)
    for array in (rows.input_ids, np.array(rows.lengths), rows.token_type_ids):
        known.update(b"-" if array is None else np.ascontiguousarray(array).data)
    if asked is not None:
        known.update(np.ascontiguousarray(asked.order).data)
    return known.hexdigest()[:32]


def add_weights(known: "hashlib._Hash", model: PreTrainedModel, unread: str | None = None) -> None:
    """Take a model's config and its weights, but those named so, into a hash."""
    known.update(model.config.to_json_string().encode())
    for name, weight in model.state_dict().items():
        if unread is not None and unread in name:
            continue
        known.update(name.encode())
        known.update(weight.cpu().contiguous().view(torch.uint8).numpy().data)
