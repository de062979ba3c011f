"""What a student keeps, and how two models differ, in words: each with its interval and n."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alembert.evaluation.uncertainty.intervals import Interval

SAME = "no difference to be seen"
FINE = 500  # texts from which on a tenth of a percent is told


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a student keeps of its teacher's metric, read from metrics.json.

    kept, difference and gain are None where they were not measured, or make no sense. A folder of
    an earlier version has no n and no bounds: those of its `kept` are its value.
    """

    metric: str
    teacher: float
    student: float
    n: int | None
    kept: Interval | None
    difference: Interval | None
    gain: Interval | None

    @property
    def alike(self) -> bool:
        """Whether no difference of the two models is to be seen."""
        return self.difference is not None and self.difference.reaches(0)

    @property
    def share(self) -> str:
        """The share kept with its interval: "97.2 % (95.1 to 99.0 %, n = 872)", or the reason."""
        if self.kept is None:
            return difference(self.difference, self.n) if self.difference else ""
        same = f": {SAME}" if self.alike else ""
        return share(self.kept, self.n, same)

    @property
    def of_gain(self) -> str:
        """The share of the gain over the majority with its interval, "" where there is none."""
        if self.gain is None:
            return ""
        return f"{percent(self.gain, self.n)}{_brackets(_range(self.gain, self.n), None)}"

    def __str__(self) -> str:
        if self.kept is None:
            return f"difference {self.share}" if self.share else ""
        gain = f", {self.of_gain} of the gain over the majority" if self.gain else ""
        return f"kept {self.share}{gain}"


def read(metrics: Mapping[str, Any], role: str = "student") -> list[Kept]:
    """Return what is kept of the task's metric, and of the one for unbalanced classes if told.

    role is "student", or "deployed" for the student as it is exported. The headline comes first.
    The list is empty without a teacher.
    """
    if "teacher" not in metrics:
        return []
    intervals = metrics.get("intervals", {})
    found = [_of(metrics, role, metrics["metric"], intervals)]
    balanced = intervals.get("balanced")
    if balanced is not None and balanced["metric"] in {*metrics["teacher"]} & {*metrics[role]}:
        found.append(_of(metrics, role, balanced["metric"], balanced))
    return sorted(found, key=lambda each: each.metric != metrics.get("headline", each.metric))


def _of(metrics: Mapping[str, Any], role: str, metric: str, intervals: Mapping[str, Any]) -> Kept:
    teacher, student = (float(metrics[each][metric]) for each in ("teacher", role))
    bounds = intervals.get("of_deployed", {}) if role == "deployed" else intervals
    kept, apart, gain = (bounds.get(name) for name in ("retention", "difference", "gain_kept"))
    if not intervals and "retention" in metrics:
        kept = [student / teacher] * 2
    return Kept(
        metric=metric,
        teacher=teacher,
        student=student,
        n=metrics.get("n"),
        kept=kept and Interval(student / teacher, *kept),
        difference=apart and Interval(student - teacher, *apart),
        gain=gain and Interval(**gain),
    )


def closing(metrics: Mapping[str, Any]) -> str:
    """Return the end of the line on a finished run: its metric, the teacher's and what is kept."""
    if "metric" not in metrics:
        return ""
    name, told = metrics["metric"], read(metrics)
    if not told:
        bounds = metrics.get("intervals", {}).get("student")
        return f"{name} {value(metrics['student'][name], bounds, metrics.get('n'))}"
    parts = [
        f"{each.metric} {each.student:.4f}, the teacher {each.teacher:.4f}"
        + (f", {each}" if str(each) else "")
        for each in told
    ]
    return "; ".join(parts)


def share(found: Interval, n: int | None, end: str = "") -> str:
    """Return a share with its interval and n: "97.2 % (95.1 to 99.0 %, n = 872)"."""
    return f"{percent(found, n)}{_brackets(_range(found, n), n, end)}"


def percent(found: Interval, n: int | None) -> str:
    """Return a share in percent, to a tenth where its interval and n are so fine."""
    return f"{100 * found.value:.{_decimals(found, n)}f} %"


def _decimals(found: Interval, n: int | None) -> int:
    return int((n is None or n >= FINE) and found.high - found.low < 0.05)


def _range(found: Interval, n: int | None) -> str:
    if found.low == found.high:
        return ""
    digits = _decimals(found, n)
    return f"{100 * found.low:.{digits}f} to {100 * found.high:.{digits}f} %"


def difference(found: Interval, n: int | None) -> str:
    """Return a difference with its interval: "-0.0120 (-0.031 to +0.007, n = 872: no ...)"."""
    same = f": {SAME}" if found.reaches(0) else ""
    bounds = "" if found.low == found.high else f"{found.low:+.3f} to {found.high:+.3f}"
    return f"{found.value:+.4f}{_brackets(bounds, n, same)}"


def value(number: float, bounds: Sequence[float] | None, n: int | None = None) -> str:
    """Return a metric with its interval: "0.8349 (0.810 to 0.859, n = 872)"."""
    return f"{number:.4f}{_brackets('{:.3f} to {:.3f}'.format(*bounds) if bounds else '', n)}"


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines, with the cells of a column below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _brackets(bounds: str, n: int | None, end: str = "") -> str:
    inside = ", ".join(filter(None, (bounds, f"n = {n:,}" if n is not None else "")))
    told = f"{inside}{end}" if inside else end.removeprefix(": ")
    return f" ({told})" if told else ""
