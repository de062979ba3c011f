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
    """Print the candidates and the baselines, the fastest first, and the cost of the search."""
    rungs, times = done["rungs"], latencies(done)
    whole = {each["name"]: each for each in (*done["full"], *done.get("baselines", []))}
    times |= {name: each["latency_ms"] for name, each in whole.items()}
    heads = [f"after {rung['share']:.1%}" for rung in rungs]
    texts = f" of {done['teacher']['texts']:,} texts" if "texts" in done["teacher"] else ""
    caption = f"ms: {END_TO_END}; held-out {done['metric']}{texts}"
    caption += " after these shares of a training" if rungs else ""
    rows = Table(
        Column("candidate", no_wrap=True), "ms", *heads, "trained", "outcome", caption=caption
    )
    front = done.get("front", rungs[0]["front"] if rungs else [])
    names = dict.fromkeys([*(rungs[0]["values"] if rungs else []), *whole])
    for name in sorted(names, key=lambda each: times[each]):
        cells = [f"{r['values'][name]:.4f}" if name in r["values"] else "" for r in rungs]
        cells.append(f"{whole[name]['held_out']:.4f}" if name in whole else "")
        won = "found" if name == done["winner"]["name"] else ""
        marks = ", ".join(filter(None, ("front" if name in front else "", won)))
        rows.add_row(name, f"{times[name]:.3g}", *cells, marks)
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
    """Return what the winner keeps of the held-out metric: interval, n, and what choosing adds."""
    aim = done["teacher"]
    value = done["winner"]["held_out"] / aim["held_out"]
    texts = f" (n = {aim['texts']:,})" if "texts" in aim else ""
    told = f"{100 * value:.1f} %{texts}"
    for each in phrases.read(done.get("kept", {})):
        if each.metric == done["metric"] and each.kept is not None:
            told = phrases.share(replace(each.kept, value=value), each.n)
    if done.get("candidates", 1) < 2:
        return told
    true = value - done["too_high"] / aim["held_out"]
    return f"{told}, {100 * true:.1f} % corrected for the choice among {done['candidates']},"


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
        found = f"{winner['name']} ({winner['latency_ms']:.3g} ms)"
        return f"{out}/student: the best found, {found}, keeps {retention}{_missed(done)}"
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
        times = winner.get("teacher_ms", done["teacher"]["latency_ms"]) / winner["latency_ms"]
        faster = f", {times:.1f} times as fast as its teacher's in torch"
    speed = f"{winner['latency_ms']:.3g} ms a text in {backend}{faster} ({END_TO_END})"
    return (
        f"{out}/student: made, {winner['name']}, vocabulary {winner['vocabulary']}, {speed}"
        f"{_on_real_texts(end_to_end(out), backend)}; keeps {retention}{on_eval}"
    )


def _missed(done: dict[str, Any]) -> str:
    """Return which part of the budget the best student misses, and what can be had."""
    winner, asked, limit = done["winner"], done["asked"], done["limit_ms"]
    if limit is not None and winner["latency_ms"] > limit:
        most = f"--max-latency-ms {1.05 * winner['latency_ms']:.3g}"
        if asked["min_speedup"] is not None:
            most = f"--min-speedup {0.95 * winner['teacher_ms'] / winner['latency_ms']:.3g}"
        return f", and takes more than the {limit:.3g} ms of the budget: ask for {most}"
    told = f", and {asked['min_retention']:.1%} was required: lower --min-retention"
    larger = [row for row in done["shapes"] if row["latency_ms"] and not row["fits"]]
    if not larger:
        return f"{told}, or give more --trials"
    next_up = min(larger, key=lambda row: float(row["latency_ms"]))
    speed = ""
    if "latency_ms" in done["teacher"]:
        speed = f", {done['teacher']['latency_ms'] / next_up['latency_ms']:.1f} times its teacher"
    return f"{told}, or allow {next_up['name']} its {next_up['latency_ms']:.3g} ms{speed}"


def _on_real_texts(rows: Sequence[Row], backend: str) -> str:
    """Return the student's speed beside its teacher's on real texts; empty without any."""
    row = next((r for r in rows if (r.model, r.backend) == ("student", backend)), None)
    if row is None or not row.ratios:
        return ""
    speeds = [f"{ratio.value:.1f} times its teacher in {ratio.to.rpartition(':')[2]}"
             for ratio in row.ratios]  # fmt: skip
    return f"; {row.cpu_ms['median']:.3g} ms {ON_EVAL}, {', '.join(speeds)}"
