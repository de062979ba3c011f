"""What a teacher says of a task's rows: its logits in a cache on disk, its states in memory.

The logits are keyed by weights, ids and precision. States are kept for one stage that reads each
row in several epochs. They are computed in an order of their own, so that a stage that is resumed
has the same ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor
from transformers import PreTrainedModel

from alembert.data.batches import Rows
from alembert.data.collate import by_length, pad
from alembert.data.encoded import Encoded
from alembert.io.environment import memory
from alembert.io.errors import UserError
from alembert.io.files import cache
from alembert.io.progress import Work
from alembert.io.tensors import Parts, save_part
from alembert.models.trace import Reads, no_grad_trace
from alembert.objectives import recorded
from alembert.training.distillation import Distillation
from alembert.training.monitor import Length

MEMORY = 2**32  # bytes of a stage's states, at most, and an eighth of the machine's memory
EPOCHS = 1.25  # that a stage reads at least, for its states to be kept: they are one pass
TOKENS = 4096  # of a batch whose states are computed to be kept, with padding
PART = 4096  # rows of a file; an interrupted run loses one file at most
BATCH = 64
LOGITS = "teacher_logits"


class RowSubset(NamedTuple):
    """The rows that a stage reads: the first `reads` of `order`, which has all rows' numbers."""

    order: NDArray[np.int64]
    reads: int


