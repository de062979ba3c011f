"""Teacher and students of some runs side by side: size, quality, speed, and the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alembert.runs.record import RunRecord, Size, size_of

TIMES = "\u00d7"
FOOTNOTE = (
    "* As export --auto measured it, on texts of its own and at another hour: time as it was "
    "there, quality as the student's here times what the variant kept of ONNX in fp32 there."
)


@dataclass(frozen=True)
class Entry:
    """One model in one backend. What was not measured is None.

    kept: the student's metric by the teacher's. ms: CPU milliseconds a text at one thread (wall
    clock where more threads were timed). faster: than the teacher in torch. `same`: no difference
    was shown. estimated, elsewhere: the quality, the time is as FOOTNOTE says.
    """

    name: str
    who: str  # teacher or student
    backend: str
    shape: str
    parameters: int | None
    size_mb: float | None
    metric: float | None
    kept: float | None = None
    ms: float | None = None
    faster: float | None = None
    same: bool = False
    estimated: bool = False
    elsewhere: bool = False

    @property
    def label(self) -> str:
        """The name, with the backend where it is not torch."""
        shown = self.name if self.backend == "torch" else f"{self.name}, {self.backend}"
        return shown + "*" * self.starred

    @property
    def starred(self) -> bool:
        """Whether FOOTNOTE is about it."""
        return self.estimated or self.elsewhere

    @property
    def share(self) -> float | None:
        """The time it takes, in percent of its teacher's."""
        if self.who == "teacher":
            return 100.0 if self.ms else None
        return 100 / self.faster if self.faster else None


def entries(run: RunRecord, name: str) -> list[Entry]:
    """The teacher where there is one, the student, and what the student was exported to."""
    found = [_plain(run, who, title) for who, title in _models(run, name).items()]
    teacher = next((entry for entry in found if entry.who == "teacher"), None)
    students = [entry for entry in found if entry.who == "student"]
    if students:
        found += _variants(run, students[0])
    return [_beside(run, entry, teacher) for entry in found]


def _models(run: RunRecord, name: str) -> dict[str, str]:
    models = {"teacher": Path(run.teacher).resolve().name} if run.teacher else {}
    return models | ({"student": name} if run.student else {})


def _plain(run: RunRecord, who: str, title: str) -> Entry:
    """A model in torch."""
    place = run.student if who == "student" else run.teacher
    size = size_of(place or "") or Size("", "", 0, 0)
    values = run.metrics.get(who, {})
    row = _row(run, who, "torch")
    return Entry(
        title, who, "torch", ", ".join(filter(None, (size.kind, size.shape))),
        run.metrics.get("parameters", {}).get(who) or size.parameters or None,
        size.size_mb or None, values.get(run.metrics.get("metric")), ms=_ms(row),
        **_timed(row, run),
    )  # fmt: skip


def _variants(run: RunRecord, student: Entry) -> list[Entry]:
    variants = run.deployed.variants if run.deployed else ()
    plain = next((v.measured for v in variants if v.backend == "onnx"), {})
    metric, found = str(run.metrics.get("metric", "")), []
    for variant in variants:
        row = _row(run, "student", variant.backend)
        entry = replace(
            student, backend=variant.backend, size_mb=variant.size_mb,
            metric=None, ms=_ms(row), **_timed(row, run),
        )  # fmt: skip
        found.append(_as_exported(entry, variant.measured, plain, student.metric, metric))
    return found


def _as_exported(
    entry: Entry,
    measured: Mapping[str, float],
    plain: Mapping[str, float],
    student: float | None,
    metric: str,
) -> Entry:
    """With what export --auto measured, on texts of its own: quality by that of fp32 (`plain`)."""
    if student is not None and metric in measured and plain.get(metric):
        estimate = min(student * measured[metric] / plain[metric], 1.0)  # the most of any metric
        entry = replace(entry, metric=estimate, estimated=True)
    if entry.ms is None and "cpu_ms" in measured:
        entry = replace(entry, ms=measured["cpu_ms"], elsewhere=True)
    return entry


