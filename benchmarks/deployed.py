"""Trained students put to work: metric of every backend, the choice of --auto, end-to-end speed.

    python benchmarks/deployed.py DATA OUT --students sst2/3-layers-distilled-0 \\
        --results results/deployed

DATA and OUT are those of benchmarks/distilbert.py. A student is copied to OUT/deployed, exported by
--auto on valid (which chooses), judged on test in every backend, and timed on the texts of test
against its teacher in torch eager: one thread, one text a batch, tokenisation included.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from distilbert import files_of

from alembert.bench.bench import bench, texts_of
from alembert.data.splits import Files
from alembert.export.choose import choose
from alembert.runs.evaluate import evaluate

LENGTH = 128


def measured(data: Path, out: Path, student: str) -> dict[str, Any]:
    """One student's figures."""
    task, run = student.split("/")
    teacher = str(out / task / f"teacher-{run.rsplit('-', 1)[1]}")
    at = out / "deployed" / task / run
    if not (at / "config.json").is_file():
        shutil.copytree(out / student / "student", at)
    files = files_of(data, task)
    assert files.valid is not None
    facts = choose(str(at), Files(files.valid), 0.99, False, LENGTH, print)
    test = Files(str(files.evaluation))
    backends = ["torch", *(variant.backend for variant in facts.variants)]
    metrics = {name: evaluate(str(at), test, LENGTH, print, name) for name in backends}
    taught = evaluate(teacher, test, LENGTH, print)
    texts = texts_of(str(files.evaluation), None, None)
    rows = bench([teacher, str(at)], [], [1], 1, LENGTH, texts, 6.0, [f"{teacher}:torch"], print)
    return {
        "task": task, "student": run, "metric": next(iter(taught)), "teacher": taught,
        "metrics": metrics, "chosen": facts.chosen,
        "auto": {v.backend: v.measured for v in facts.variants},
        "spared": {v.backend: v.kept_fp32 for v in facts.variants},
        "bench": [{**row.content(), "model": Path(row.model).name} for row in rows],
    }  # fmt: skip


def table(found: list[dict[str, Any]]) -> str:
    """A line a student and backend."""
    lines = [
        "| task | student | backend | metric | of its teacher | CPU ms a text | x the teacher |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        name = each["metric"]
        for row in each["bench"]:
            backend = row["backend"]
            teaches = row["model"].startswith("teacher")
            scores = each["teacher"] if teaches else each["metrics"][backend]
            kept = scores[name] / each["teacher"][name]
            chosen = " (chosen)" if not teaches and backend == each["chosen"] else ""
            times = [r["value"] for r in row["ratios"]]
            lines.append(
                f"| {each['task']} | {'teacher' if teaches else each['student']} | "
                f"{backend}{chosen} | {scores[name]:.4f} {name} | {kept:.1%} | "
                f"{row['cpu_ms']['median']:.2f} | {f'{times[0]:.1f}' if times else '1'} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--students", nargs="+", required=True)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / "results.json"
    found = json.loads(path.read_text()) if path.is_file() else []
    for student in given.students:
        found = [f for f in found if f"{f['task']}/{f['student']}" != student]
        found.append(measured(given.data, given.out, student))
        path.write_text(json.dumps(found, indent=1).replace(f"{given.out}/", "") + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
