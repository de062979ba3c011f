"""Teacher and students of one or more runs side by side: size, quality and speed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from alembert.evaluation.uncertainty import phrases
from alembert.evaluation.uncertainty.phrases import Kept
from alembert.runs.record import RunRecord, Size, size_of

TIMES = "\u00d7"
LEGEND = f"{TIMES} says how many times as fast a row is as the teacher in that engine."
FOOTNOTE = (
    "* Measured by export --auto, on other texts and at another hour: the time is as measured "
    "there, the quality is the student's here times the variant's share of ONNX in fp32 there."
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model in one backend; a figure that was not measured is None.

    retention: the student's metric divided by the teacher's. kept: of a student that was evaluated
    itself the same with intervals, and of unbalanced classes by a second metric. ms: CPU
    milliseconds a text at one thread (wall clock where more threads were timed). faster: speed
    relative to the teacher in torch; `same` says that the difference is within the noise. against:
    the same relative to the teacher in its other engines. deployed: this variant is the one that
    the run was evaluated as.
    estimated: FOOTNOTE applies to the metric; elsewhere: it applies to the time.
    """

    name: str
    role: str  # teacher or student
    backend: str
    shape: str
    parameters: int | None
    size_mb: float | None
    metric: float | None
    retention: float | None = None
    kept: tuple[Kept, ...] = ()  # the headline first
    ms: float | None = None
    faster: float | None = None
    same: bool = False
    against: tuple[tuple[str, float], ...] = ()  # (engine of the teacher, speed)
    tokens: int | None = None  # the median of the texts that were timed
    deployed: bool = False
    estimated: bool = False
    elsewhere: bool = False

    @property
    def label(self) -> str:
        """The name, with the backend unless it is torch, and a star where FOOTNOTE applies."""
        shown = self.name if self.backend == "torch" else f"{self.name}, {self.engine}"
        return shown + "*" * self.starred

    @property
    def starred(self) -> bool:
        """Whether FOOTNOTE applies to one of its figures."""
        return self.estimated or self.elsewhere

    @property
    def engine(self) -> str:
        """The backend, with a mark where it is the one that is deployed."""
        return self.backend + ", deployed" * self.deployed

    @property
    def share(self) -> float | None:
        """Its time a text in percent of its teacher's in torch."""
        if self.role == "teacher" and self.backend == "torch":
            return 100.0 if self.ms else None
        return 100 / self.faster if self.faster else None


def entries(run: RunRecord, name: str) -> list[Entry]:
    """Return the teacher, if the run has one, the student, and the exported variants of both."""
    rows, teacher = list[Entry](), None
    if run.teacher:
        teacher = _torch_entry(run, "teacher", Path(run.teacher).resolve().name)
        rows += [teacher, *_teacher_variants(run, teacher)]
    if run.student:
        student = _torch_entry(run, "student", name)
        if teacher is not None:
            student = replace(student, kept=tuple(phrases.read(run.metrics)))
        rows += [student, *_exported_entries(run, student)]
    return [_with_ratios(entry, teacher) for entry in rows]


def _torch_entry(run: RunRecord, role: str, title: str) -> Entry:
    """Return the entry of a model in torch."""
    entry = _unmeasured(run.student if role == "student" else run.teacher, role, title)
    return replace(
        entry,
        parameters=run.metrics.get("parameters", {}).get(role) or entry.parameters,
        metric=run.metrics.get(role, {}).get(run.metrics.get("metric")),
        **_timed(run, role, "torch"),
    )


def _unmeasured(path: str | Path | None, role: str, title: str) -> Entry:
    """Return the entry of a saved model in torch, with its size alone."""
    size = size_of(path or "") or Size("", "", 0, 0)
    return Entry(
        name=title,
        role=role,
        backend="torch",
        shape=", ".join(filter(None, (size.kind, size.shape))),
        parameters=size.parameters or None,
        size_mb=size.size_mb or None,
        metric=None,
    )


def _teacher_variants(run: RunRecord, teacher: Entry) -> list[Entry]:
    """Return the teacher in the other engines that it was timed in beside its student."""
    of_teacher = [row for row in run.bench if _is(run, "teacher", row["model"])]
    measured = {"int8": run.metrics.get("teacher_int8", {}).get(run.metrics.get("metric"))}
    return [
        replace(
            teacher, backend=backend, size_mb=row.get("size_mb"), metric=measured.get(backend),
            **_timed(run, "teacher", backend),
        )
        for backend, row in {row["backend"]: row for row in of_teacher}.items()
        if backend != "torch"
    ]  # fmt: skip