def _beside(run: RunRecord, entry: Entry, teacher: Entry | None) -> Entry:
    if teacher is None or entry is teacher or entry.who == "teacher":
        return entry
    if entry.metric is not None and teacher.metric:
        entry = replace(entry, kept=entry.metric / teacher.metric)
    if entry.faster is None and entry.ms and teacher.ms and not entry.elsewhere:
        entry = replace(entry, faster=teacher.ms / entry.ms)
    return entry


def _row(run: RunRecord, who: str, backend: str) -> dict[str, Any] | None:
    """The row of bench.json with the fewest threads; models are named there by role or by path."""
    rows = [r for r in run.bench if r["backend"] == backend and _is(run, who, r["model"])]
    return min(rows, key=lambda row: row["threads"], default=None)


def _is(run: RunRecord, who: str, name: str) -> bool:
    if name == who:
        return True
    if who == "teacher":
        places = {Path(run.teacher)} if run.teacher else set()
    else:
        places = {run.path, run.path / "student"}
    return Path(run.found(name)).resolve() in {place.resolve() for place in places}


def _ms(row: dict[str, Any] | None) -> float | None:
    if row is None:
        return None
    spent = row["cpu_ms"] if row["threads"] == 1 else row["latency_ms"]
    return float(spent["median"]) / int(row["batch"])


def _timed(row: dict[str, Any] | None, run: RunRecord) -> dict[str, Any]:
    """The ratio to the teacher in torch, where bench.json has it with its noise."""
    for ratio in (row or {}).get("ratios", ()):
        name, _, backend = ratio["to"].rpartition(":")
        if backend == "torch" and _is(run, "teacher", name):
            return {"faster": ratio["value"], "same": ratio["same"]}
    return {"faster": None, "same": False}


def together(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Entry]:
    """All entries, each teacher once, before the first of its students."""
    found: list[Entry] = []
    seen: set[tuple[str | None, Any]] = set()
    for run, name in zip(runs, names, strict=True):
        key = (run.teacher and str(Path(run.teacher).resolve()), _judged_by(run))
        rows = entries(run, name)
        found += [row for row in rows if row.who == "student" or key not in seen]
        seen.add(key)
    return found


def _judged_by(run: RunRecord) -> tuple[Any, ...]:
    """What makes figures comparable: the metric, and the file it was measured on."""
    return run.metrics.get("metric"), run.files.get("evaluation"), run.files.get("task")


def comparable(runs: Sequence[RunRecord]) -> bool:
    """Whether all runs were judged by the same metric on the same file."""
    return len({_judged_by(run) for run in runs}) == 1


def names_of(runs: Sequence[RunRecord]) -> list[str]:
    """The shortest tails of the runs' paths that tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.path) for run in runs]


def table(rows: Sequence[Entry], metric: str) -> tuple[list[str], list[list[str]]]:
    """Names of columns and the cells of each entry; what no entry has is no column."""
    columns: dict[str, list[str | None]] = {
        "parameters": [f"{r.parameters / 1e6:.1f} M" if r.parameters else None for r in rows],
        "size on disk": [f"{r.size_mb:.1f} MB" if r.size_mb else None for r in rows],
        metric or "metric": [
            None if r.metric is None else f"{r.metric:.4f}" + "*" * r.estimated for r in rows
        ],
        "kept": [None if r.kept is None else f"{r.kept:.1%}" + "*" * r.estimated for r in rows],
        "CPU a text": [f"{r.ms:.3g} ms" + "*" * r.elsewhere if r.ms else None for r in rows],
        "speed": [_speed(r) for r in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    return list(kept), [[column[i] or "-" for column in kept.values()] for i in range(len(rows))]


def _speed(row: Entry) -> str | None:
    if row.same:
        return "no difference"
    return f"{row.faster:.1f}{TIMES}" if row.faster else None
