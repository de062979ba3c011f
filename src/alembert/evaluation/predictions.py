"""What teacher and student said of each text that a run was judged by: RUN/predictions.parquet."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import IGNORED, Encoded
from alembert.data.tasks import Task
from alembert.evaluation.metrics import Logits
from alembert.io.errors import UserError
from alembert.io.files import atomic

FILE = "predictions.parquet"
MOST = 5_000_000  # numbers of one model that are kept, 20 MB: of more, rows evenly spaced


@dataclass(frozen=True)
class Predictions:
    """Rows that have a label. Truth and logits per row: of a text an id, a score or (C,) 0/1, and
    (C,) float32; of tags (W,) ids and (W, C), at the words, which `words` spells as they were read.

    `total`: how many rows were judged, of which these are all or a part.
    """

    kind: str
    labels: tuple[str, ...]
    texts: list[str]
    words: list[list[str]]  # of tags; else empty
    truth: list[Any]
    logits: dict[str, list[NDArray[np.float32]]]  # teacher, student; or model alone
    total: int

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def guide(self) -> str:
        """Whose answers come first: the teacher, or the one model."""
        return next(iter(self.logits))

    @property
    def own(self) -> str:
        """The student, or the one model."""
        return next(reversed(self.logits))

    def stacked(self, who: str) -> NDArray[np.float32]:
        """(N, C): of tags, all words one after the other."""
        rows = self.logits[who]
        return np.concatenate(rows) if self.kind == "tokens" else np.stack(rows)

    def known(self) -> NDArray[Any]:
        """The truth beside `stacked`: (N,), or (N, C) of several labels."""
        return np.concatenate(self.truth) if self.kind == "tokens" else np.array(self.truth)


def predictions_of(
    task: Task,
    texts: Sequence[str],
    read: dict[str, Encoded],
    logits: dict[str, Logits],
    tokenizer: PreTrainedTokenizerBase,
) -> Predictions:
    """What is kept of a judgement: logits of teacher and student, or of a student alone.

    read: the texts as each of them reads them; tokenizer: the student's. Of tags those words
    count that both have read.
    """
    if "teacher" not in logits:
        logits, read = {"model": logits["student"]}, {"model": read["student"]}
    data = read[own := next(reversed(read))]
    rows = [i for i in range(len(data)) if _labelled(data[i]["labels"])]
    width = len(task.labels) * (sum(data.lengths) if data.per_token else len(rows))
    step = -(-width // MOST) or 1
    kept, words = rows[::step], []
    places: dict[str, dict[int, Any]] = {who: {} for who in read}
    if data.per_token:
        for i in kept:
            found = {who: np.flatnonzero(_tags(each, i) != IGNORED) for who, each in read.items()}
            both = min(map(len, found.values()))
            for who, where in found.items():
                places[who][i] = where[:both]
            words.append(_spelt(data[i]["input_ids"], places[own][i], tokenizer))
    return Predictions(
        task.kind,
        task.labels,
        [texts[i] for i in kept],
        words,
        [_tags(data, i)[places[own].get(i, ...)] for i in kept],
        {who: [said[i][places[who].get(i, ...)] for i in kept] for who, said in logits.items()},
        len(rows),
    )


def _tags(data: Encoded, row: int) -> NDArray[Any]:
    return np.array(data[row]["labels"])


def _labelled(labels: Any) -> bool:
    """Whether a row (of tags: any word of it) has a label."""
    values = np.atleast_1d(labels)
    return bool((values != IGNORED).any() and not np.isnan(values).any())


def _spelt(
    ids: list[int], places: NDArray[np.int64], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """The words that begin at these places, each with the pieces up to the next."""
    ends = [*places[1:], len(ids)]
    spelt = [ids[a:b] for a, b in zip(places, ends, strict=True)]
    return [str(tokenizer.decode(piece, skip_special_tokens=True)).strip() for piece in spelt]


def save(run: Path, found: Predictions) -> None:
    """RUN/predictions.parquet, a row a text; its metadata say kind, labels and total."""
    columns: dict[str, Any] = {"text": found.texts, "label": [np.ravel(x) for x in found.truth]}
    if found.words:
        columns["words"] = found.words
    columns |= {who: [row.ravel() for row in rows] for who, rows in found.logits.items()}
    about = {"kind": found.kind, "labels": found.labels, "total": found.total}
    table = pa.table(columns).replace_schema_metadata({"alembert": json.dumps(about)})
    with atomic(run / FILE) as partial:
        pq.write_table(table, partial)


def load(run: Path) -> Predictions | None:
    """What was saved, or None where nothing was. Raises UserError for a broken file."""
    path = run / FILE
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"alembert"])
        columns = {
            name: [row.values.to_numpy(zero_copy_only=False) for row in table[name]]
            for name in ("label", "teacher", "student", "model")
            if name in table.column_names
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}): delete it, and the report makes it again"
        ) from error
    kind, labels = about["kind"], tuple(about["labels"])
    if kind in ("classification", "regression"):
        columns["label"] = [row[0] for row in columns["label"]]
    if kind == "tokens":
        for who in columns.keys() - {"label"}:
            columns[who] = [row.reshape(-1, len(labels)) for row in columns[who]]
    words = table["words"].to_pylist() if "words" in table.column_names else []
    truth = columns.pop("label")
    return Predictions(
        kind, labels, table["text"].to_pylist(), words, truth, columns, about["total"]
    )
