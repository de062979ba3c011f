"""The part of the page about the search that found a run's student: RUN/search.json."""

from typing import Any

from alembert.report import plots
from alembert.report.errors import Section
from alembert.report.facts import Run, fields_of

FILE = "search.json"
FIELDS = {"metric": str, "shapes": list, "rungs": list, "winner": dict, "cost": dict}


def searched(run: Run) -> Section | None:
    """Every shape that was timed, what the trained ones reached, the Pareto front of each rung."""
    done = fields_of(run.path / FILE, FIELDS)
    if not done:
        return None
    rungs, metric, found = done["rungs"], done["metric"], done["winner"]["name"]
    ms = {row["name"]: row["latency_ms"] for row in done["shapes"]}
    figures = tuple(
        ((_front(rung, ms, metric),), f"after {rung['share']:.1%} of their training")
        for rung in rungs
    )
    head = ("candidate", "ms a text", *(f"after {rung['share']:.1%}" for rung in rungs), "")
    rows = [
        (
            row["name"], f"{row['latency_ms']:.3g}" if row["latency_ms"] else "not timed",
            *(_value(rung, row["name"]) for rung in rungs), _fate(row, rungs, found),
        )
        for row in sorted(done["shapes"], key=lambda row: row["latency_ms"] or float("inf"))
    ]  # fmt: skip
    spent = sum(cost["cpu_s"] for cost in done["cost"].values())
    lead = (
        f"{len(rows)} shapes, timed with random weights in int8, one thread, CPU time; some were "
        f"trained briefly and judged by {metric} on the held-out texts, each rung keeping a third; "
        f"{found} was trained to the end. All of it took {spent:,.0f} s of CPU time."
    )
    return Section("search", "How it was found", lead, figures, head, tuple(rows))


def _front(rung: dict[str, Any], ms: dict[str, float], metric: str) -> str:
    points = [(name, "student", ms[name], value) for name, value in rung["values"].items()]
    front = {i for i, point in enumerate(points) if point[0] in rung["front"]}
    return plots.against_latency(points, front, f"held-out {metric}", "CPU ms a text")


def _value(rung: dict[str, Any], name: str) -> str:
    value = rung["values"].get(name)
    return "" if value is None else f"{value:.4f}"


def _fate(row: dict[str, Any], rungs: list[dict[str, Any]], found: str) -> str:
    if row["name"] == found:
        return "found"
    if row["latency_ms"] is None:
        return "a shallower one is over the budget"
    if not row["fits"]:
        return "over the budget"
    if rungs and row["name"] in rungs[0]["front"]:
        return "on the front"
    return ""
