"""The tables of results/teachers: teachers beside the baselines, before and after.

    python -m benchmarks.quality.teachers OUT BEFORE results/teachers

OUT is the folder of `benchmarks.quality.run teachers`, and BEFORE a results.json with rows of
teachers that did not imitate a linear model first (results/length/after.json); the tasks that it
lacks are read from the arm `plain` of OUT. Writes results.json, a row for each teacher, and the
tables of README.md between their marks.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from alembert.evaluation import verdict
from alembert.evaluation.uncertainty.intervals import of_mean
from benchmarks.lab import results
from benchmarks.lab.results import Row
from benchmarks.lab.seeds import deviation
from benchmarks.lab.tables import markdown
from benchmarks.quality.pages import TASKS, fill

NAMES = {**TASKS, "snips-intents": "SNIPS intents", "snips": "SNIPS slots"}
BASELINES = ("majority", "tfidf", "embeddings")
PAIRS = ("mrpc", "stsb")  # tasks of two texts


def rows_of(out: Path, before: Sequence[Row]) -> list[Row]:
    """One row for each teacher: its metric, its baselines, its lead on each and its verdict."""
    found = []
    for row in results.load(out / "results.json"):
        if row["recipe"] == "teacher":
            run = out / row["task"] / f"teacher-{row['seed']}"
            told = json.loads((run / "metrics.json").read_text())
            more = {"n": told["n"], "lead": told["intervals"]["lead"], "verdict": said(run, told)}
            found.append({**row, **more, "before": _before(row, out, before)})
    return found


def said(run: Path, metrics: Mapping[str, Any]) -> str:
    """The sentence that this version says of a run's figures and times."""
    timed = json.loads((run / "bench.json").read_text())["rows"]
    ms = {(row["model"], row["backend"]): row["cpu_ms"]["median"] for row in timed}
    facts = [json.loads(path.read_text()) for path in run.glob("stages/*/facts.json")]
    seconds = sum(stage["seconds"] for stage in facts)
    return verdict.of_run(metrics, run.parent.name in PAIRS, ms, seconds)


def _before(row: Row, out: Path, before: Sequence[Row]) -> float | None:
    """The metric of the same task and seed without the linear stage; None where it is not there."""
    plain = [each for each in results.load(out / "results.json") if each["recipe"] == "plain"]
    rows = [each for each in before if each["recipe"] == "teacher"] + plain
    same = [each for each in rows if (each["task"], each["seed"]) == (row["task"], row["seed"])]
    return float(same[-1]["value"]) if same else None


def by_task(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["task"]].append(row)
    return found


def table(rows: Iterable[Row]) -> str:
    """Means over the seeds, and the teacher's lead on the best baseline with its interval."""
    lines = []
    for task, seeds in by_task(rows).items():
        means = {name: mean(row["baselines"][name] for row in seeds) for name in BASELINES}
        best = max(means, key=lambda name: means[name])
        leads = [row["value"] - row["baselines"][best] for row in seeds]
        lead = of_mean(leads) if len(leads) > 1 else None
        before = [row["before"] for row in seeds if row["before"] is not None]
        lines.append(
            {
                "task": NAMES[task], "metric": seeds[0]["metric"],
                **{name: f"{value:.3f}" for name, value in means.items()},
                "before": deviation(before) if before else "-",
                "after": deviation([row["value"] for row in seeds]),
                "lead": f"{lead.value:+.4f} ({lead.low:+.4f} to {lead.high:+.4f})" if lead else "-",
                "each": ", ".join(_of_seed(row, best) for row in seeds), "seeds": len(seeds),
            }
        )  # fmt: skip
    columns = {
        "task": "{task}", "metric": "{metric}", "majority": "{majority}", "TF-IDF": "{tfidf}",
        "frozen embeddings": "{embeddings}", "teacher before": "{before}", "teacher": "{after}",
        "lead on the best baseline": "{lead}", "of each seed, over texts": "{each}",
        "seeds": "{seeds}",
    }  # fmt: skip
    return markdown(lines, columns)


def _of_seed(row: Row, best: str) -> str:
    low, high = row["lead"]["majority" if best == "majority" else f"baselines.{best}"]
    return f"{low:+.3f} to {high:+.3f}"


def verdicts(rows: Iterable[Row]) -> str:
    """The sentence that each run ends with."""
    told = [
        {"task": NAMES[row["task"]], "seed": row["seed"], "verdict": row["verdict"]} for row in rows
    ]
    return markdown(told, {"task": "{task}", "seed": "{seed}", "verdict": "{verdict}"})


def main() -> None:
    parser = results.arguments(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("before", type=Path)
    parser.add_argument("to", type=Path)
    given = parser.parse_args()
    order = list(NAMES)
    rows = sorted(
        rows_of(given.out, results.load(given.before)),
        key=lambda row: (order.index(row["task"]), row["seed"]),
    )
    results.write(given.to / "results.json", rows)
    fill(given.to / "README.md", {"teachers": table(rows), "verdicts": verdicts(rows)})


if __name__ == "__main__":
    main()
