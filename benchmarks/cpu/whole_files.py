"""A file of many rows answered by the command line, beside a bare loop over the same texts.

    python -m benchmarks.cpu.whole_files MODEL OUT --texts sst2/train.csv clinc150/train.csv \\
        --results results/predict

Files of --rows rows are made of the texts, from the second time on with a word changed. For each
`alembert predict MODEL --data FILE --out ANSWERS` is a process whose memory is asked all the time.
Then it and `bare_loop`, which has the texts without a file of rows, take turns on the last file
and on one of START rows, which tells how long a process takes to begin. Both have one thread, and
the mark is the CPU time of a text. Exits with 1 where a label differs.
"""

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from alembert.data.sources import read
from alembert.inference.manifest import exported_folder, read_manifest
from benchmarks.lab.results import Row, add, arguments, machine
from benchmarks.lab.tables import Cell, markdown
from benchmarks.lab.workers import environment, peak_gib, spent

START = 100  # rows of the file that shows how long a start takes
POLL = 0.2  # seconds between two looks at a process
POINTS = 20  # of a curve of memory
ONE = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


def changed(texts: Sequence[str]) -> Iterator[str]:
    """Yield the texts again and again, from the second time on with a word of another text."""
    yield from texts
    dice, words = random.Random(0), [word for text in texts for word in text.split()]
    for text in cycle(texts):
        kept = text.split()
        kept[dice.randrange(len(kept))] = dice.choice(words)
        yield " ".join(kept)


def files(out: Path, sources: Sequence[str], rows: Sequence[int]) -> None:
    """Write ROWS.csv and ROWS.json for each number of rows."""
    texts = [text for source in sources for text in read(source)["text"] if text.strip()]
    random.Random(0).shuffle(texts)
    for count in rows:
        chosen = list(islice(changed(texts), count))
        (out / f"{count}.json").write_text(json.dumps(chosen), encoding="utf-8")
        with (out / f"{count}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *enumerate(chosen)])


def command_line(model: Path, out: Path, rows: int) -> Row:
    """Return what the verb took for a file, and the MB that it held (seconds, MB), to its end."""
    answers, curve, peak = out / f"{rows}-answers.csv", [], 0.0
    answers.unlink(missing_ok=True)
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "alembert", "predict", str(model), "--quiet",
         "--data", str(out / f"{rows}.csv"), "--out", str(answers)],
        env=environment(**ONE),
    )  # fmt: skip
    while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
        peak = max(peak, peak_gib(child.pid))
        curve.append((round(time.perf_counter() - began, 1), round(spent(child.pid)[1])))
        time.sleep(POLL)
    child.returncode = os.waitstatus_to_exitcode(ended[1])
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return {
        "cpu_s": ended[2].ru_utime + ended[2].ru_stime, "seconds": time.perf_counter() - began,
        "peak_mb": round(peak * 1024), "curve": curve[:: len(curve) // POINTS + 1],
    }  # fmt: skip


def loop(model: Path, out: Path, rows: int) -> Row:
    """Return what the bare loop took for the texts of a file."""
    module = [
        "-m",
        "benchmarks.cpu.bare_loop",
        str(model),
        f"{out}/{rows}.json",
        f"{out}/bare.json",
    ]
    told = subprocess.run(
        [sys.executable, *module], env=environment(**ONE), check=True, stdout=subprocess.PIPE
    ).stdout
    return dict(json.loads(told))


def differing(out: Path, rows: int) -> int:
    """Return how many labels the two do not share."""
    bare = json.loads((out / "bare.json").read_text(encoding="utf-8"))
    with (out / f"{rows}-answers.csv").open(encoding="utf-8", newline="") as file:
        return sum(
            row["prediction"] != label
            for row, (label, _) in zip(csv.DictReader(file), bare, strict=True)
        )


def measured(model: Path, out: Path, rows: Sequence[int], rounds: int) -> Row:
    """Return one model's figures."""
    facts, folder, most = read_manifest(exported_folder(model)), exported_folder(model), rows[-1]
    variant = facts.variant(None, folder)
    memory = {count: command_line(model, out, count) for count in rows}
    turns: dict[str, list[Row]] = {"verb": [], "verb_start": [], "loop": [], "loop_start": []}
    for _ in range(rounds):
        turns["verb_start"].append(command_line(model, out, START))
        turns["verb"].append(command_line(model, out, most))
        if variant.runtime == "onnxruntime":
            turns["loop_start"].append(loop(model, out, START))
            turns["loop"].append(loop(model, out, most))
    spent_s = {
        name: median(each["cpu_s"] for each in found) for name, found in turns.items() if found
    }
    rates = {
        name: {
            "whole": most / spent_s[name],
            "without_start": (most - START) / (spent_s[name] - spent_s[f"{name}_start"]),
        }
        for name in ("verb", "loop") if name in spent_s
    }  # fmt: skip
    return {
        "model": model.name, "backend": variant.backend, "size_mb": variant.size_mb,
        "labels": len(facts.labels), "rows": most, "rates": rates,
        "differing": differing(out, most) if "loop" in rates else None,
        "memory": {str(count): {key: each[key] for key in ("peak_mb", "curve")}
                   for count, each in memory.items()},
        "turns": {name: [{key: round(each[key], 2) for key in ("cpu_s", "seconds")}
                         for each in found] for name, found in turns.items()},
        **machine(),
    }  # fmt: skip


def _share(row: Row, part: str) -> str:
    rates = row["rates"]
    return f"{rates['verb'][part] / rates['loop'][part]:.1%}" if "loop" in rates else "-"


COLUMNS: dict[str, Cell] = {
    "model": "{model}, {backend}", "MB": "{size_mb:.1f}", "labels": "{labels}",
    "peak MB by rows": lambda row: ", ".join(
        f"{int(count):,}: {each['peak_mb']}" for count, each in row["memory"].items()
    ),
    "texts/s": lambda row: f"{row['rates']['verb']['whole']:,.0f}",
    "of the bare loop": lambda row: _share(row, "whole"),
    "texts/s without the start": lambda row: f"{row['rates']['verb']['without_start']:,.0f}",
    "of the bare loop's": lambda row: _share(row, "without_start"),
    "labels that differ": "{differing}",
}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", nargs="+", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 50_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    files(given.out, given.texts, [START, *given.rows])
    row = measured(given.model, given.out, given.rows, given.rounds)
    print(markdown(add(given.results / "results.json", [row], ["model"]), COLUMNS))
    sys.exit(bool(row["differing"]))


if __name__ == "__main__":
    main()
