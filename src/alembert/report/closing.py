"""What a command prints of a finished run: its metrics, what is deployed, and the verdict."""

from collections.abc import Sequence
from pathlib import Path

from alembert.evaluation.uncertainty import phrases
from alembert.report.comparison import Entry, basis, deployed_of, entries, factors
from alembert.runs.record import RunRecord


def closing(path: Path) -> str:
    """Return what a command prints of a run: its metrics, what is deployed, and the verdict."""
    run = RunRecord(path)
    figures = phrases.closing(run.metrics)
    line = f"{run.student}: made" + f": {figures}" * bool(figures)
    rows = entries(run, run.name)
    cheap = [(row.name, row.metric) for row in rows if row.role == "baseline"]
    told = ", ".join(f"{name} {value:.4f}" for name, value in cheap if value is not None)
    compared = f"to compare: {told}" if told else ""
    lines = line, describe_deployed(run, rows), compared, run.metrics.get("verdict", "")
    return "\n".join(filter(None, lines))


def describe_deployed(run: RunRecord, rows: Sequence[Entry]) -> str:
    """Return a sentence on the variant that is deployed; empty where none was judged."""
    student = next((r for r in rows if r.role == "student"), None)
    row = student and deployed_of(rows, student.name)
    if row is None or row.metric is None:
        return ""
    metric = run.metrics["metric"]
    parts = [f"{row.size_mb:.1f} MB" if row.size_mb else "", f"{metric} {row.metric:.4f}"]
    parts += [f"{each.metric}: {each}" if len(row.kept) > 1 else str(each) for each in row.kept]
    if row.ms:
        parts.append(f"{row.ms:.2g} ms a text")
        parts.append(f"{factors(row)} ({basis(run, row)})" if factors(row) else basis(run, row))
    return f"deployed as {row.backend}: {'; '.join(filter(None, parts))}"
