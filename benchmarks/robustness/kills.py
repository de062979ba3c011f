"""SIGKILLs at random moments of six commands; each ends in the bytes of one that was not killed.

    python -m benchmarks.robustness.kills [--count 200] [--only NAME ...] [--json FILE]

A command is killed up to three times, each at a moment drawn from the time that it takes, and then
runs to its end. Every file that the command makes without a kill has to be there with the same
bytes, apart from what tells times. A search takes the times of shapes and exports from a table, as
if it had kept them. Models and texts are tiny (benchmarks.lab.tiny). Exits with 1 when anything was
lost.
"""

import importlib
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.lab.results import arguments, machine, write
from benchmarks.lab.tiny import lay_out
from benchmarks.robustness import children
from benchmarks.robustness.children import DISTIL, EXPORT, Home, put
from benchmarks.robustness.faults import ended

TASK = "--teacher teacher --train train.csv --eval test.csv --max-length 32 "
SHORT = "--no-export --no-baselines --set stages.*.steps=12 --set stages.*.batch_size=8 --out run"
COMMANDS = {
    "distilbert, on a corpus and a task": DISTIL,
    "tinybert, with variants": f"distill tinybert {TASK}--mlm words --layers 1 --hidden-size 8 "
    f"--set augment.copies=3 {SHORT}",
    "mobilebert": f"distill mobilebert {TASK}{SHORT}",
    "search": f"search {TASK}--max-latency-ms 1 --trials 2 --steps 2 --epochs 1 "
    "--recipes tinybert --out found",
    "export": EXPORT,
    "report": "report done --out page/report.html",
}
OWN = {line: line.split()[-1] for line in COMMANDS.values() if line not in children.MADE}
children.MADE |= {line: "page" if "page" in folder else folder for line, folder in OWN.items()}


def known_times() -> None:
    """Shapes and exports take as long as a table says, in every child."""
    choose = importlib.import_module("alembert.export.choose")
    latency = importlib.import_module("alembert.search.latency")

    def of_shape(student: dict[str, Any], *_: Any) -> Any:
        ms = student["hidden_size"] / 10 + student.get("intermediate_size", 0) / 1000
        return latency.Latency(ms, 1.0, 2.0), True

    def of_exports(engines: dict[str, Any], _: Any) -> dict[str, dict[str, float]]:
        taken = {"onnx": 0.02, "int8": 0.01}
        return {name: {"latency_ms": taken[name], "cpu_ms": taken[name]} for name in engines}

    put(importlib.import_module("alembert.search.phases"), "latency_of", of_shape)
    put(latency, "in_turns", lambda *_: [1.0])
    put(importlib.import_module("alembert.search.trials"), "beside_teacher", lambda *_: (0.01, 1.0))
    put(choose, "timed", of_exports)


def killed(home: Home, line: str, seconds: float, most: int) -> tuple[int, list[str]]:
    """(how often the command was killed, what is wrong with its end)."""
    home.fresh()
    kills = 0
    for _ in range(home.dice.randint(1, min(most, 3))):
        status, _ = home.does(line, seconds=home.dice.uniform(0.02, seconds))
        kills += status == -signal.SIGKILL
    return kills, ended(home, line)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        lay_out(Path(place))
        home = Home(Path(place), random.Random(asked.seed), patched=known_times)
        home.learn(DISTIL)
        shutil.copytree(home.at / "run", home.at / "done")
        for number, name in enumerate(asked.only):
            line, kills, wrong = COMMANDS[name], 0, list[str]()
            began = time.monotonic()
            home.learn(line)
            seconds = time.monotonic() - began
            count = asked.count // len(asked.only) + (number < asked.count % len(asked.only))
            with tqdm(total=count, desc=name, disable=None) as bar:
                while kills < count:
                    more, lost = killed(home, line, seconds, count - kills)
                    kills, wrong = kills + more, wrong + lost
                    bar.update(more)
            rows.append({"command": name, "kills": kills, "lost": wrong})
            print(f"| {name} | {kills} | {'; '.join(wrong) or 'nothing'} |", flush=True)
    if asked.json:
        write(asked.json, {"arguments": sys.argv[1:], **machine(), "rows": rows})
    sys.exit(any(row["lost"] for row in rows))


if __name__ == "__main__":
    main()