def _exported_entries(run: RunRecord, student: Entry) -> list[Entry]:
    """Return the exported variants; what only export --auto measured is marked as such."""
    variants = run.deployed.variants if run.deployed else ()
    fp32 = next((v.measured for v in variants if v.backend == "onnx"), {})
    metric, rows = str(run.metrics.get("metric", "")), []
    deployed = run.metrics.get("deployed", {})
    for variant in variants:
        entry = replace(
            student, backend=variant.backend, size_mb=variant.size_mb, kept=(),
            metric=None, **_timed(run, "student", variant.backend),
        )  # fmt: skip
        if variant.backend == deployed.get("backend"):
            told = tuple(phrases.read(run.metrics, "deployed")) if run.teacher else ()
            entry = replace(entry, metric=deployed.get(metric), deployed=True, kept=told)
        elif deployed:
            pass  # what was measured stands beside it, and an estimate would not
        elif student.metric is not None and metric in variant.measured and fp32.get(metric):
            estimate = student.metric * variant.measured[metric] / fp32[metric]
            entry = replace(entry, metric=min(estimate, 1.0), estimated=True)  # at most 1
        if entry.ms is None and "cpu_ms" in variant.measured:
            entry = replace(entry, ms=variant.measured["cpu_ms"], elsewhere=True)
        rows.append(entry)
    return rows


def _with_ratios(entry: Entry, teacher: Entry | None) -> Entry:
    """Add a student's retention and speedup, as far as both models were measured."""
    if teacher is None or entry is teacher:
        return entry
    if entry.metric is not None and teacher.metric:
        sensible = entry.estimated or any(each.kept for each in entry.kept)
        entry = replace(entry, retention=entry.metric / teacher.metric if sensible else None)
    if entry.faster is None and entry.ms and teacher.ms and not entry.elsewhere:
        entry = replace(entry, faster=teacher.ms / entry.ms)
    return entry


def _timed(run: RunRecord, role: str, backend: str) -> dict[str, Any]:
    """Return a model's time in bench.json at the fewest threads.

    The speedups over the teacher are there too, where they were measured with their noise.
    """
    figures: dict[str, Any] = {"ms": None, "faster": None, "same": False, "against": ()}
    rows = [r for r in run.bench if r["backend"] == backend and _is(run, role, r["model"])]
    if not rows:
        return figures
    row = min(rows, key=lambda row: row["threads"])
    spent = row["cpu_ms"] if row["threads"] == 1 else row["latency_ms"]
    figures |= {"ms": float(spent["median"]) / int(row["batch"]), "tokens": row.get("length")}
    for ratio in row.get("ratios", ()):
        name, _, reference = ratio["to"].rpartition(":")
        if not _is(run, "teacher", name):
            continue
        if reference == "torch":
            figures |= {"faster": ratio["value"], "same": ratio["same"]}
        elif role == "student":
            figures["against"] += ((reference, ratio["value"]),)
    return figures


def _is(run: RunRecord, role: str, name: str) -> bool:
    """Return whether bench.json, which names models by role or path, means this model.

    A folder of another run may have the role's name: where a row has the model's path, the role
    counts for nothing.
    """
    if role == "teacher":
        paths = {Path(run.teacher)} if run.teacher else set()
    else:
        paths = {run.path, run.path / "student"}
    resolved = {path.resolve() for path in paths}

    def by_path(name: str) -> bool:
        return Path(run.resolved(name)).resolve() in resolved

    return by_path(name) or (name == role and not any(by_path(r["model"]) for r in run.bench))


def all_entries(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Entry]:
    """Return the entries of all runs; a shared teacher comes once, before its first student."""
    shown: list[Entry] = []
    seen: set[tuple[str | None, Any]] = set()
    for run, name in zip(runs, names, strict=True):
        key = (run.teacher and str(Path(run.teacher).resolve()), _measured_by(run))
        rows = entries(run, name)
        shown += [row for row in rows if row.role == "student" or key not in seen]
        seen.add(key)
    return shown


def _measured_by(run: RunRecord) -> tuple[Any, ...]:
    """Return the metric and the file it was measured on: where both agree, figures compare."""
    return run.metrics.get("metric"), run.files.get("evaluation"), run.files.get("task")


def comparable(runs: Sequence[RunRecord]) -> bool:
    """Return whether all runs were evaluated by the same metric on the same file."""
    return len({_measured_by(run) for run in runs}) == 1


def names_of(runs: Sequence[RunRecord]) -> list[str]:
    """Return the shortest endings of the runs' paths that differ from one another."""
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.path) for run in runs]


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


def deployed_of(rows: Sequence[Entry], name: str) -> Entry | None:
    """Return the variant that the student of this name is deployed as; None if none was judged."""
    return next((row for row in rows if row.deployed and row.name == name), None)


def factors(row: Entry) -> str:
    """Return a variant's speed beside its teacher's in each engine; empty where it has none."""
    if not row.faster:
        return ""
    names = {"onnx": "ONNX fp32"}
    others = [f"{value:.1f}{TIMES} as in {names.get(n, n)}" for n, value in row.against]
    return ", ".join([f"{row.faster:.1f}{TIMES} as fast as the teacher in torch fp32", *others])


def basis(run: RunRecord, row: Entry) -> str:
    """Return how the times of a run were measured: threads, lengths and processor."""
    if row.tokens is None:
        return ""
    where = f"; {run.processor}" if run.processor else ""
    return (
        f"CPU time from a text to its answer, one thread, one text at a time, median "
        f"{row.tokens} tokens{where}"
    )


def html(path: Path) -> str:
    """Return the table of a run, or of a saved model without one, as HTML for a notebook."""
    title, metric, rows = path.resolve().name, "", [_unmeasured(path, "student", path.name)]
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
