"""The models of runs as a table: its columns and cells, and as HTML for a notebook."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from alembert.report.comparison import TIMES, Entry, entries, unmeasured
from alembert.runs.record import RunRecord


def table(rows: Sequence[Entry], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return the columns' names and each entry's cells; a column without a figure is left out."""
    columns: dict[str, list[str | None]] = {
        "parameters": [f"{r.parameters / 1e6:.1f} M" if r.parameters else None for r in rows],
        "size on disk": [f"{r.size_mb:.1f} MB" if r.size_mb else None for r in rows],
        metric or "metric": [
            None if r.metric is None else f"{r.metric:.4f}" + "*" * r.estimated for r in rows
        ],
        "kept": [_kept(r, metric) for r in rows],
        "of the gain": [_told(r, metric, "of_gain") for r in rows],
        **_second_metric(rows, metric),
        "CPU a text": [f"{r.ms:.3g} ms" + "*" * r.elsewhere if r.ms else None for r in rows],
        f"{TIMES} torch": [_speed(r) for r in rows],
        **{
            f"{TIMES} {engine}": [_against(r, engine) for r in rows]
            for engine in dict.fromkeys(name for r in rows for name, _ in r.against)
        },
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    return list(shown), [[column[i] or "-" for column in shown.values()] for i in range(len(rows))]


def _kept(row: Entry, metric: str) -> str | None:
    """Return what is kept of the task's metric; of an estimate the share without an interval."""
    if row.estimated and row.retention is not None:
        return f"{100 * row.retention:.1f} %*"
    return _told(row, metric, "share")


def _told(row: Entry, metric: str, name: str) -> str | None:
    """Return a phrase on what is kept of a metric, None where there is none."""
    return next((getattr(each, name) for each in row.kept if each.metric == metric), None) or None


def _second_metric(rows: Sequence[Entry], metric: str) -> dict[str, list[str | None]]:
    """Return the columns of the metrics that fit unbalanced classes, where any row has one."""
    names = dict.fromkeys(each.metric for row in rows for each in row.kept if each.metric != metric)
    return {f"kept of {name}": [_told(row, name, "share") for row in rows] for name in names}


def _speed(row: Entry) -> str | None:
    if row.same:
        return "no difference"
    return f"{row.faster:.1f}{TIMES}" if row.faster else None


def _against(row: Entry, engine: str) -> str | None:
    found = dict(row.against).get(engine)
    return None if found is None else f"{found:.1f}{TIMES}"


def html(path: Path) -> str:
    """Return the table of a run, or of a saved model without one, as HTML for a notebook."""
    title, metric, rows = path.resolve().name, "", [unmeasured(path, "student", path.name)]
    if (path / "recipe.yaml").is_file():
        run = RunRecord(path)
        rows, metric = entries(run, run.name), str(run.metrics.get("metric", ""))
        title = ": ".join(filter(None, (run.name, run.metrics.get("task"))))
    names, cells = table(rows, metric)
    lines = [[row.label, *line] for row, line in zip(rows, cells, strict=True)]
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>"
        for line in (["model", *names], *lines)
    )
    return f"<table><caption>{escape(title)}</caption>{body}</table>"
