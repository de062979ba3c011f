"""What of a teacher's trace is kept to teach from later, row by row, and the trace made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alembert.models.logits import TopK
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives import top_k
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import Relations
from alembert.objectives.objective import Objective

WORDS, GAPS, REST = "teacher_words", "teacher_gaps", "teacher_rest"
OF_WORDS = (WORDS, GAPS, REST)  # what has a place for each row with words; the rest has one a token


@dataclass(frozen=True)
class TraceSpec:
    """What an objective reads of its teacher on a corpus.

    attention: which of queries, keys and values; temperatures: of its soft labels, rising.
    """

    reads: Reads
    attention: tuple[str, ...]
    temperatures: tuple[float, ...]


def trace_spec(objective: Objective, reads: Reads) -> TraceSpec:
    """What to keep for an objective that reads this of its teacher."""
    related = any(isinstance(term, Relations) for term in objective)
    soft = {term.temperature for term in objective if isinstance(term, SoftLabels)}
    return TraceSpec(
        reads,
        ("queries", "keys", *(["values"] if related else [])) if reads.attention else (),
        tuple(sorted(soft)),
    )


def trace_to_rows(left: Trace, batch: Batch, what: TraceSpec, k: int) -> list[dict[str, Tensor]]:
    """A trace as what is kept of each text of its batch, which is padded on the right.

    teacher_hidden_L (T, H) and teacher_queries_L (T, A, d) at a text's own tokens; at its rows that
    count teacher_words and teacher_gaps (n, k) and teacher_rest (n, temperatures).
    """
    states = {f"teacher_hidden_{layer}": left.hidden[layer] for layer in sorted(what.reads.hidden)}
    for kind in what.attention:
        for layer in sorted(what.reads.attention):
            states[f"teacher_{kind}_{layer}"] = getattr(left, kind)[layer].transpose(1, 2)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    rows = [{name: x[i, :n] for name, x in states.items()} for i, n in enumerate(lengths)]
    if left.words is not None:
        best = top_k.top_k(left.words, k, what.temperatures)
        rest = torch.stack([best.rest[temperature] for temperature in what.temperatures], dim=1)
        counts = left.words.selected.sum(dim=1).tolist()
        for name, whole in ((WORDS, best.ids), (GAPS, best.gaps), (REST, rest)):
            for row, part in zip(rows, whole.split(counts), strict=True):
                row[name] = part
    return rows


def has_recorded_trace(batch: Mapping[str, Tensor]) -> bool:
    """Whether a batch brings what a teacher left, other than its answers to a task."""
    return any(name.startswith("teacher_") and name != "teacher_logits" for name in batch)


def rows_to_trace(batch: Batch, what: TraceSpec) -> Trace:
    """The teacher's trace of a batch of rows that bring it."""
    hidden = {layer: batch[f"teacher_hidden_{layer}"] for layer in what.reads.hidden}
    attention: dict[str, Any] = {
        kind: {
            layer: batch[f"teacher_{kind}_{layer}"].transpose(1, 2)
            for layer in what.reads.attention
        }
        for kind in what.attention
    }
    return Trace(hidden=hidden, likeliest=_likeliest(batch, what), **attention)


def _likeliest(batch: Batch, what: TraceSpec) -> TopK | None:
    if not what.reads.words:
        return None
    selected = batch["attention_mask"].bool()
    if what.reads.words == "masked":
        selected = batch["labels"] != -100
    counts = selected.sum(dim=1, keepdim=True)
    real = torch.arange(batch[WORDS].shape[1], device=counts.device) < counts
    masses = batch[REST][real].unbind(dim=1)
    rest = dict(zip(what.temperatures, masses, strict=True))
    return TopK(batch[WORDS][real], batch[GAPS][real], rest, selected)
