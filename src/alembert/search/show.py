"""The result of a search as a line and as a table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from alembert.evaluation import phrases


def table(done: dict[str, Any]) -> None:
    """Print the trained candidates, the fastest first, and the cost of the search."""
    rungs, times = done["rungs"], latencies(done)
    heads = [f"after {rung['share']:.1%}" for rung in rungs]
    of_texts = f" of {done['teacher']['texts']:,} texts" if "texts" in done["teacher"] else ""
    caption = f"held-out {done['metric']}{of_texts} after these shares of their training"
    shown = Table(
        Column("candidate", no_wrap=True), "ms", *heads, "", caption=caption if rungs else None
    )
    names = list(rungs[0]["values"]) if rungs else [done["winner"]["name"]]
    for name in sorted(names, key=lambda each: times[each]):
        cells = [f"{r['values'][name]:.4f}" if name in r["values"] else "" for r in rungs]
        front = "front" if rungs and name in rungs[0]["front"] else ""
        won = "found" if name == done["winner"]["name"] else ""
        shown.add_row(name, f"{times[name]:.3g}", *cells, ", ".join(filter(None, (front, won))))
    Console(markup=False).print(shown, spent(done), sep="\n", highlight=False)


def latencies(done: dict[str, Any]) -> dict[str, float]:
    """Return the milliseconds of each shape that was timed, by name."""
    return {row["name"]: row["latency_ms"] for row in done["shapes"] if row["latency_ms"]}


def spent(done: dict[str, Any]) -> str:
    """Return a line on the cost of each phase."""
    names = {"latency": "shapes timed", "brief": "brief trainings", "full": "full trainings",
            "export": "exports"}  # fmt: skip
    parts = [
        f"{cost['count']} {names[name]} {cost['cpu_s']:,.0f} s CPU ({cost['wall_s']:,.0f} s)"
        for name, cost in done["cost"].items()
    ]
    total = sum(cost["cpu_s"] for cost in done["cost"].values())
    return f"cost: {'; '.join(parts)}; {total:,.0f} s CPU in all"


def _kept(done: dict[str, Any]) -> str:
    """Return what the winner keeps of the held-out metric, with its interval and n."""
    value = done["winner"]["held_out"] / done["teacher"]["held_out"]
    for each in phrases.read(done.get("kept", {})):
        if each.metric == done["metric"] and each.kept is not None:
            return phrases.share(replace(each.kept, value=value), each.n)
    texts = f" (n = {done['teacher']['texts']:,})" if "texts" in done["teacher"] else ""
    return f"{100 * value:.1f} %{texts}"


def summary(out: Path, done: dict[str, Any]) -> str:
    """Return a line on the student, its folder and its figures."""
    winner, metric, aim = done["winner"], done["metric"], done["teacher"]["held_out"]
    retention = f"{_kept(done)} of the teacher's held-out {metric}" if aim else ""
    if not done["reached"]:
        share = done["asked"]["min_retention"]
        return (
            f"{out}/student: the best found, {winner['name']} ({winner['latency_ms']:.3g} ms), "
            f"keeps {retention}, and {share:.1%} was required"
        )
    on_eval, metrics, faster = "", winner["metrics"], ""
    if "latency_ms" in done["teacher"]:
        times = done["teacher"]["latency_ms"] / winner["latency_ms"]
        faster = f", {times:.1f} times as fast as its teacher in torch"
    if "int8" in winner:
        on_eval = f"; on --eval {metric} {winner['int8'][metric]:.4f} in int8"
        if "teacher" in metrics:
            on_eval += f", the teacher {metrics['teacher'][metric]:.4f}"
            told = [str(each) for each in phrases.read(metrics) if each.metric == metric]
            on_eval += "".join(f", in fp32 {each}" for each in told if each)
    return (
        f"{out}/student: made, {winner['name']}, vocabulary {winner['vocabulary']}, "
        f"{winner['latency_ms']:.3g} ms a text in int8{faster}, keeps {retention}{on_eval}"
    )
