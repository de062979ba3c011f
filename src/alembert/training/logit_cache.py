"""A teacher's answers to the rows of a task: made once, kept on disk, keyed by their content."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from alembert.data.collate import pad
from alembert.data.encoded import Encoded
from alembert.io.errors import UserError
from alembert.io.files import cache
from alembert.io.parts import Parts
from alembert.io.tensors import damage_of_part, save_part
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
    home = cache("logits") / _key(teacher, rows, accelerator.mixed_precision, asked)
    parts = Parts(home, ".safetensors", count, PART, damage_of_part)
    teacher.to(accelerator.device)
    share = parts.ranges[accelerator.process_index :: accelerator.num_processes]
    missing = sum(len(part) for part in share if not parts.path(part).is_file())
    logits: dict[range, NDArray[np.float32]] = {}
    with tqdm(
        total=missing, unit="text", desc="teacher", dynamic_ncols=True, mininterval=0.5,
        disable=not missing or not accelerator.is_main_process or None,
    ) as bar:  # fmt: skip

        def write(part: range, path: Path) -> None:
            numbers = order[part.start : part.stop].tolist()
            made = _read(teacher, rows, numbers, pad_token_id, accelerator, bar)
            save_part(path, part, {"logits": torch.from_numpy(made)}, {})

        for each in (share, parts.ranges):  # the others' are there then, or their cache is another
            for part in each:
                if part not in logits:
                    parts.make(part, partial(write, part))
                    logits[part] = load_file(parts.path(part))["logits"]
            accelerator.wait_for_everyone()
    return WithTeacherLogits(rows, [logits[part] for part in parts.ranges], asked)


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
            f"{teacher.name_or_path}: its logits of training text {places[fine.index(False)] + 1} "
            "are NaN or infinity: train it with --precision fp32, or name "
            "another with --teacher"
        )


def _key(teacher: PreTrainedModel, rows: Encoded, precision: str, asked: RowSubset | None) -> str:
    known = hashlib.sha256(f"3 {precision} ".encode())
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
