"""RUN/predictions.parquet: the logits of teacher and student for each evaluated text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import IGNORED, Encoded
from alembert.data.files import columnar
from alembert.data.tasks import KINDS, Task
from alembert.evaluation.metrics import Logits
from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import atomic
from alembert.io.parsing import COUNT, TEXT, json_of, misfit

FILE = "predictions.parquet"
_AGAIN = "delete it, and the report makes it again"
_MODELS = ({"teacher", "student"}, {"student"}, {"model"})  # whose logits are in a file
_SLICE = "slice:"  # before the name of a column of --slice
_IMPOSSIBLE = -1e4  # a logit whose probability is 0 in float64
MOST = 5_000_000  # logits stored of each model, 20 MB; of more rows, evenly spaced ones are stored


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The labelled rows, with the label (`truth`) and the logits of each.

    A text's truth is an id, a score or (C,) 0/1, and its logits are (C,) float32. Tags have truth
    (W,) and logits (W, C) at the W words that the models read, which `words` lists. `total` is the
    number of rows evaluated, of which these are all or a part. `more` has the logits of what is
    compared with these models, such as "deployed", the student's export. `slices` has the value of
    each text in the columns of --slice.
    """

    kind: str
    labels: tuple[str, ...]
    texts: list[str]
    words: list[list[str]]  # empty unless the labels are tags
    truth: list[Any]
    logits: dict[str, list[NDArray[np.float32]]]  # teacher, student; or model alone
    total: int
    more: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    slices: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def guide(self) -> str:
        """The name of the first model: the teacher, or the only one."""
        return next(iter(self.logits))

    @property
    def own(self) -> str:
        """The name of the last model: the student, or the only one."""
        return next(reversed(self.logits))

    def stacked(self, who: str) -> NDArray[np.float32]:
        """A model's logits (N, C); for tags N is all words, one after the other."""
        rows = (self.logits | self.more)[who]
        return np.concatenate(rows) if self.kind == "tokens" else np.stack(rows)

    def known(self) -> NDArray[Any]:
        """The truth beside `stacked`: (N,), or (N, C) of several labels."""
        return np.concatenate(self.truth) if self.kind == "tokens" else np.array(self.truth)


