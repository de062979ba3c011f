"""The result of a search as a line and as tables, with how each time was measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from alembert.bench.rows import Row, row_of
from alembert.bench.show import shown
from alembert.evaluation.uncertainty import phrases
from alembert.io.files import read_json
from alembert.io.progress import above
from alembert.search.latency import END_TO_END

ON_EVAL = "on real texts of --eval, one at a time, one thread"
RATIOS = "x: times as fast as the teacher in that engine, on the same texts; ≈ same: in the noise"


def table(done: dict[str, Any]) -> None:
    """Print the trained candidates, the fastest first, and the cost of the search."""
    rungs, times = done["rungs"], latencies(done)
    heads = [f"after {rung['share']:.1%}" for rung in rungs]
    caption = f"ms: {END_TO_END}"
    if rungs:
        texts = f" of {done['teacher']['texts']:,} texts" if "texts" in done["teacher"] else ""
        caption += f"; held-out {done['metric']}{texts} after these shares of their training"
    rows = Table(Column("candidate", no_wrap=True), "ms", *heads, "", caption=caption)
    names = list(rungs[0]["values"]) if rungs else [done["winner"]["name"]]
    for name in sorted(names, key=lambda each: times[each]):
        cells = [f"{r['values'][name]:.4f}" if name in r["values"] else "" for r in rungs]
        front = "front" if rungs and name in rungs[0]["front"] else ""
        won = "found" if name == done["winner"]["name"] else ""
        rows.add_row(name, f"{times[name]:.3g}", *cells, ", ".join(filter(None, (front, won))))
    with above():
        Console(markup=False).print(rows, spent(done), sep="\n", highlight=False)


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


def end_to_end(out: Path) -> list[Row]:
    """Return the rows of teacher and student that were timed on real texts; none without --eval."""
    at = out / "bench.json"
    return [row_of(each) for each in read_json(at)["rows"]] if at.is_file() else []


def final_table(rows: Sequence[Row]) -> None:
    """Print teacher and student in each engine, timed in turns from a text to its answer."""
    if not rows:
        return
    references = [ratio.to for ratio in max((row.ratios for row in rows), key=len)]
    heads = [f"x {to.rpartition(':')[2]}" for to in references]
    found = Table("model", "engine", "CPU ms", *heads)
    for row in rows:
        speeds = {ratio.to: shown(ratio) for ratio in row.ratios}
        cells = [speeds.get(to, "") for to in references]
        found.add_row(row.model, row.backend, f"{row.cpu_ms['median']:.3g}", *cells)
    note = f"{ON_EVAL}, median {rows[0].length} tokens; {RATIOS}"
    with above():
        Console(markup=False).print(found, note, sep="\n", highlight=False)


def summary(out: Path, done: dict[str, Any]) -> str:
    """Return a line on the student, its folder and its figures, and how each was measured."""
    winner, metric, aim = done["winner"], done["metric"], done["teacher"]["held_out"]
    retention = f"{_kept(done)} of the teacher's held-out {metric}" if aim else ""
    if not done["reached"]:
        share = done["asked"]["min_retention"]
        return (
            f"{out}/student: the best found, {winner['name']} ({winner['latency_ms']:.3g} ms), "
            f"keeps {retention}, and {share:.1%} was required"
        )
    backend = winner.get("backend", "int8")  # records of an earlier version have none
    on_eval, metrics = "", winner["metrics"]
    if on_test := metrics.get("deployed") or winner.get("int8"):
        on_eval = f"; on --eval {metric} {on_test[metric]:.4f} in {backend}"
        if "teacher" in metrics:
            role = "deployed" if "deployed" in metrics else "student"
            on_eval += f", the teacher {metrics['teacher'][metric]:.4f}"
            told = [each for each in phrases.read(metrics, role) if each.metric == metric]
            on_eval += "".join(f", {each}" for each in told if str(each))
    faster = ""
    if "latency_ms" in done["teacher"]:
        times = done["teacher"]["latency_ms"] / winner["latency_ms"]
        faster = f", {times:.1f} times as fast as its teacher's in torch"
    speed = f"{winner['latency_ms']:.3g} ms a text in {backend}{faster} ({END_TO_END})"
    return (
        f"{out}/student: made, {winner['name']}, vocabulary {winner['vocabulary']}, {speed}"
        f"{_on_real_texts(end_to_end(out), backend)}; keeps {retention}{on_eval}"
    )


def _on_real_texts(rows: Sequence[Row], backend: str) -> str:
    """Return the student's speed beside its teacher's on real texts; empty without any."""
    row = next((r for r in rows if (r.model, r.backend) == ("student", backend)), None)
    if row is None or not row.ratios:
        return ""
    speeds = [f"{ratio.value:.1f} times its teacher in {ratio.to.rpartition(':')[2]}"
             for ratio in row.ratios]  # fmt: skip
    return f"; {row.cpu_ms['median']:.3g} ms {ON_EVAL}, {', '.join(speeds)}"
