"""How long is trained, and what comes of it: quality, steps and CPU time of teachers and students.

    python benchmarks/length.py DATA OUT --tasks mrpc stsb --seeds 0 1 2
    python benchmarks/length.py DATA OUT --tasks mrpc --seeds 0 --recipes distilbert tinybert
    python benchmarks/length.py --table BEFORE AFTER

DATA is what benchmarks/data.py wrote; OUT gets the run folders and results.json. The commands are
those of a user who names no setting: `alembert finetune` and `alembert distill` with --train and
--eval, so a slice of train is held out to choose by. One thread each; students learn from
TEACHERS/<task>/teacher-0, or OUT's. Run it with two versions of the package for BEFORE and AFTER.
Finished runs are not run again.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from alembert.cli.quickstart import builtin_teacher

T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided, by the number of seeds


def one(command: list[str], out: Path) -> dict[str, Any]:
    """Run one command to its end; what it made and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (out.parent / f"{out.name}.log").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "alembert", *command, "--out", str(out)],
            check=True, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    metrics = json.loads((out / "metrics.json").read_text())
    stages = [json.loads(path.read_text()) for path in sorted(out.glob("stages/*/facts.json"))]
    name = metrics["metric"]
    return {
        "metric": name, "value": metrics["student"][name],
        "teacher": metrics.get("teacher", {}).get(name),
        "steps": [stage["step"] for stage in stages],
        "best_steps": [stage["best_step"] for stage in stages],
        "cpu_s": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
    }  # fmt: skip


def measure(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "results.json"
    for seed in given.seeds:
        for task in given.tasks:
            files = ["--train", f"{given.data}/{task}/train.csv"]
            files += ["--eval", f"{given.data}/{task}/test.csv", "--seed", str(seed)]
            for recipe in given.recipes:
                rows = json.loads(path.read_text()) if path.is_file() else []
                key = {"task": task, "recipe": recipe, "seed": seed}
                if any(key.items() <= row.items() for row in rows):
                    continue
                out = given.out / task / f"{recipe}-{seed}"
                out.parent.mkdir(exist_ok=True)
                teacher = (given.teachers or given.out) / task / "teacher-0"
                asked = ["finetune", builtin_teacher()]
                if recipe != "teacher":
                    asked = ["distill", recipe, "--teacher", str(teacher)]
                row = key | one([*asked, *files], out)
                rows = json.loads(path.read_text()) if path.is_file() else []  # of one beside this
                path.write_text(json.dumps([*rows, row], indent=1) + "\n")
                print(json.dumps(row), flush=True)


def spread(values: list[float], digits: int = 4) -> str:
    """Mean and the half width of its 95 % interval (Student's t over the seeds)."""
    text = f"{mean(values):.{digits}f}"
    if len(values) < 2:
        return text
    half = T95[len(values)] * stdev(values) / math.sqrt(len(values))
    return f"{text} ± {half:.{digits}f}"


def table(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    """A line a task and recipe: quality, steps and CPU seconds, before and after."""
    lines = [
        "| task | model | metric | before | after | difference | steps before | steps after "
        "| CPU s before | CPU s after | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row["task"], row["recipe"]) for row in before)
    for task, recipe in keys:
        sides = [
            {row["seed"]: row for row in rows if (row["task"], row["recipe"]) == (task, recipe)}
            for rows in (before, after)
        ]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds:
            continue
        values = [[side[seed]["value"] for seed in seeds] for side in sides]
        steps = [f"{np.mean([sum(side[seed]['steps']) for seed in seeds]):,.0f}" for side in sides]
        cpu = [f"{mean(side[seed]['cpu_s'] for seed in seeds):,.0f}" for side in sides]
        gain = [b - a for a, b in zip(*values, strict=True)]
        lines.append(
            f"| {task} | {recipe} | {sides[0][seeds[0]]['metric']} | {spread(values[0])} | "
            f"{spread(values[1])} | {spread(gain)} | {' | '.join(steps)} | {' | '.join(cpu)} | "
            f"{len(seeds)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--tasks", nargs="+", default=["sst2-600", "mrpc", "stsb", "clinc150"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=["teacher"])
    parser.add_argument("--teachers", type=Path)
    parser.add_argument("--table", nargs=2, type=Path, metavar=("BEFORE", "AFTER"))
    given = parser.parse_args()
    if given.table:
        print(table(*(json.loads(path.read_text()) for path in given.table)))
        return
    measure(given)


if __name__ == "__main__":
    main()
