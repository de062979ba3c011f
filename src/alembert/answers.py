"""A teacher's answers to every row of a task: made once, kept on disk, keyed by their content."""

import fcntl
import hashlib
import io
import logging
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from alembert.data.collate import pad
from alembert.data.encoded import Encoded
from alembert.errors import UserError
from alembert.trace import Reads, no_grad_trace
from alembert.writing import cache, named

PART = 4096  # rows of a file: what an interrupted run loses at most
BATCH = 64


class Answered(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows with `teacher_logits` (C,), or (T, C) of a token task, beside what they had."""

    def __init__(self, rows: Encoded, logits: list[NDArray[np.float32]]) -> None:
        self.rows, self.logits, self.lengths = rows, logits, rows.lengths

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, place = divmod(index, PART)
        if self.rows.per_token:
            first = self.rows.offsets[part * PART]
            place = slice(*(self.rows.offsets[[index, index + 1]] - first))  # type: ignore[assignment]
        return {**self.rows[index], "teacher_logits": self.logits[part][place]}


def answered(
    teacher: PreTrainedModel, rows: Encoded, pad_token_id: int, accelerator: Accelerator
) -> Answered:
    """The rows with their teacher's logits; each text is read once, whatever is trained on them.

    Of several processes each makes its share of the parts; all must call it. Kept under the
    user's cache by what they depend on: weights, token ids, precision.
    """
    home = cache("answers") / _key(teacher, rows, accelerator.mixed_precision)
    teacher.to(accelerator.device)
    parts = [range(first, min(first + PART, len(rows))) for first in range(0, len(rows), PART)]
    mine = parts[accelerator.process_index :: accelerator.num_processes]
    kept: dict[int, NDArray[np.float32]] = {}
    with named(home, "free some space, or name another folder in XDG_CACHE_HOME"):
        home.mkdir(parents=True, exist_ok=True)
        missing = [part for part in mine if not _file(home, part).is_file()]
        with tqdm(
            total=sum(map(len, missing)), unit="text", desc="teacher", dynamic_ncols=True,
            disable=not missing or not accelerator.is_main_process or None, mininterval=0.5,
        ) as bar:  # fmt: skip
            for share in (mine, parts):  # the others' is there then, or their cache is another
                for part in share:
                    if part.start not in kept:
                        kept[part.start] = _made(
                            home, teacher, rows, part, pad_token_id, accelerator, bar
                        )
                accelerator.wait_for_everyone()
    return Answered(rows, [kept[part.start] for part in parts])


def _made(
    home: Path,
    teacher: PreTrainedModel,
    rows: Encoded,
    part: range,
    pad_token_id: int,
    accelerator: Accelerator,
    bar: "tqdm[Any]",
) -> NDArray[np.float32]:
    """A part's logits, read from disk or made and put there."""
    path = _file(home, part)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making the same: wait and use it
        logits = _load(home, rows, part)
        if logits is None:
            logits = _read(teacher, rows, part, pad_token_id, accelerator, bar)
            _save(path, logits)
    return logits


def _file(home: Path, part: range) -> Path:
    return home / f"{part.start:09d}.npy"


def _load(home: Path, rows: Encoded, part: range) -> NDArray[np.float32] | None:
    """A part's logits; None where there is none, or a file that is not what was written: said."""
    path = _file(home, part)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    body, checksum = content[:-4], content[-4:]
    tokens = rows.offsets[[part.start, part.stop]]
    wanted = int(tokens[1] - tokens[0]) if rows.per_token else len(part)
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
    chosen: range,
    pad_token_id: int,
    accelerator: Accelerator,
    bar: "tqdm[Any]",
) -> NDArray[np.float32]:
    order = sorted(chosen, key=rows.lengths.__getitem__)
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
    return join([found[i] for i in chosen])


def _check(teacher: PreTrainedModel, logits: Tensor, places: Sequence[int]) -> None:
    """Refuse answers that are no numbers before they are kept. logits (B, ...), of these rows."""
    fine = logits.isfinite().flatten(1).all(dim=1).tolist()
    if not all(fine):
        raise UserError(
            f"{teacher.name_or_path}: this teacher answers text {places[fine.index(False)] + 1} of "
            "those trained on with NaN or infinity: train it with --precision fp32, or name "
            "another with --teacher"
        )


def _key(teacher: PreTrainedModel, rows: Encoded, precision: str) -> str:
    known = hashlib.sha256(f"2 {precision} ".encode())
    add_weights(known, teacher)
    for array in (rows.input_ids, np.array(rows.lengths), rows.token_type_ids):
        known.update(b"-" if array is None else np.ascontiguousarray(array).data)
    return known.hexdigest()[:32]


def add_weights(known: "hashlib._Hash", model: PreTrainedModel, unread: str | None = None) -> None:
    """Take a model's config and its weights, but those named so, into a hash."""
    known.update(model.config.to_json_string().encode())
    for name, weight in model.state_dict().items():
        if unread is not None and unread in name:
            continue
        known.update(name.encode())
        known.update(weight.cpu().contiguous().view(torch.uint8).numpy().data)
