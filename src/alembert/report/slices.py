"""The section of the page on quality by slice: by the values of columns, and by length."""

from typing import Any

from alembert.evaluation.uncertainty import phrases
from alembert.evaluation.uncertainty.intervals import Interval
from alembert.evaluation.uncertainty.slices import SMALL
from alembert.report.errors import Section
from alembert.runs.record import RunRecord

MODELS = ("teacher", "student")


def by_slice(run: RunRecord) -> Section | None:
    """Return the metric of teacher and student in each slice; None for a run without slices."""
    slices = run.metrics.get("slices", {})
    parts = [(column, value, part) for column in slices for value, part in slices[column].items()]
    if not parts:
        return None
    roles = [role for role in MODELS if all(role in part for _, _, part in parts)]
    metric = run.metrics["metric"]
    head = ["slice", "texts", *(f"{metric}, {role}" for role in roles)]
    compared = len(roles) == len(MODELS)
    rows = []
    for column, value, part in parts:
        texts = f"{part['n']:,}{', small' * part['small']}"
        row = [f"{column}: {value}", texts, *(f"{part[role]:.3f}" for role in roles)]
        rows.append((*row, _difference(part)) if compared else tuple(row))
    lead = "Each part of the texts by itself."
    if compared:
        head.append("student - teacher")
        lead += " The difference has its 95 % interval."
    if any(part["small"] for _, _, part in parts):
        lead += f" A slice of fewer than {SMALL} texts is called small: it says little."
    return Section(
        key="slices", title="Quality by slice", lead=lead, head=tuple(head), rows=tuple(rows)
    )


def _difference(part: dict[str, Any]) -> str:
    value = part["student"] - part["teacher"]
    bounds = part.get("difference")
    return phrases.difference(Interval(value, *bounds), None) if bounds else f"{value:+.4f}"
