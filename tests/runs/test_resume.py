"""A run killed at any moment and started again ends in the same weights."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.runs import saved, task_file
from transformers import BertTokenizerFast

SCRIPT = """
import sys
from pathlib import Path
from alembert.training import loop
loop.SAVE_SECONDS = 0.05  # so that a short run has many checkpoints
from alembert.data.splits import Files
from alembert.models.loading import load_config
from alembert.recipes.overrides import with_settings
from alembert.recipes import recipe_of
from alembert.runs.job import Job
from alembert.runs.run import run
teacher, data, out = sys.argv[1:]
recipe = with_settings(
    recipe_of("distilbert", load_config(teacher)),
    {"stages.task.steps": "400", "stages.task.batch_size": "4", "stages.task.max_length": "32"},
)
run(Job(recipe=recipe, out=Path(out), teacher=teacher, files=Files(train=data)))
"""


def start(teacher: str, data: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, teacher, data, str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said.decode()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_ten_times_it_ends_in_the_same_weights(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher = saved(tmp_path / "t", tokenizer, "classification")
    data = task_file(tmp_path / "train.csv", rows=200)
    finish(start(teacher, data, tmp_path / "whole"))
    dice, out, kills = random.Random(7), tmp_path / "killed", 0
    log = out / "stages/01-task/log.jsonl"
    while kills < 10:
        before = log.stat().st_size if log.is_file() else 0
        process = start(teacher, data, out)
        while process.poll() is None and (log.stat().st_size if log.is_file() else 0) <= before:
            time.sleep(0.01)  # until it trains: then anywhere in the next moment
        time.sleep(dice.uniform(0.0, 0.35))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    finish(start(teacher, data, out))
    assert kills == 10, f"the run was over after {kills} kills: make it longer"
    whole, killed = (
        (folder / "student/model.safetensors").read_bytes() for folder in (tmp_path / "whole", out)
    )
    assert whole == killed
    steps = [line.split(",")[0] for line in log.read_text().splitlines() if '"loss"' in line]
    assert len(steps) == len(set(steps)) == 40
