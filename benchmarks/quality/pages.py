"""Run folders of benchmarks.quality.run -> the tables of results/ and of the README.

    python -m benchmarks.quality.pages OUT results

In results/distilbert, results/tinybert and results/mobilebert: results.json (every run: metrics,
steps, seconds, environment) and the tables of README.md between their marks (means and spread over
the seeds there are); results/minilm/results.json; the main tables of the README. Runs that a
results.json has and OUT has not are kept: seeds may come from several machines.
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
KEY = ("task", "run", "seed")
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
    """Fills the page; returns its first table."""
    found = summaries(put(at, of(("distilbert", "distilbert-grid"), everything)))
    table = distilbert_table(found)
    fill(at / "README.md", {"students": table, "grid": grid_table(found)})
    return table


def tinybert(at: Path, everything: list[Row]) -> str:
    """Fills the page; returns its table for the README."""
    found = summaries(put(at, of(("tinybert",), everything)))
    fill(at / "README.md", {"arms": arms_table(found, "tinybert")})
    return tinybert_table(found)


def mobilebert(at: Path, everything: list[Row], out: Path) -> None:
    """Fills the page, and perplexity.json beside it."""
    names = ("mobilebert", "mobilebert-brief")
    found = summaries(put(at, of(names, everything)))
    words = perplexities(out, at / "perplexity.json")
    fill(at / "README.md", {name: strategies_table(found, name, words) for name in names})


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


def fill(page: Path, tables: dict[str, str]) -> None:
    """Put each table of a page between its marks; a page that is not there gets the marks alone."""
    text = page.read_text() if page.is_file() else ""
    for name, table in tables.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin not in text:
            text += f"{begin}\n{end}\n"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    page.write_text(text)


def main() -> None:
    parser = results.arguments(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    given = parser.parse_args()
    fill(given.readme, {"results": written(given.out, given.results)})


if __name__ == "__main__":
    main()