def predictions_of(
    task: Task,
    texts: Sequence[str],
    encoded: dict[str, Encoded],
    logits: dict[str, Logits],
    tokenizer: PreTrainedTokenizerBase,
    more: Mapping[str, Logits] | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
) -> Predictions:
    """The table of an evaluation: logits of teacher and student, or of one model alone.

    encoded has the rows as each model reads them, and tokenizer is the student's, as are the rows
    that `more` logits are of. For tags, the words that both models read are stored. slices has the
    value of each of the texts in some columns.
    """
    encoded = {name: rows.whole for name, rows in encoded.items()}
    if "teacher" not in logits:
        logits, encoded = {"model": logits["student"]}, {"model": encoded["student"]}
    data = encoded[student := next(reversed(encoded))]
    there = data.labelled
    if data.per_token:
        there = np.logical_or.reduceat(there, data.offsets[:-1])
    labelled = np.flatnonzero(there).tolist()
    width = len(task.labels) * (sum(data.lengths) if data.per_token else len(labelled))
    step = -(-width // MOST) or 1
    chosen, words = labelled[::step], []
    logits = {who: [_padded(row, len(data.unseen)) for row in rows] for who, rows in logits.items()}
    positions: dict[str, dict[int, Any]] = {name: {} for name in encoded}
    if data.per_token:
        for i in chosen:
            starts = {k: np.flatnonzero(_tags(e, i) != IGNORED) for k, e in encoded.items()}
            count = min(map(len, starts.values()))
            for name, where in starts.items():
                positions[name][i] = where[:count]
            words.append(_decode_words(data[i]["input_ids"], positions[student][i], tokenizer))
    return Predictions(
        kind=task.kind,
        labels=(*task.labels, *data.unseen),
        texts=[texts[i] for i in chosen],
        words=words,
        truth=[_tags(data, i)[positions[student].get(i, ...)] for i in chosen],
        logits={
            k: [rows[i][positions[k].get(i, ...)] for i in chosen] for k, rows in logits.items()
        },
        total=len(labelled),
        more={
            k: [_padded(rows[i], len(data.unseen))[positions[student].get(i, ...)] for i in chosen]
            for k, rows in (more or {}).items()
        },
        slices={name: [values[i] for i in chosen] for name, values in (slices or {}).items()},
    )


def _padded(row: NDArray[np.float32], unseen: int) -> NDArray[np.float32]:
    """Logits of a row with those of labels that the model has not: a probability of 0."""
    return np.pad(row, [(0, 0)] * (row.ndim - 1) + [(0, unseen)], constant_values=_IMPOSSIBLE)


def _tags(data: Encoded, row: int) -> NDArray[Any]:
    return np.array(data[row]["labels"])


def _decode_words(
    ids: list[int], starts: NDArray[np.int64], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """The words that begin at these positions, decoded from the tokens up to the next word."""
    ends = [*starts[1:], len(ids)]
    words = [ids[a:b] for a, b in zip(starts, ends, strict=True)]
    return [str(tokenizer.decode(word, skip_special_tokens=True)).strip() for word in words]


def save(run: Path, table: Predictions) -> None:
    """Writes RUN/predictions.parquet, a row a text, with kind, labels and total as metadata."""
    columns: dict[str, Any] = {"text": table.texts, "label": [np.ravel(x) for x in table.truth]}
    if table.words:
        columns["words"] = table.words
    every = table.logits | table.more
    columns |= {who: [row.ravel() for row in rows] for who, rows in every.items()}
    metadata = {"kind": table.kind, "labels": table.labels, "total": table.total}
    metadata |= {"more": list(table.more)} if table.more else {}
    if table.slices:
        metadata["slices"] = list(table.slices)
        columns |= {f"{_SLICE}{name}": values for name, values in table.slices.items()}
    arrow = pa.table(columns).replace_schema_metadata({"alembert": json.dumps(metadata)})
    with atomic(run / FILE) as partial:
        pq.write_table(arrow, partial)


def load(run: Path) -> Predictions | None:
    """Reads RUN/predictions.parquet; None without a file. Raises UserError for a broken file."""
    path = run / FILE
    if not path.is_file():
        return None
    checksums.check(path, _AGAIN)
    try:
        return _predictions_in(columnar.read_parquet(path))
    except (UserError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())[:200]
        raise UserError(f"{path}: cannot be read ({reason}): {_AGAIN}") from error


def _predictions_in(table: pa.Table) -> Predictions:
    """The predictions in a table. Raises ValueError, KeyError or TypeError where it holds none."""
    metadata = json_of(table.schema.metadata[b"alembert"].decode())
    shape = {"kind": TEXT, "labels": [TEXT], "total": COUNT, "more?": [TEXT], "slices?": [TEXT]}
    if reason := misfit(metadata, shape):
        raise ValueError(reason)
    others = metadata.get("more") or ()
    kind, labels = metadata["kind"], tuple(metadata["labels"])
    if kind not in KINDS or not labels or len(table) == 0:
        raise ValueError(f"kind {kind!r}, {len(labels)} labels, {len(table)} rows")
    texts = table["text"].to_pylist()
    words = table["words"].to_pylist() if "words" in table.column_names else []
    slices = {name: table[f"{_SLICE}{name}"].to_pylist() for name in metadata.get("slices") or ()}
    if not all(isinstance(each, str) for values in (texts, *slices.values()) for each in values):
        raise ValueError("a text is missing")
    truth = _rows_of(table["label"])
    logits = {
        who: _rows_of(table[who])
        for who in ("teacher", "student", "model", *others)
        if who in table.column_names
    }
    models = {who for who in logits if who not in others}
    if models not in _MODELS or (kind == "tokens") != bool(words):
        raise ValueError("columns are missing, or too many")
    # of each row: values of the truth, and logits for each of them
    counts = [len(row or ()) for row in words] if words else [1] * len(texts)
    each = len(labels) if kind == "multilabel" else 1
    _check_rows(truth, counts, each, "label")
    for who, rows in logits.items():
        _check_rows(rows, counts, len(labels), who)
    if kind in ("classification", "tokens") and any(
        row.dtype.kind not in "iu" or (row < 0).any() or (row >= len(labels)).any() for row in truth
    ):
        raise ValueError("a label is no number of a class")
    if kind == "tokens":
        logits = {w: [row.reshape(-1, len(labels)) for row in rows] for w, rows in logits.items()}
    return Predictions(
        kind=kind,
        labels=labels,
        texts=texts,
        words=words,
        truth=[row[0] for row in truth] if kind in ("classification", "regression") else truth,
        logits={who: rows for who, rows in logits.items() if who not in others},
        total=metadata["total"],
        more={who: rows for who, rows in logits.items() if who in others},
        slices=slices,
    )


def _rows_of(column: pa.ChunkedArray) -> list[NDArray[Any]]:
    """The lists of numbers in a column as arrays."""
    kind = column.type
    if not pa.types.is_list(kind) and not pa.types.is_large_list(kind):
        raise ValueError(f"{kind} where lists of numbers are expected")
    if not pa.types.is_integer(kind.value_type) and not pa.types.is_floating(kind.value_type):
        raise ValueError(f"{kind} where lists of numbers are expected")
    if column.null_count:
        raise ValueError("a row is missing")
    return [row.values.to_numpy(zero_copy_only=False) for row in column]


def _check_rows(rows: list[NDArray[Any]], counts: list[int], each: int, name: str) -> None:
    for number, (row, count) in enumerate(zip(rows, counts, strict=True), start=1):
        if len(row) != count * each:
            raise ValueError(f"row {number}: {len(row)} values in {name!r} for {count * each}")
        if not np.isfinite(row).all():
            raise ValueError(f"row {number}: NaN or infinity in {name!r}")
