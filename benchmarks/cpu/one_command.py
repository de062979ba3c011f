"""From a fine-tuned teacher to a served int8 student with one command, and what it then answers.

    python -m benchmarks.cpu.one_command DATA OUT --teachers RUNS --results results/one-command

The command is `alembert search ... --serve PORT`; RUNS holds the teachers, NAME/teacher-0. When the
server is up, every text of the test split is asked over HTTP, and the metric is that of the
answers. Then teacher (torch, eager, fp32) and student (int8) are timed side by side on those texts:
one thread, one text a batch, tokenisation included. What the search finished is not done again.
"""

import json
import urllib.request
from pathlib import Path

from seqeval.metrics import f1_score

from alembert.bench.bench import bench, texts_of
from alembert.client.client import Client
from alembert.data.sources import read
from alembert.data.splits import Files
from alembert.runs.evaluate import judge
from benchmarks.lab.data import split_files
from benchmarks.lab.results import Row, add, arguments
from benchmarks.lab.tables import Cell, markdown
from benchmarks.lab.workers import free_port, server

# the search times texts of --length tokens: about as many as the task's have
TASKS = {
    "clinc150": "--min-speedup 50 --length 13 --max-length 64 --recipes tinybert --trials 1 "
    "--vocabulary all",
    "sst2": "--min-speedup 36 --length 25 --max-length 64 --trials 6 --steps 60 --epochs 1",
    "snips": "--min-speedup 40 --length 13 --max-length 64 --trials 6 --steps 60",
}
SECONDS = 10.0  # that a row is timed
PATIENCE = 3 * 3600  # seconds until the server is to be up


def served(command: list[str], port: int, test: str) -> tuple[str, float]:
    """Run the command until its server has answered the whole of `test`; metric, its value."""
    url = f"http://127.0.0.1:{port}"
    health, words = urllib.request.Request(f"{url}/health"), ["-m", "alembert", *command]
    with server(words, health, PATIENCE, quiet=False), Client(url) as client:
        return answered(client, test)


def answered(client: Client, test: str) -> tuple[str, float]:
    """What the answers to the texts of a file are worth."""
    rows = read(test, "test")
    chunks = [rows[start : start + 32] for start in range(0, len(rows), 32)]
    if "tags" in rows.column_names:
        tags = [tag for chunk in chunks for tag in client.tag(chunk["tokens"], truncate=True)]
        found = [[word.label or "O" for word in each.words] for each in tags]
        return "span_f1", float(f1_score(rows["tags"][:], found))
    column = next(name for name in ("text", "sentence") if name in rows.column_names)
    labels = [each.label for chunk in chunks
              for each in client.predict(chunk[column], truncate=True)]  # fmt: skip
    right = [str(label) == said for label, said in zip(rows["label"][:], labels, strict=True)]
    return "accuracy", sum(right) / len(right)


def one(name: str, data: Path, out: Path, teachers: Path) -> Row:
    """One task's figures."""
    options, (train, valid, test) = TASKS[name], split_files(data, name)
    teacher, found, port = str(teachers / name / "teacher-0"), str(out / name), free_port()
    command = ["search", "--teacher", teacher, "--train", train, "--valid", valid, "--eval", test,
               "--out", found, *options.split(), "--serve", str(port)]  # fmt: skip
    metric, value = served(command, port, test)
    taught = judge(teacher, Files(train=test), 128).metrics[metric]
    done = json.loads((Path(found) / "search.json").read_text())
    texts = texts_of(test, None, None)
    rows = bench([teacher, found], [], [1], 1, 128, texts, SECONDS, [f"{teacher}:torch"])
    timed = {(Path(row.model).name, row.backend): row.content() for row in rows}
    asked = options + " ..."
    return {
        "task": name, "asked": asked, "student": done["winner"]["name"],
        "vocabulary": done["winner"]["vocabulary"], "cost": done["cost"], "metric": metric,
        "served": value, "teacher": taught, "kept": value / taught,
        "size_mb": done["winner"]["size_mb"], "bench": [*timed.values()],
        "teacher_cpu_ms": timed["teacher-0", "torch"]["cpu_ms"]["median"],
        "cpu_ms": timed[name, "int8"]["cpu_ms"]["median"],
        "ratio": timed[name, "int8"]["ratios"][0],
    }  # fmt: skip


COLUMNS: dict[str, Cell] = {
    "task": "{task}", "student found": "{student}", "vocabulary": "{vocabulary}",
    "int8 MB": "{size_mb:.1f}", "test metric over HTTP": "{served:.4f} {metric}",
    "teacher": "{teacher:.4f}", "kept": "{kept:.1%}", "CPU ms a text": "{cpu_ms:.3f}",
    "teacher's CPU ms, torch": "{teacher_cpu_ms:.2f}", "times as fast": "{ratio[value]:.1f}",
    "CPU min": lambda row: f"{sum(each['cpu_s'] for each in row['cost'].values()) / 60:.0f}",
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    given = parser.parse_args()
    path, folders = given.results / "results.json", [given.teachers, given.out]
    for name in given.tasks:
        rows = add(path, [one(name, given.data, given.out, given.teachers)], ["task"], folders)
        print(markdown(rows, COLUMNS), flush=True)


if __name__ == "__main__":
    main()
