"""Teacher and students of one or more runs side by side: size, quality and speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from alembert.evaluation.uncertainty import phrases
from alembert.evaluation.uncertainty.phrases import Kept
from alembert.report.errors import Section
from alembert.runs.folder import UNDISTILLED
from alembert.runs.record import RunRecord, Size, size_of

CHARTS = ("loss", "errors", "classes")  # sections whose charts of several runs stand together
TIMES = "\u00d7"
SKLEARN = "scikit-learn"
BASELINES = {"majority": "majority", "tfidf": "TF-IDF", "embeddings": "frozen embeddings"}
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
    role: str  # teacher, student or baseline
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
        """The name, with a backend that is exported, and a star where FOOTNOTE applies."""
        plain = self.backend in ("torch", SKLEARN)
        shown = self.name if plain else f"{self.name}, {self.engine}"
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
    def shared(self) -> bool:
        """Whether runs of one teacher on one file share it."""
        return self.role == "teacher" or self.backend == SKLEARN

    @property
    def share(self) -> float | None:
        """Its time a text in percent of its teacher's in torch."""
        if self.role == "teacher" and self.backend == "torch":
            return 100.0 if self.ms else None
        return 100 / self.faster if self.faster else None


def entries(run: RunRecord, name: str) -> list[Entry]:
    """Return teacher, if the run has one, and student, the exported variants of both, baselines."""
    rows, teacher = list[Entry](), None
    if run.teacher:
        teacher = _torch_entry(run, "teacher", Path(run.teacher).resolve().name)
        rows += [teacher, *_teacher_variants(run, teacher)]
    if run.student:
        student = _torch_entry(run, "student", name)
        if teacher is not None:
            student = replace(student, kept=tuple(phrases.read(run.metrics)))
        rows += [student, *_exported_entries(run, student), *_baseline_entries(run, student)]
    return [_with_ratios(entry, teacher) for entry in rows]


def _torch_entry(run: RunRecord, role: str, title: str) -> Entry:
    """Return the entry of a model in torch."""
    entry = unmeasured(run.student if role == "student" else run.teacher, role, title)
    return replace(
        entry,
        parameters=run.metrics.get("parameters", {}).get(role) or entry.parameters,
        metric=run.metrics.get(role, {}).get(run.metrics.get("metric")),
        **_timed(run, role, "torch"),
    )


def unmeasured(path: str | Path | None, role: str, title: str) -> Entry:
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


def _baseline_entries(run: RunRecord, student: Entry) -> list[Entry]:
    """Return the cheap models, and the same student without its teacher."""
    metric, rows = run.metrics.get("metric"), []
    for name, measured in run.metrics.get("baselines", {}).items():
        words = str(measured.get("model", ""))
        entry = Entry(
            name=BASELINES.get(name, name), role="baseline", backend=SKLEARN,
            shape=words.partition(", ")[2] or words, parameters=None, size_mb=None,
            metric=measured.get(metric), **_timed(run, name, SKLEARN),
        )  # fmt: skip
        rows.append(entry)
    if UNDISTILLED in run.metrics:
        values = run.metrics[UNDISTILLED]
        untaught = replace(
            student, name="without a teacher", role="baseline", metric=values.get(metric), kept=(),
            ms=None, faster=None, same=False, against=(), tokens=None,
        )  # fmt: skip
        rows.append(untaught)
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
    """Return the entries of all runs; a shared teacher comes once, before its first student.

    Baselines come last, once where they are those of the same teacher and file.
    """
    shown: list[Entry] = []
    seen: set[tuple[str | None, Any]] = set()
    for run, name in zip(runs, names, strict=True):
        key = (run.teacher and str(Path(run.teacher).resolve()), _measured_by(run))
        rows = entries(run, name)
        shown += [row for row in rows if key not in seen or not row.shared]
        seen.add(key)
    return sorted(shown, key=lambda row: row.role == "baseline")


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


def charts_of(runs: Mapping[str, Sequence[Section]]) -> list[Section]:
    """Return the charts of several runs, those of one kind side by side, a column for each run."""
    found = []
    for key in CHARTS:
        of_key = {
            name: section
            for name, sections in runs.items()
            for section in sections
            if section.key == key and section.figures
        }
        if len(of_key) < 2:
            continue
        first, *others = of_key.values()
        shared = all(each.lead == first.lead for each in others)
        figures = tuple(
            (
                tuple(chain.from_iterable(drawn for drawn, _ in section.figures)),
                ". ".join(filter(None, (name, _captions(section), "" if shared else section.lead))),
            )
            for name, section in of_key.items()
        )
        lead = first.lead if shared else ""
        found.append(Section(key=key, title=first.title, lead=lead, figures=figures))
    return found


def _captions(section: Section) -> str:
    return ", then ".join(caption for _, caption in section.figures if caption)
