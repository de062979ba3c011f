"""Converts a teacher's trace to per-text rows that can be cached, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alembert.models.logits import TopK
from alembert.models.trace import Batch, Reads, Trace, rows_selected
from alembert.objectives import top_k
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import AttentionKL, AttentionMSE
from alembert.objectives.objective import Objective
from alembert.objectives.term import ANY_PAIR, Term

TOP_IDS, GAPS, REST = "teacher_words", "teacher_gaps", "teacher_rest"
PER_ROW = (TOP_IDS, GAPS, REST)  # one entry for each row that counts; other fields have one a token


@dataclass(frozen=True)
class TraceSpec:
    """The parts of a teacher's trace that an objective reads on a corpus.

    attention names those of queries, keys and values that are read; temperatures are those of the
    objective's soft labels, ascending.
    """

    reads: Reads
    attention: tuple[str, ...]
    temperatures: tuple[float, ...]


def trace_spec(objective: Objective, reads: Reads) -> TraceSpec:
    """The parts to record for an objective with these reads of its teacher."""
    scores = (AttentionMSE, AttentionKL)  # other terms may read the values too
    values = any(not isinstance(term, scores) for term in objective if _attends(term))
    temperatures = {term.temperature for term in objective if isinstance(term, SoftLabels)}
    return TraceSpec(
        reads,
        ("queries", "keys", *(["values"] if values else [])) if reads.attention else (),
        tuple(sorted(temperatures)),
    )


def _attends(term: Term) -> bool:
    return bool(term.reads(ANY_PAIR, True)[1].attention)


def trace_to_rows(trace: Trace, batch: Batch, spec: TraceSpec, k: int) -> list[dict[str, Tensor]]:
    """Splits the trace of a batch, padded on the right, into one row of tensors a text.

    A row has teacher_hidden_L (T, H) and teacher_queries_L (T, A, d) at the text's real tokens, and
    teacher_words and teacher_gaps (n, k) and teacher_rest (n, temperatures) at its n rows that
    count.
    """
    states = {f"teacher_hidden_{layer}": trace.hidden[layer] for layer in sorted(spec.reads.hidden)}
    for kind in spec.attention:
        for layer in sorted(spec.reads.attention):
            states[f"teacher_{kind}_{layer}"] = getattr(trace, kind)[layer].transpose(1, 2)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    rows = [{name: x[i, :n] for name, x in states.items()} for i, n in enumerate(lengths)]
    if trace.vocabulary is not None:
        top = top_k.top_k(trace.vocabulary, k, spec.temperatures)
        rest = torch.stack([top.rest[temperature] for temperature in spec.temperatures], dim=1)
        counts = trace.vocabulary.selected.sum(dim=1).tolist()
        for name, values in ((TOP_IDS, top.ids), (GAPS, top.gaps), (REST, rest)):
            for row, part in zip(rows, values.split(counts), strict=True):
                row[name] = part
    return rows


def has_recorded_trace(batch: Mapping[str, Tensor]) -> bool:
    """Whether a batch carries a teacher's recorded trace; task logits alone are none."""
    return any(name.startswith("teacher_") and name != "teacher_logits" for name in batch)


def rows_to_trace(batch: Batch, spec: TraceSpec) -> Trace:
    """The teacher's trace, put together from a batch of recorded rows."""
    hidden = {layer: batch[f"teacher_hidden_{layer}"] for layer in spec.reads.hidden}
    attention: dict[str, Any] = {
        kind: {
            layer: batch[f"teacher_{kind}_{layer}"].transpose(1, 2)
            for layer in spec.reads.attention
        }
        for kind in spec.attention
    }
    return Trace(hidden=hidden, top_k=_top_k(batch, spec), **attention)


def _top_k(batch: Batch, spec: TraceSpec) -> TopK | None:
    if not spec.reads.vocabulary:
        return None
    selected = rows_selected(batch, spec.reads.vocabulary)
    counts = selected.sum(dim=1, keepdim=True)
    real = torch.arange(batch[TOP_IDS].shape[1], device=counts.device) < counts
    masses = batch[REST][real].unbind(dim=1)
    rest = dict(zip(spec.temperatures, masses, strict=True))
    return TopK(batch[TOP_IDS][real], batch[GAPS][real], rest, selected)
