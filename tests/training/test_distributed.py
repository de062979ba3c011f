"""Several processes train as one does: the same losses, files written once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.distributed_worker import main
from support.runs import corpus_file, saved, task_file
from transformers import BertTokenizerFast

from alembert.data.batches import Batches
from alembert.io.errors import UserError, leads
from alembert.recipes import RECIPES
from alembert.training import distributed

STEPS = 20
# two groups, so that both workers of the tests have one: text and a task, by their ends, and a task
SOME = ("distilbert", "tinybert")
REST = tuple(name for name in RECIPES if name not in SOME)
MODEL = "student/model.safetensors"
TESTS = Path(__file__).parents[1]
WORKER = TESTS / "support" / "distributed_worker.py"
# a checkpoint every ten steps of the last stage; who leads dies when one of `last` is written
KILLED = """
import os, signal, sys
from pathlib import Path
from alembert.training import checkpoint
from alembert.data.splits import Files
from alembert.runs.job import Job
from alembert.recipes.overrides import with_settings
from alembert.runs.run import run
sys.path.insert(0, sys.argv[4])
from support.distributed_worker import short
home, out, last = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
whole = checkpoint.save
def save(path, module, optimizer, facts, keep=False):
    whole(path, module, optimizer, facts, keep=keep)
    if optimizer is not None and str(facts["step"]) in last and os.environ.get("RANK", "0") == "0":
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save = save
recipe = with_settings(short("tinybert", str(home / "teacher"), 50),
                       {"stages.*.evaluations": "5", "augment": "null", "run.precision": "fp32"})
files = Files(train=str(home / "train.csv"), valid=str(home / "valid.csv"))
run(Job(recipe=recipe, out=out, teacher=str(home / "teacher"), files=files))
"""


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
    return home


def rows(folder: Path) -> dict[tuple[str, int], dict[str, float]]:
    found = {}
    for log in sorted(folder.glob("stages/*/log.jsonl")):
        for line in log.read_text().splitlines():
            row = json.loads(line)
            kind = "look" if "loss" not in row else "step"
            found[log.parent.name, row["step"], kind] = row
    return found


@pytest.fixture(scope="module", params=[SOME, REST], ids=["some_recipes", "the_other_recipes"])
def names(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The recipes that are trained: a few, or all others."""
    given: tuple[str, ...] = request.param
    return given


@pytest.fixture(scope="module")
def one(home: Path, names: tuple[str, ...]) -> Path:
    """These recipes by one process."""
    main(home, home / "one", STEPS, names)
    return home / "one"


@pytest.fixture(scope="module")
def two(
    home: Path, names: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Where two processes left these recipes, copies/ and shards/, and what they said."""
    out = tmp_path_factory.mktemp("two")
    done = launch(2, str(WORKER), str(home), str(out), str(STEPS), *names)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def same_rows(one: Path, two: Path) -> None:
    """Losses, terms and looks of two runs are the same, step by step."""
    mine, theirs = rows(one), rows(two)
    assert mine.keys() == theirs.keys()
    for key, row in mine.items():
        for field in row.keys() - {"tokens_per_second", "gradient_norm"}:
            near = pytest.approx(row[field], rel=1e-4, abs=1e-4)
            assert theirs[key][field] == near, (one.name, key)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["copies", "shards"])
def test_two_processes_train_every_recipe_as_one_does(
    way: str, one: Path, names: tuple[str, ...], two: tuple[Path, str]
) -> None:
    for name in names:
        same_rows(one / name, two[0] / way / name)
        ends = [json.loads((at / name / "metrics.json").read_text()) for at in (one, two[0] / way)]
        for end in ends:
            end.pop("verdict", None)  # tells how fast this machine was in each
        assert ends[0] == ends[1]


@pytest.mark.slow
def test_what_two_processes_do_is_said_once(names: tuple[str, ...], two: tuple[Path, str]) -> None:
    out, said = two
    lines = [line for line in said.splitlines() if ": done in" in line]
    assert len(lines) == len(list(out.glob("*/*/stages/*")))  # each line once
    assert said.count("not evaluated") == 0
    if "distilbert" in names:
        ended = json.loads((out / "copies/distilbert/stages/02-task/facts.json").read_text())
        assert ended["step"] < ended["steps"] == STEPS
        assert ended["stopped"] == "1 validations without a better accuracy"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_begun_again_on_other_numbers_of_processes_it_ends_in_the_same_weights(
    home: Path, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(KILLED)
    out = tmp_path / "broken"

    def words(at: Path, last: str) -> tuple[str, ...]:
        return (str(worker), str(home), str(at), last, str(TESTS))

    def alone(at: Path, last: str = "") -> int:
        return subprocess.run([sys.executable, *words(at, last)], capture_output=True).returncode

    assert alone(tmp_path / "unbroken") == 0
    assert alone(out, "10") == -9
    twice = launch(2, *words(out, "20"))
    assert twice.returncode == 1, twice.stderr
    sharded = launch(2, *words(out, "40"), ACCELERATE_USE_FSDP="true")
    assert sharded.returncode == 1, sharded.stderr
    assert alone(out) == 0
    restarted = launch(2, "--max-restarts", "2", *words(tmp_path / "restarted", "20,40"))
    assert restarted.returncode == 0, restarted.stderr
    assert "failed to connect" not in restarted.stderr  # to one that is dead
    unbroken = load_file(tmp_path / "unbroken" / MODEL)
    for at in (out, tmp_path / "restarted"):
        ended = load_file(at / MODEL)
        for name, weight in unbroken.items():
            torch.testing.assert_close(weight, ended[name], atol=1e-4, rtol=1e-4)
        same_rows(tmp_path / "unbroken", at)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--max-length", "128"], "max_length 128 is more than the 64 positions"),
        (["--max-length", "32", "--layers", "99"], "--layers 99"),
    ],
)
@pytest.mark.slow
def test_what_is_refused_is_said_once(
    home: Path, tmp_path: Path, option: list[str], said: str
) -> None:
    given = ["--teacher", str(home / "teacher"), "--train", str(home / "train.csv"), *option]
    done = launch(
        2, "-m", "alembert", "distill", "distilbert", *given, "--out", str(tmp_path / "o")
    )
    assert done.returncode != 0
    assert done.stderr.count("alembert: ") == done.stderr.count(said) == 1
    assert "RuntimeError" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_rank_without_a_launcher_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert leads()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not leads()


def test_shards_in_fp16_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="--precision fp16"):
        distributed.accelerator("fp16", cpu=True)


class Numbered:
    """Rows that hold nothing but their number."""

    lengths = tuple(3 + i % 5 for i in range(57))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": [index] * self.lengths[index], "labels": index}


@pytest.mark.parametrize("world", [1, 2, 3, 4, 64])
def test_processes_share_the_rows_of_an_epoch_each_row_once(world: int) -> None:
    batches = Batches(rows=Numbered(), batch_size=8, seed=0, pad_token_id=0)
    seen: list[int] = []
    for step in range(8):  # 57 rows in batches of 8, the last of one
        for rank in range(world):
            accelerator: Any = SimpleNamespace(process_index=rank, num_processes=world)
            mine, weight = distributed.local_rows(batches(step), accelerator)
            assert len(mine["labels"]) >= 1
            seen += mine["labels"].tolist() if weight else []
    assert sorted(seen) == list(range(57))
