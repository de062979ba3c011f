"""What a search found, in words and as a table."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table


def table(done: dict[str, Any]) -> None:
    """Print the candidates that were trained, the quickest first, and what it all cost."""
    rungs, times = done["rungs"], latencies(done)
    heads = [f"after {rung['share']:.1%}" for rung in rungs]
    caption = f"held-out {done['metric']} after these shares of their training" if rungs else None
    shown = Table(Column("candidate", no_wrap=True), "ms", *heads, "", caption=caption)
    names = list(rungs[0]["values"]) if rungs else [done["winner"]["name"]]
    for name in sorted(names, key=lambda each: times[each]):
        cells = [f"{r['values'][name]:.4f}" if name in r["values"] else "" for r in rungs]
        front = "front" if rungs and name in rungs[0]["front"] else ""
        won = "found" if name == done["winner"]["name"] else ""
        shown.add_row(name, f"{times[name]:.3g}", *cells, ", ".join(filter(None, (front, won))))
    Console().print(shown, spent(done), sep="\n", highlight=False)


def latencies(done: dict[str, Any]) -> dict[str, float]:
    """Name of a shape -> its milliseconds, where it was timed."""
    return {row["name"]: row["latency_ms"] for row in done["shapes"] if row["latency_ms"]}


def spent(done: dict[str, Any]) -> str:
    """What each phase took."""
    what = {"latency": "shapes timed", "brief": "brief trainings", "full": "full trainings",
            "export": "exports"}  # fmt: skip
    parts = [
        f"{cost['count']} {what[name]} {cost['cpu_s']:,.0f} s CPU ({cost['wall_s']:,.0f} s)"
        for name, cost in done["cost"].items()
    ]
    total = sum(cost["cpu_s"] for cost in done["cost"].values())
    return f"cost: {'; '.join(parts)}; {total:,.0f} s CPU in all"


def described(out: Path, done: dict[str, Any]) -> str:
    """One line: what was found, and where it lies."""
    found, metric, aim = done["winner"], done["metric"], done["teacher"]["held_out"]
    kept = f"{found['held_out'] / aim:.1%} of the teacher's held-out {metric}" if aim else ""
    if not done["reached"]:
        share = done["asked"]["min_retention"]
        return (
            f"{out}/student: the best found, {found['name']} ({found['latency_ms']:.3g} ms), keeps "
            f"{kept}, and {share:.1%} was asked for"
        )
    judged, metrics, faster = "", found["metrics"], ""
    if "latency_ms" in done["teacher"]:
        times = done["teacher"]["latency_ms"] / found["latency_ms"]
        faster = f", {times:.1f} times as fast as its teacher in torch"
    if "int8" in found:
        judged = f"; on --eval {metric} {found['int8'][metric]:.4f} in int8"
        if "teacher" in metrics:
            judged += f", the teacher {metrics['teacher'][metric]:.4f}"
    return (
        f"{out}/student: made, {found['name']}, vocabulary {found['vocabulary']}, "
        f"{found['latency_ms']:.3g} ms a text in int8{faster}, keeps {kept}{judged}"
    )
