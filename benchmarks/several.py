"""Every stage of every shipped recipe on one, two and four processes: how far the losses part.

    OMP_NUM_THREADS=1 python benchmarks/several.py --steps 50 --out results/several

Models are those of the tests (2 layers, 99 words), processes are of one machine (gloo), dropout is
off, since each process draws its own. DDP on 2 and 4, FSDP on 2. Writes results.json and
prints the table of README.md: differences of losses and terms, in shares of those above 1. Exits
with 1 where one is more than 1e-4.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.distributed_worker import short
from support.runs import corpus_file, saved, task_file
from support.vocabulary import VOCABULARY
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.recipes import RECIPES
from alembert.runs.job import Job
from alembert.runs.run import run

WAYS = {"2 DDP": (2, False), "4 DDP": (4, False), "2 FSDP": (2, True)}
LIMIT = 1e-4
APART = {"step", "tokens_per_second", "learning_rate", "gradient_norm"}


def work(home: Path, out: Path, steps: int) -> None:
    """One process's side: every recipe, one after the other."""
    files = Files(str(home / "train.csv"), str(home / "valid.csv"))
    teacher, words = str(home / "teacher"), str(home / "words")
    for name in RECIPES:
        recipe = short(name, teacher, steps)
        task = any(stage.data == "task" for stage in recipe.stages)
        run(Job(recipe, out / name, teacher, words, corpus=str(home / "corpus.txt"),
                files=files if task else None, precision="fp32"))  # fmt: skip


def lay_out(home: Path) -> None:
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(VOCABULARY)})
    saved(home / "teacher", tokenizer, "classification", layers=2)
    saved(home / "words", tokenizer, layers=2, seed=1)
    task_file(home / "train.csv", rows=57)  # the last batch of 8 is a single row
    task_file(home / "valid.csv", rows=12, seed=1)
    corpus_file(home / "corpus.txt", lines=45)


def launch(home: Path, out: Path, steps: int, processes: int, shards: bool) -> float:
    """Run the workers; returns the seconds that they took."""
    mine = [__file__, "--work", str(home), "--steps", str(steps), "--out", str(out)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    cache = {"XDG_CACHE_HOME": str(out / "cache")}
    way = {"ACCELERATE_USE_FSDP": str(shards).lower(), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), *mine],
        env=os.environ | way | cache, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return time.perf_counter() - began


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


def measure(home: Path, steps: int) -> dict[str, Any]:
    """Every way beside one process: seconds, and recipe -> way -> stage -> how far apart."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "corpus.txt").is_file():
        lay_out(home)
    seconds = {"1": launch(home, home / "1", steps, 1, False)}
    parted: dict[str, dict[str, dict[str, float]]] = {name: {} for name in RECIPES}
    for way, (processes, shards) in WAYS.items():
        seconds[way] = launch(home, home / way, steps, processes, shards)
        for name in RECIPES:
            parted[name][way] = apart(home / "1" / name, home / way / name)
        print(f"{way}: {seconds[way]:.0f} s", flush=True)
    return {"steps": steps, "seconds": seconds, "apart": parted}


def table(found: dict[str, Any]) -> str:
    lines = ["| recipe | stages | " + " | ".join(WAYS) + " |", "|---" * (2 + len(WAYS)) + "|"]
    for name, ways in found["apart"].items():
        worst = [f"{max(stages.values()):.1e}" for stages in ways.values()]
        lines.append(f"| {name} | {len(ways['2 DDP'])} | " + " | ".join(worst) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="of the runs; stopped, they go on there")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.out, given.steps)
        return
    with tempfile.TemporaryDirectory() as place:
        found = measure(given.home or Path(place), given.steps)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    worst = max(max(way.values()) for ways in found["apart"].values() for way in ways.values())
    print(f"at most {worst:.1e}")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
