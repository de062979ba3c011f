"""Every stage of every shipped recipe on one, two and four processes: how far the losses part.

    OMP_NUM_THREADS=1 python -m benchmarks.robustness.several --steps 50 --out results/several

Models are those of the tests (2 layers, 99 words), processes are of one machine (gloo), dropout is
off, since each process draws its own. DDP on 2 and 4, FSDP on 2. Writes results.json and
prints the table of README.md: differences of losses and terms, in shares of those above 1. Exits
with 1 where one is more than 1e-4.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembert.recipes import RECIPES
from benchmarks.lab.results import arguments, write
from benchmarks.lab.tables import markdown
from benchmarks.lab.tiny import lay_out, work
from benchmarks.lab.workers import measured

WAYS = {"2 DDP": (2, False), "4 DDP": (4, False), "2 FSDP": (2, True)}
LIMIT = 1e-4
APART = {"step", "tokens_per_second", "learning_rate", "gradient_norm"}


def launch(
    home: Path, out: Path, steps: int, names: Sequence[str], processes: int, shards: bool
) -> float:
    """Run the workers; returns the seconds that they took."""
    mine = ["-m", "benchmarks.robustness.several", "--work", str(home), "--steps", str(steps)]
    mine += ["--out", str(out), "--recipes", *names]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    way = {"ACCELERATE_USE_FSDP": str(shards).lower(), "OMP_NUM_THREADS": "1"}
    cache, log = str(out / "cache"), out.with_name(f"{out.name}.log")
    command = [*(torchrun if processes > 1 else []), *mine]
    return measured(command, log, XDG_CACHE_HOME=cache, **way).seconds


def losses(folder: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Stage -> step -> loss and terms."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for log in sorted(folder.glob("stages/*/log.jsonl")):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        found[log.parent.name] = {row["step"]: row for row in rows if "loss" in row}
    return found


def apart(one: Path, other: Path) -> dict[str, float]:
    """Stage -> the largest difference of a loss or a term at a logged step; above 1, its share."""
    mine, theirs = losses(one), losses(other)
    assert {k: v.keys() for k, v in mine.items()} == {k: v.keys() for k, v in theirs.items()}
    return {
        stage: max(
            abs(row[name] - theirs[stage][step][name]) / max(abs(row[name]), 1.0)
            for step, row in steps.items()
            for name in row.keys() - APART
        )
        for stage, steps in mine.items()
    }


def measure(home: Path, steps: int, names: Sequence[str]) -> dict[str, Any]:
    """Every way beside one process: seconds, and recipe -> way -> stage -> how far apart."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "corpus.txt").is_file():
        lay_out(home, rows=57, judged=12, lines=45)  # the last batch of 8 is a single row
    seconds = {"1": launch(home, home / "1", steps, names, 1, False)}
    parted: dict[str, dict[str, dict[str, float]]] = {name: {} for name in names}
    for way, (processes, shards) in WAYS.items():
        seconds[way] = launch(home, home / way, steps, names, processes, shards)
        for name in names:
            parted[name][way] = apart(home / "1" / name, home / way / name)
        print(f"{way}: {seconds[way]:.0f} s", flush=True)
    return {"steps": steps, "seconds": seconds, "apart": parted}


def table(found: dict[str, Any]) -> str:
    rows = [
        {"recipe": name, "stages": len(ways[next(iter(WAYS))])}
        | {way: f"{max(stages.values()):.1e}" for way, stages in ways.items()}
        for name, ways in found["apart"].items()
    ]
    heads = {"{} processes, {}".format(*way.split()): f"{{{way}}}" for way in WAYS}
    return markdown(rows, {"recipe": "{recipe}", "stages": "{stages}"} | heads)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="of the runs; stopped, they go on there")
    parser.add_argument("--work", type=Path, help="of one process: models and files")
    given = parser.parse_args()
    if given.work:
        work(given.work, given.out, given.steps, given.recipes)
        return
    with tempfile.TemporaryDirectory() as place:
        found = measure(given.home or Path(place), given.steps, given.recipes)
    write(given.out / "results.json", found)
    print(table(found))
    worst = max(max(way.values()) for ways in found["apart"].values() for way in ways.values())
    print(f"at most {worst:.1e}")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
