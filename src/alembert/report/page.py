"""report.html: runs side by side, then each run, in one file that opens from disk."""

import base64
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembert import __version__
from alembert.bench.rows import pareto
from alembert.evaluation.uncertainty.phrases import Kept, percent
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.io.files import keep, write_text
from alembert.io.progress import doing
from alembert.report import comparison
from alembert.report.comparison import FOOTNOTE, LEGEND, TIMES, Entry
from alembert.report.errors import Section
from alembert.report.rejudge import predict_again
from alembert.report.tables import table
from alembert.runs.folder import METRICS
from alembert.runs.record import RunRecord

log = logging.getLogger(__name__)

BESIDE = "beside"  # key of the part that has the charts of several runs
LIMIT = 1_900_000  # the most bytes of a page
Tile = tuple[str, str, str]  # a figure, its name, a note


@dataclass(frozen=True)
class Part:
    """One run on the page."""

    key: str
    name: str
    sections: tuple[Section, ...]
    finished: bool


def make(paths: Sequence[Path], out: Path | None) -> Path:
    """Write the page of one run, or of several compared, and return its path.

    `out` defaults to report.html in the run, or in the working directory for several runs. Raises
    UserError where a run cannot be read or the page cannot be written.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed: the report needs pip install 'alembert[report]'"
        ) from error
    runs = [RunRecord(path) for path in dict.fromkeys(paths)]
    out = out or (runs[0].path / "report.html" if len(runs) == 1 else Path("report.html"))
    _check(out)
    names = comparison.names_of(runs)
    rows = comparison.all_entries(runs, names)
    parts = [
        _part(f"run{n}", name, run)
        for n, (run, name) in enumerate(zip(runs, names, strict=True), 1)
    ]
    columns, cells = table(rows, _metric(runs))
    content = {
        "title": names[0] if len(runs) == 1 else f"{len(runs)} runs compared",
        "about": _about(runs[0]) if comparison.comparable(runs) else "",
        "tiles": _tiles(rows, _metric(runs), dict(zip(names, runs, strict=True))),
        "answered": _answers(rows, dict(zip(names, parts, strict=True))),
        "verdicts": [
            (name, run.metrics["verdict"])
            for name, run in zip(names, runs, strict=True)
            if run.metrics.get("verdict")
        ],
        "columns": columns,
        "rows": list(zip(rows, cells, strict=True)),
        "front": _front(runs, rows),
        "teacher": any(row.role == "teacher" for row in rows),
        "legend": LEGEND if any(row.faster for row in rows) else "",
        "footnote": FOOTNOTE if any(row.starred for row in rows) else "",
        "version": __version__,
    }
    write_text(out, _rendered(content, _with_charts_together(parts)))
    return out


def _with_charts_together(parts: list[Part]) -> list[Part]:
    """Return the parts with the charts of several runs in one part of their own, the first."""
    charts = comparison.charts_of({part.name: part.sections for part in parts})
    if not charts:
        return parts
    keys = {chart.key for chart in charts}
    rest = [
        replace(
            part, sections=tuple(s for s in part.sections if s.key not in keys or not s.figures)
        )
        for part in parts
    ]
    return [Part(BESIDE, "The runs side by side", tuple(charts), True), *rest]


def _rendered(content: dict[str, Any], parts: list[Part]) -> str:
    """Return the HTML; while it is over LIMIT, the last run's sections give way to a sentence."""
    import jinja2

    from alembert.report.svg import numbered

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("alembert", "report"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    source = environment.get_template("sorting.js").render()
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    content |= {"script": source, "script_hash": f"sha256-{digest}"}
    while True:
        text = numbered(environment.get_template("page.html.j2").render(content, parts=parts))
        detailed = [n for n, part in enumerate(parts) if part.sections]
        if len(text.encode()) <= LIMIT or not detailed:
            return text
        parts[detailed[-1]] = replace(parts[detailed[-1]], sections=())


def attempt(paths: Sequence[Path], out: Path | None) -> None:
    """Write the page after a run, which counts as done with or without it."""
    try:
        log.info(f"{make(paths, out)}: made")
    except UserError as error:
        log.info(f"no report: {error}")


def _check(out: Path) -> None:
    """Raise UserError for a path that cannot be written, before anything is computed."""
    if out.is_dir():
        raise UserError(f"--out {out}: a folder: name a file in it")
    folder = next((parent for parent in out.resolve().parents if parent.exists()), Path("/"))
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{out}: cannot be written: choose another --out")


def _part(key: str, name: str, run: RunRecord) -> Part:
    from alembert.evaluation.predictions import FILE, load, save
    from alembert.evaluation.spans import listed
    from alembert.report.sections import sections

    predictions, why = load(run.path), ""
    if run.metrics.get("task") == QUESTIONS:
        if not (run.path / listed.FILE).is_file():
            why = f"there is no {listed.FILE}: delete {METRICS}, and give the command again"
    elif predictions is None and run.metrics:
        try:
            log.info(f"{name}: no {FILE} there: predicting again")
            predictions = predict_again(run)
            if os.access(run.path, os.W_OK):
                save(run.path, predictions)
                keep(run.path, [FILE])
        except UserError as error:
            why = str(error)
    elif predictions is None:
        why = "the run was not evaluated" if run.finished else "the run is not finished"
    with doing(f"writing the report of {name}"):
        return Part(key, name, tuple(sections(run, predictions, why)), run.finished)


def _metric(runs: Sequence[RunRecord]) -> str:
    """Return the metric that all runs share, or an empty string."""
    names = {run.metrics.get("metric") for run in runs} - {None}
    return str(names.pop()) if len(names) == 1 else ""


def _about(run: RunRecord) -> str:
    """Return the metric, the file it was measured on, the sizes of the files, and the day."""
    if not run.metrics:
        return ""
    source = run.files.get("evaluation") or run.files.get("task") or ""
    metric = run.metrics["metric"]
    average = run.metrics.get("ensemble", {}).get(metric)
    count = 1 + len(run.arguments.get("more_teachers", ()))
    more = "" if average is None else f"; {average:.3f} by the average of its {count} teachers"
    texts = f", n = {run.metrics['n']:,}" if "n" in run.metrics else ""
    day = datetime.fromtimestamp((run.path / METRICS).stat().st_mtime, tz=UTC).date()
    told = (stage.facts for stage in reversed(run.stages) if "texts" in stage.facts)
    facts = next(told, None)
    varied = f" and {facts['variants']:,} variants" if facts and facts.get("variants") else ""
    read = "" if facts is None else (
        f"; trained on {facts['texts']:,} texts{varied}, {facts['held_out']:,} held out"
    )  # fmt: skip
    return f"{metric} on {Path(source).name}{texts}{more}{read}; {day}"


def _tiles(
    rows: Sequence[Entry], metric: str, runs: Mapping[str, RunRecord]
) -> list[tuple[str, list[Tile], str]]:
    """Return each student's headline, and how its times were measured.

    It says how much smaller and faster the variant is that is deployed, and its retention; without
    one it says the same of the student in torch.
    """
    tiles: list[tuple[str, list[Tile], str]] = []
    teacher: Entry | None = None
    for row in rows:
        if row.role == "teacher" and row.backend == "torch":
            teacher = row
        elif row.role == "student" and row.backend == "torch":
            deployed = comparison.deployed_of(rows, row.name)
            if deployed is not None and teacher is not None:
                figures = _deployed_headline(row, teacher, deployed)
                tiles.append((row.name, figures, comparison.basis(runs[row.name], deployed)))
                continue
            best = max(
                (r for r in rows if r.name == row.name and r.faster and r.backend != "torch"
                 and r.role == "student" and not r.same),
                key=lambda r: r.faster or 0, default=None,
            )  # fmt: skip
            tiles.append((row.name, _headline(row, teacher, best, metric), ""))
    return tiles


def _answers(
    rows: Sequence[Entry], parts: Mapping[str, Part]
) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return of each run with a teacher what was gained and lost: question, answer, and a link."""
    found = []
    teacher: Entry | None = None
    for row in rows:
        if row.role == "teacher" and row.backend == "torch":
            teacher = row
        elif row.role == "student" and row.backend == "torch" and teacher is not None:
            part = parts[row.name]
            judged = comparison.deployed_of(rows, row.name) or row
            answers = [("What did I gain?", _gained(judged, teacher), "")]
            answers += [("What did I lose?", each, "") for each in map(_lost, judged.kept[:1])]
            answers += [
                ("Which texts got worse?", section.lead.partition(". ")[0] + ".",
                 f"{part.key}-{section.key}")
                for section in part.sections if section.key == "outcomes"
            ]  # fmt: skip
            found.append((row.name, answers))
    return found


def _gained(row: Entry, teacher: Entry) -> str:
    parts = []
    if row.size_mb and teacher.size_mb:
        parts.append(f"{row.size_mb:.1f} MB in place of {teacher.size_mb:.1f} MB")
    if row.ms and teacher.ms:
        parts.append(f"{row.ms:.2g} ms of CPU a text in place of {teacher.ms:.2g} ms")
    return f"{', '.join(parts) or 'Nothing that was measured'}."


def _lost(kept: Kept) -> str:
    change = f"{kept.student - kept.teacher:+.3f}"
    share = f": {kept}" if str(kept) else ""
    return f"{change} of {kept.metric}, {kept.teacher:.3f} → {kept.student:.3f}{share}."


def _deployed_headline(student: Entry, teacher: Entry, deployed: Entry) -> list[Tile]:
    """Return how much smaller and faster the deployed variant is, and what it keeps."""
    tiles: list[Tile] = []
    name = deployed.backend
    if teacher.size_mb and deployed.size_mb:
        sizes = f"{teacher.size_mb:.1f} MB → {deployed.size_mb:.1f} MB on disk"
        if teacher.parameters and student.parameters:
            fewer = teacher.parameters / student.parameters
            sizes += f"; {fewer:.1f}{TIMES} fewer parameters"
        factor = teacher.size_mb / deployed.size_mb
        tiles.append((f"{factor:.1f}{TIMES}", f"smaller, deployed as {name}", sizes))
    if deployed.faster and deployed.ms and teacher.ms:
        others = [f"{teacher.ms:.2g} → {deployed.ms:.2g} ms a text", comparison.factors(deployed)]
        if student.faster:
            others.append(f"the student in torch fp32 {student.faster:.1f}{TIMES}")
        note = "; ".join(others)
        if deployed.same:
            tiles.append(("no", "difference in speed was shown", note))
        else:
            tiles.append(_speed(deployed.faster, f", deployed as {name}", note))
    if deployed.kept:
        in_fp32 = [f"in fp32 {each.student:.3f}, {each}" for each in student.kept[:1] if str(each)]
        tiles.append(_kept(deployed.kept, f", deployed as {name}", in_fp32))
    return tiles


def _headline(student: Entry, teacher: Entry | None, best: Entry | None, metric: str) -> list[Tile]:
    tiles: list[Tile] = []
    if teacher is None:
        if student.parameters:
            tiles.append((f"{student.parameters / 1e6:.1f} M", "parameters", student.shape))
        if student.metric is not None:
            tiles.append((f"{student.metric:.3f}", metric, ""))
        return tiles
    if teacher.parameters and student.parameters:
        sizes = f"{teacher.parameters / 1e6:.1f} M → {student.parameters / 1e6:.1f} M parameters"
        tiles.append((f"{teacher.parameters / student.parameters:.1f}{TIMES}", "smaller", sizes))
    if student.faster and student.ms:
        times = f"{student.ms:.1f} ms a text in torch"
        if student.same:
            tiles.append(("no", "difference in speed was shown", times))
        else:
            tiles.append(_speed(student.faster, "", times))
    if best is not None and best.ms and best.faster:
        size = f", {best.size_mb:.0f} MB" if best.size_mb else ""
        tiles.append(_speed(best.faster, f" as {best.backend}", f"{best.ms:.2g} ms a text{size}"))
    if student.kept:
        tiles.append(_kept(student.kept))
    return tiles


def _kept(found: Sequence[Kept], backend: str = "", notes: Sequence[str] = ()) -> Tile:
    """Return the tile of what is kept: the headline, then the other metric and the gain."""
    first, *others = found
    values = f"{first.metric} {first.teacher:.3f} → {first.student:.3f}"
    more = [f"{first.of_gain} of the gain over the majority"] if first.of_gain else []
    more += [f"{other.metric}: {other}" for other in others if str(other)]
    figure, name = f"{first.student - first.teacher:+.3f}", "to its teacher"
    if first.kept is not None:
        figure, name = percent(first.kept, first.n), "kept"
    share = first.share if first.share != figure else ""
    note = "; ".join(filter(None, (values, share, *more, *notes)))
    return figure, f"{name}{backend}", note


def _speed(faster: float, backend: str, times: str) -> Tile:
    if faster < 1:
        return f"{1 / faster:.1f}{TIMES}", f"slower{backend}", times
    return f"{faster:.1f}{TIMES}", f"faster{backend}", times


def _front(runs: Sequence[RunRecord], rows: Sequence[Entry]) -> str:
    """Plot the metric against latency; an empty string where fewer than two models compare."""
    from alembert.report import plots

    shared = sum(row.role == "teacher" and row.backend == "torch" for row in rows) == 1
    unit = "CPU ms a text"
    if len(runs) > 1 and shared:  # times of different hours compare only through the teacher
        unit = "CPU time a text, % of the teacher's"
    points = []
    for row in rows:
        cost = row.ms if unit == "CPU ms a text" else row.share
        if cost is not None and row.metric is not None:
            role = "deployed" if row.deployed else row.role
            points.append((row.label, role, cost, row.metric))
    if len(points) < 2 or not comparison.comparable(runs):
        return ""
    front = pareto([(cost, value) for _, _, cost, value in points])
    return plots.against_latency(points, front, _metric(runs), unit)