class WithTeacherLogits(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows with teacher_logits added: (C,), or (T, C) of a token task.

    `subset` is set where not all rows have them; `logits` are in its order.
    """

    def __init__(
        self, rows: Encoded, logits: list[NDArray[np.float32]], subset: RowSubset | None = None
    ) -> None:
        self.rows, self.logits, self.lengths, self.subset = rows, logits, rows.lengths, subset
        self._positions, self._offsets = np.arange(len(rows)), rows.offsets
        if subset is not None:
            self._positions = np.argsort(subset.order)
            lengths = np.asarray(rows.lengths, np.int64)[subset.order]
            self._offsets = np.concatenate(([0], np.cumsum(lengths)))

    @classmethod
    def of(cls, rows: Encoded, logits: NDArray[np.float32]) -> "WithTeacherLogits":
        """Return the rows with logits (N, C), or (N', C) over the tokens of a token task."""
        starts = np.arange(PART, len(rows), PART)
        return cls(rows, np.split(logits, rows.offsets[starts] if rows.per_token else starts))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, row = divmod(int(self._positions[index]), PART)
        if self.rows.per_token:
            first, row = part * PART, part * PART + row
            span = self._offsets[[row, row + 1]] - self._offsets[first]
            row = slice(*span)  # type: ignore[assignment]
        return {**self.rows[index], LOGITS: self.logits[part][row]}


def cached_logits(
    teacher: PreTrainedModel,
    rows: Encoded,
    pad_token_id: int,
    accelerator: Accelerator,
    subset: RowSubset | None = None,
) -> WithTeacherLogits:
    """Return the rows with their teacher's logits, which are computed once for all runs.

    Each process computes its share of the parts; all must call it. The key in the user's cache has
    the teacher's weights, the token ids and the precision. Raises UserError for NaN or infinity.
    """
    order, count = subset or (np.arange(len(rows)), len(rows))
    home = cache("logits") / _key(teacher, rows, accelerator.mixed_precision, subset)
    parts = Parts(home, len(order), PART)
    needed = parts.ranges[
        : -(-count // PART)
    ]  # whole parts, so that a longer run goes on from them
    teacher.to(accelerator.device)
    share = needed[accelerator.process_index :: accelerator.num_processes]
    missing = sum(len(part) for part in share if not parts.path(part).is_file())
    logits: dict[range, NDArray[np.float32]] = {}
    with Work("teacher's answers", missing, "texts") as work:

        def write(part: range, path: Path) -> None:
            numbers = order[part.start : part.stop].tolist()
            computed = _compute(teacher, rows, numbers, pad_token_id, accelerator, work)
            save_part(path, part, {"logits": torch.from_numpy(computed)}, {})

        for each in (share, needed):  # other processes' parts exist by then in a shared cache
            for part in each:
                if part not in logits:
                    parts.make(part, partial(write, part))
                    logits[part] = load_file(parts.path(part))["logits"]
            accelerator.wait_for_everyone()
    return WithTeacherLogits(rows, [logits[part] for part in needed], subset)


class WithTeacherTraces(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows with what a teacher's forward pass leaves behind.

    states are tensors (tokens of all rows, ...), and logits (N, C), or None where the rows have
    them already, where each token has its own (a state), and where nobody reads them.
    """

    def __init__(self, rows: Rows, states: dict[str, Tensor], logits: Tensor | None) -> None:
        self.rows, self.lengths = rows, rows.lengths
        self._states, self._logits = states, logits
        self._starts = np.concatenate(([0], np.cumsum(rows.lengths, dtype=np.int64)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        part = slice(*self._starts[[index, index + 1]].tolist())
        row = {**self.rows[index], **{name: x[part] for name, x in self._states.items()}}
        return row if self._logits is None else {**row, LOGITS: self._logits[index]}


def are_read_often(length: Length, batch_size: int, rows: int) -> bool:
    """Return whether a stage reads its rows so often that the teacher's states are to be kept."""
    return length.floor * batch_size >= EPOCHS * rows


def with_traces(
    distillation: Distillation,
    rows: Rows,
    pad_token_id: int,
    accelerator: Accelerator,
    share: float = 1.0,
) -> Rows:
    """Return the rows with their teacher's states, computed once for all epochs of a stage.

    In bf16 they are rounded to it. The rows stay as they are where no states are read, where these
    take too much memory, on several processes, and on a GPU, on which a teacher is quicker than a
    copy of its states. These rows, a sample of a stage's, may take `share` of the memory.
    """
    teacher, reads = distillation.teacher, distillation.reads[1]
    if isinstance(rows, WithTeacherLogits):
        reads = replace(reads, logits=False)
    alone = accelerator.num_processes == 1 and accelerator.device.type == "cpu"
    if teacher is None or not alone or not (reads.hidden or reads.attention):
        return rows
    half = accelerator.mixed_precision == "bf16"
    distillation.ready(accelerator.device, half)
    spec = recorded.trace_spec(distillation.objective, reads)

    def computed(numbers: Sequence[int]) -> list[dict[str, Tensor]]:
        batch = pad([rows[i] for i in numbers], pad_token_id)
        with accelerator.autocast():
            trace = no_grad_trace(teacher, batch, reads)
        found = recorded.trace_to_rows(trace, batch, spec, 1)
        if trace.logits is not None:
            for row, number, logits in zip(found, numbers, trace.logits, strict=True):
                row[LOGITS] = logits[: rows.lengths[number]] if logits.ndim == 2 else logits
        return found

    total, lengths = int(np.sum(rows.lengths)), rows.lengths
    (first,) = computed([int(np.argmax(lengths))])
    of_text = {LOGITS} if LOGITS in first and first[LOGITS].ndim == 1 else set[str]()
    kept = {
        name: torch.empty(
            (len(rows), *x.shape) if name in of_text else (total, *x.shape[1:]),
            dtype=torch.bfloat16 if half and name != LOGITS else torch.float32,
            device="meta",
        )
        for name, x in first.items()
    }
    if sum(x.nbytes for x in kept.values()) > share * min(MEMORY, memory() // 8):
        return rows
    kept = {name: torch.empty_like(x, device="cpu") for name, x in kept.items()}
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    with Work("teacher's outputs", len(rows), "texts") as work:
        for numbers in by_length(range(len(rows)), lengths, TOKENS):
            for number, row in zip(numbers, computed(numbers), strict=True):
                part = slice(starts[number], starts[number] + lengths[number])
                for name, x in row.items():
                    kept[name][number if name in of_text else part] = x
            work.update(len(numbers))
    return WithTeacherTraces(rows, kept, kept.pop(LOGITS) if of_text else None)


def _compute(
    teacher: PreTrainedModel,
    rows: Encoded,
    numbers: Sequence[int],
    pad_token_id: int,
    accelerator: Accelerator,
    work: Work,
) -> NDArray[np.float32]:
    """Return the logits of these rows, (N, C), or (N', C) over the tokens of a token task."""
    order = sorted(numbers, key=rows.lengths.__getitem__)
    computed: dict[int, NDArray[np.float32]] = {}
    for first in range(0, len(order), BATCH):
        batch_rows = order[first : first + BATCH]
        batch = pad([rows[i] for i in batch_rows], pad_token_id)
        on_device = {k: v.to(accelerator.device) for k, v in batch.items()}
        with accelerator.autocast():
            logits = no_grad_trace(teacher, on_device, Reads(logits=True)).logits
        assert logits is not None
        _check(teacher, logits, batch_rows)
        for i, row in zip(batch_rows, logits.float().cpu().numpy(), strict=True):
            computed[i] = row[: rows.lengths[i]] if rows.per_token else row
        work.update(len(batch_rows))
    join = np.concatenate if rows.per_token else np.stack
    return join([computed[i] for i in numbers])


def _check(teacher: PreTrainedModel, logits: Tensor, numbers: Sequence[int]) -> None:
    """Raise UserError for logits (B, ...) of these rows that are NaN or infinite."""
    finite = logits.isfinite().flatten(1).all(dim=1).tolist()
    if not all(finite):
        text = numbers[finite.index(False)] + 1
        raise UserError(
            f"{teacher.name_or_path}: its logits of training text {text} are NaN or infinity: "
            "train it with --precision fp32, or name another with --teacher"
        )


def _key(teacher: PreTrainedModel, rows: Encoded, precision: str, subset: RowSubset | None) -> str:
    digest = hashlib.sha256(f"3 {precision} ".encode())
    add_weights(digest, teacher)
    for array in (rows.input_ids, np.array(rows.lengths), rows.token_type_ids):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    if subset is not None:
        digest.update(np.ascontiguousarray(subset.order).data)
    return digest.hexdigest()[:32]


def add_weights(digest: "hashlib._Hash", model: PreTrainedModel, unread: str | None = None) -> None:
    """Add a model's config and its weights to a digest, without those whose name has `unread`."""
    digest.update(model.config.to_json_string().encode())
    for name, weight in model.state_dict().items():
        if unread is not None and unread in name:
            continue
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().view(torch.uint8).numpy().data)
