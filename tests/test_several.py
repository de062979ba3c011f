"""Several processes train as one does: the same losses, files written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from houses import corpus_file, saved, task_file
from several_worker import main
from transformers import BertTokenizerFast

from alembert.recipes import RECIPES

STEPS = 20
WORKER = Path(__file__).with_name("several_worker.py")


def launch(processes: int, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """torchrun on this machine."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", str(processes), *command],
        capture_output=True, text=True, timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"} | more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    home = tmp_path_factory.mktemp("several")
    saved(home / "teacher", tokenizer, "classification", layers=2)
    saved(home / "words", tokenizer, layers=2, seed=1)
    task_file(home / "train.csv", rows=57)  # the last batch of 8 is a single row
    task_file(home / "valid.csv", rows=12, seed=1)
    corpus_file(home / "corpus.txt", lines=45)
    main(home, home / "one", STEPS)
    return home


def rows(folder: Path) -> dict[tuple[str, int], dict[str, float]]:
    found = {}
    for log in sorted(folder.glob("stages/*/log.jsonl")):
        for line in log.read_text().splitlines():
            row = json.loads(line)
            kind = "look" if "loss" not in row else "step"
            found[log.parent.name, row["step"], kind] = row
    return found


def test_two_processes_train_every_recipe_as_one_does(home: Path) -> None:
    done = launch(2, str(WORKER), str(home), str(home / "two"), str(STEPS))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not judged") == 0
    ended = json.loads((home / "two/distilbert/stages/02-task/facts.json").read_text())
    assert ended["step"] < ended["steps"] == STEPS
    assert ended["stopped"] == "1 looks without a better accuracy"
    for name in RECIPES:
        one, two = rows(home / "one" / name), rows(home / "two" / name)
        assert one.keys() == two.keys()
        for key, row in one.items():
            for field in row.keys() - {"tokens_per_second", "gradient_norm"}:
                assert two[key][field] == pytest.approx(row[field], rel=1e-4, abs=1e-4), (name, key)
        ends = [
            json.loads((home / at / name / "metrics.json").read_text()) for at in ("one", "two")
        ]
        assert ends[0] == ends[1]
        said = [line for line in done.stdout.splitlines() if "steps of 8" in line]
    assert len(said) == len(list((home / "two").glob("*/stages/*")))  # each line once
