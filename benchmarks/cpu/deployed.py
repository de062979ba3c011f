"""Trained students put to work: metric of every backend, the choice of --auto, end-to-end speed.

    python -m benchmarks.cpu.deployed DATA OUT --students sst2/3-layers-distilled-0 \\
        --results results/deployed

DATA and OUT are those of benchmarks.quality.run. A student is copied to OUT/deployed, exported by
--auto on valid (which chooses), judged on test in every backend, and timed on the texts of test
against its teacher in torch eager: one thread, one text a batch, tokenisation included.
"""

import shutil
from pathlib import Path

from alembert.bench.bench import bench, texts_of
from alembert.data.splits import Files
from alembert.export.choose import choose
from alembert.runs.evaluate import judge
from benchmarks.lab.data import split_files
from benchmarks.lab.results import Row, add, arguments
from benchmarks.lab.tables import Cell, markdown

LENGTH = 128
SECONDS = 6.0  # that a row is timed


def measured(data: Path, out: Path, student: str) -> Row:
    """One student's figures."""
    task, run = student.split("/")
    teacher = str(out / task / f"teacher-{run.rsplit('-', 1)[1]}")
    at = out / "deployed" / task / run
    if not (at / "config.json").is_file():
        shutil.copytree(out / student / "student", at)
    _, valid, texts_at = split_files(data, task)
    facts = choose(str(at), Files(train=valid), 0.99, False, LENGTH)
    test = Files(train=texts_at)
    backends = ["torch", *(variant.backend for variant in facts.variants)]
    metrics = {name: judge(str(at), test, LENGTH, name).metrics for name in backends}
    taught = judge(teacher, test, LENGTH).metrics
    texts = texts_of(texts_at, None, None)
    rows = bench([teacher, str(at)], [], [1], 1, LENGTH, texts, SECONDS, [f"{teacher}:torch"])
    return {
        "task": task, "student": run, "metric": next(iter(taught)), "teacher": taught,
        "metrics": metrics, "chosen": facts.chosen,
        "auto": {v.backend: v.measured for v in facts.variants},
        "spared": {v.backend: v.kept_fp32 for v in facts.variants},
        "bench": [{**row.content(), "model": Path(row.model).name} for row in rows],
    }  # fmt: skip


def lines(found: list[Row]) -> list[Row]:
    """A row for each student and backend."""
    rows = []
    for each in found:
        for row in each["bench"]:
            teaches = row["model"].startswith("teacher")
            scores = each["teacher"] if teaches else each["metrics"][row["backend"]]
            value, times = scores[each["metric"]], [ratio["value"] for ratio in row["ratios"]]
            chosen = not teaches and row["backend"] == each["chosen"]
            rows.append({
                **each, "student": "teacher" if teaches else each["student"], "value": value,
                "backend": row["backend"] + " (chosen)" * chosen,
                "kept": value / each["teacher"][each["metric"]],
                "cpu_ms": row["cpu_ms"]["median"], "times": f"{times[0]:.1f}" if times else "1",
            })  # fmt: skip
    return rows


COLUMNS: dict[str, Cell] = {
    "task": "{task}", "student": "{student}", "backend": "{backend}",
    "test metric": "{value:.4f} {metric}", "kept": "{kept:.1%}",
    "CPU ms a text": "{cpu_ms:.2f}", "times as fast as the teacher in torch": "{times}",
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--students", nargs="+", required=True)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    path, key = given.results / "results.json", ("task", "student")
    for student in given.students:
        found = add(path, [measured(given.data, given.out, student)], key, [given.out])
    print(markdown(lines(found), COLUMNS))


if __name__ == "__main__":
    main()
