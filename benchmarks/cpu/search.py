"""Students that a search finds for 0.5 and 2 ms, against TinyBERT's default shape at that time.

    python -m benchmarks.cpu.search DATA OUT --teachers RUNS --results results/search

DATA holds clinc150/ and sst2/ with train.csv, valid.csv and test.csv; RUNS their teachers,
NAME/teacher-0. The other side is TinyBERT as its recipe makes it (its default width and inner size)
at the depth whose latency is nearest to that of what was found, trained as the search trains a
winner. In the end all are timed side by side: int8, one thread, 32 tokens. It goes on where it
stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from alembert.bench.bench import bench
from alembert.data import tasks
from alembert.data.splits import Files, prepare
from alembert.models.loading import label_names_of, load_config, load_tokenizer
from alembert.recipes import recipe_of
from alembert.search.latency import Sample, latency_of, sample_of
from alembert.search.search import FILE, search
from alembert.search.space import Budget, Shape
from alembert.search.trials import Task, train_fully
from benchmarks.lab.data import split_files
from benchmarks.lab.results import Row, arguments, write
from benchmarks.lab.tables import Cell, markdown

BUDGETS = (0.5, 2.0)  # ms
EPOCHS = {"clinc150": 2.0, "sst2": 0.4}  # of each stage of full trainings
LENGTH, MAX_LENGTH = 32, 64
SECONDS = 10.0  # that a row is timed


def default_shape(teacher: str, task: tasks.Task, sample: Sample, ms: float) -> Shape:
    """TinyBERT's default shape at the depth that takes nearest to `ms`."""
    config = load_config(teacher)
    made = recipe_of("tinybert", config).student
    shapes = [
        Shape(
            recipe="tinybert",
            layers=n,
            hidden_size=int(made["hidden_size"]),
            heads=int(made["num_attention_heads"]),
            inner=int(made["intermediate_size"]),
        )
        for n in range(1, config.num_hidden_layers + 1)
    ]
    took = {
        s: latency_of(s.recipe_for(config).student, task.kind, task.labels, sample)[0].ms
        for s in shapes
    }
    return min(shapes, key=lambda shape: abs(took[shape] - ms))


def one(name: str, data: Path, out: Path, teacher: str, given: argparse.Namespace) -> list[Any]:
    """Both budgets on one task: (what, record of the student, its search), a row each."""
    train, valid, test = split_files(data, name)
    files = Files(train=train, valid=valid, evaluation=test)
    config = load_config(teacher)
    tokenizer = load_tokenizer(teacher)
    splits = prepare(files, tokenizer, MAX_LENGTH, label_names_of(config), 0)
    sample = sample_of(splits.raw_valid, tokenizer, MAX_LENGTH, LENGTH)
    rows = []
    for ms in BUDGETS:
        place = out / name / f"{ms:g}-ms"
        budget = Budget(
            max_latency_ms=ms,
            min_retention=None,
            trials=given.trials,
            steps=given.steps,
            epochs=EPOCHS[name],
            length=LENGTH,
        )
        print(search(budget, teacher, files, place, MAX_LENGTH, 0, "auto"), flush=True)
        done = json.loads((place / FILE).read_text())
        found = done["winner"]
        rows.append((f"found for {ms:g} ms", found, place / found["run"], done["cost"]))
        task = Task(
            out=out / name,
            teacher=teacher,
            config=config,
            files=files,
            splits=splits,
            max_length=MAX_LENGTH,
            seed=0,
            precision="auto",
            sample=sample,
        )
        shape = default_shape(teacher, splits.task, sample, found["latency_ms"])
        other = train_fully(task, shape, found["vocabulary"], EPOCHS[name])
        rows.append((f"TinyBERT nearest to it ({ms:g} ms)", other, task.out / other["run"], None))
    return rows


def measured(name: str, rows: list[Any]) -> list[Row]:
    """The rows with their time, all students of a task in turns."""
    places = list(dict.fromkeys(str(place) for _, _, place, _ in rows))
    timed = bench(places, ["int8"], [1], 1, LENGTH, [], SECONDS, [])
    cpu = {row.model: row.cpu_ms["median"] for row in timed}
    found = []
    for what, record, place, cost in rows:
        metrics = record["metrics"]
        metric = metrics["metric"]
        teacher, int8 = metrics["teacher"][metric], metrics["deployed"][metric]
        found.append(
            {
                "task": name, "what": what, "shape": record["name"],
                "vocabulary": record["vocabulary"], "cpu_ms": cpu[str(place)],
                "parameters": record["parameters"], "size_mb": record["size_mb"],
                "held_out": record["held_out"], "int8": int8, "teacher": teacher,
                "kept": int8 / teacher, "train_cpu_s": record["cpu_s"], "cost": cost,
            }
        )  # fmt: skip
    return found


def minutes(row: Row) -> str:
    """CPU minutes of the search, of a student that was searched for."""
    cost = sum(part["cpu_s"] for part in row["cost"].values()) if row["cost"] else 0
    return f"{cost / 60:.1f}" if cost else ""


COLUMNS: dict[str, Cell] = {
    "task": "{task}", "student": "{what}", "shape": "{shape}", "vocabulary": "{vocabulary}",
    "CPU ms a text": "{cpu_ms:.3f}", "parameters": lambda row: f"{row['parameters'] / 1e6:.2f} M",
    "int8 MB": "{size_mb:.1f}", "held-out accuracy, fp32": "{held_out:.4f}",
    "test accuracy, int8": "{int8:.4f}", "kept": "{kept:.1%}",
    "search, CPU min": minutes,
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    for name in given.tasks:
        rows = one(name, given.data, given.out, str(given.teachers / name / "teacher-0"), given)
        found = measured(name, rows)
        write(given.results / f"{name}.json", found)
        print(markdown(found, COLUMNS), flush=True)


if __name__ == "__main__":
    main()
