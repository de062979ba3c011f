"""Faults done to runs on purpose, and what was lost: a tiny teacher, student and corpus.

    python -m benchmarks.robustness.faults [--times 5] [--only NAME ...] [--json FILE]

A process that has everything imported forks a child for each run; in it one function is made to
fail at the right moment. Then the same command is run once more, and every file that a run without
faults makes has to be there with the same bytes. A refusal has to be exit code 2 and one line.
Exits with 1 when anything was lost.
"""

import fcntl
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import transformers
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from alembert.data.corpus import preparing
from alembert.evaluation import predict
from alembert.export import onnx as onnx_export
from alembert.io import hub
from alembert.training import checkpoint, logit_cache, loop
from benchmarks.lab.results import arguments, machine, write
from benchmarks.lab.tiny import lay_out
from benchmarks.robustness import children
from benchmarks.robustness.children import DISTIL, Home, Patch, at_call, cut, die, flip

STATE = "run/stages/02-task/checkpoint/state.safetensors"


def killed(line: str, patch: Callable[[random.Random], Patch]) -> Callable[[Home], list[str]]:
    """SIGKILL at a point; then the same command."""

    def fault(home: Home) -> list[str]:
        status, said = home.does(line, patch(home.dice))
        wrong = [] if status == -signal.SIGKILL else [f"was not killed: {status} {said[-300:]}"]
        return wrong + ended(home, line)

    return fault


def ended(home: Home, line: str, says: str = "") -> list[str]:
    """What is wrong with the outcome of a command that has to end well, and with what it says."""
    status, said = home.does(line)
    wrong = [] if status == 0 else [f"exit code {status}: {said[-500:]}"]
    if not re.search(says, said):
        wrong.append(f"did not say {says!r} but {said[-500:]!r}")
    made, clean = home.made(line), home.clean[line]
    return wrong + [f"lost: {name}" for name in clean if made.get(name) != clean[name]]


def refused(status: int, said: str, says: str) -> list[str]:
    """What is wrong with a refusal."""
    lines = [line for line in said.splitlines() if line.startswith("alembert: ")]
    right = status == 2 and len(lines) == 1 and re.search(says, lines[0])
    trace = "Traceback" in said
    return [] if right and not trace else [f"exit code {status}, not {says!r} but {said[-500:]!r}"]


def anywhere(home: Home) -> list[str]:
    for _ in range(3):
        home.does(DISTIL, seconds=home.dice.uniform(0.05, 2.5))
    return ended(home, DISTIL)


def full_disk(home: Home) -> list[str]:
    call = home.dice.randrange(2, 17)
    found = home.does(DISTIL, at_call(checkpoint, "save_tensors", call, children.full, after=False))
    wrong = refused(*found, r"cannot be written \(.*too large.*\): free some space")
    for state in home.at.glob(f"run/stages/*/checkpoint/{checkpoint.STATE}"):
        wrong += checkpoint.newest(state)[1]
    return wrong + ended(home, DISTIL)


def damaged(both: bool, how: str) -> Callable[[Home], list[str]]:
    def fault(home: Home) -> list[str]:
        home.does(DISTIL, at_call(loop, "_step", 6 + home.dice.randrange(4, 12), die))
        state = home.at / STATE
        for path in (state, checkpoint.before(state)) if both else (state,):
            cut(path) if how == "cut" else flip(path, home.dice)
        says = "the stage starts again" if both else "the run resumes from the one before"
        return ended(home, DISTIL, f"the checkpoint is damaged .*: {says}")

    return fault


def damaged_answers(home: Home) -> list[str]:
    home.does(DISTIL, at_call(loop, "_step", 8, die))
    flip(home.dice.choice(sorted(home.at.glob("cache/alembert/logits/*/*.safetensors"))), home.dice)
    return ended(home, DISTIL, "rows are made anew")


def two_runs(home: Home) -> list[str]:
    (home.at / "run").mkdir()
    with (home.at / "run/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wrong = refused(*home.does(DISTIL), "another process is running in this folder")
    return wrong + ended(home, DISTIL)


def clock(home: Home) -> list[str]:
    def jumping() -> None:
        dice, now = random.Random(0), time.time
        time.time = lambda: now() + dice.uniform(-1e9, 1e9)

    def jumping_and_dying() -> None:
        jumping()
        at_call(loop, "_step", 9, die)()

    home.does(DISTIL, jumping_and_dying)
    status, said = home.does(DISTIL, jumping)
    logs = "".join(p.read_text() for p in home.at.glob("run/stages/*/log.jsonl"))
    rates = re.findall(r'"tokens_per_second": ([^,}]+)', logs)
    wrong = [] if status == 0 and rates and all(float(r) > 0 for r in rates) else [said, *rates]
    return wrong + ended(home, DISTIL)


def not_a_number(home: Home) -> list[str]:
    source = home.at / "teacher/model.safetensors"
    right = source.read_bytes()
    weights = load_file(source)
    name = home.dice.choice(sorted(weights))
    weights[name].view(-1)[0] = home.dice.choice([float("nan"), float("inf")])
    save_file(weights, source, metadata={"format": "pt"})
    wrong = refused(*home.does(DISTIL), "teacher: its weights are broken: .* NaN or infinity")
    wrong += ["a stage was begun"] if (home.at / "run/stages").exists() else []
    source.write_bytes(right)
    return wrong + ended(home, DISTIL)


def corpus_cut(home: Home) -> list[str]:
    """What the thread that makes batches reads is cut off under its hands."""

    def short(*_: Any) -> None:
        for path in home.at.glob("cache/alembert/corpus/*/ids.bin"):
            os.truncate(path, 0)

    found = home.does(DISTIL, at_call(loop, "_step", home.dice.randrange(1, 4), short))
    wrong = refused(*found, "is damaged: delete it and prepare it again")
    shutil.rmtree(home.at / "cache/alembert/corpus")
    return wrong + ended(home, DISTIL)


@contextmanager
def endpoint(answers: bool) -> Any:
    """A hub at a port of this machine that takes calls and never answers, or that refuses."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if answers:
            listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def silent_hub(answers: bool) -> Callable[[Home], list[str]]:
    def fault(home: Home) -> list[str]:
        line = DISTIL.replace("--teacher teacher", "--teacher some/teacher")
        with endpoint(answers) as url:
            began = time.monotonic()
            found = home.does(line, lambda: os.environ.update(HF_ENDPOINT=url))
            seconds = time.monotonic() - began
        wrong = refused(*found, "some/teacher: no such folder, and the hub cannot be reached; ")
        return wrong + ([] if seconds < hub.SECONDS + 5 else [f"took {seconds:.0f} s"])

    return fault


def dying(place: Any, name: str, calls: int, **more: Any) -> Callable[[random.Random], Patch]:
    does = more.pop("does", die)
    return lambda dice: at_call(place, name, dice.randint(1, calls), does, **more)


def between(dice: random.Random) -> Patch:
    """Dies when the last checkpoint has become the one before, and the new one has no name yet."""
    call = dice.randint(1, 9)

    def patch() -> None:
        replace, calls = Path.replace, iter(range(1, 10**9))

        def wrapped(self: Path, to: Path) -> Path:
            found = replace(self, to)
            if ".before." in str(to) and next(calls) == call:
                die()
            return found

        children.put(Path, "replace", wrapped)

    return patch


FAULTS: dict[str, Callable[[Home], list[str]]] = {
    "SIGKILL anywhere, three times": anywhere,
    "SIGKILL while a checkpoint is written": killed(
        DISTIL, dying(checkpoint, "save_tensors", 16, does=children.halved(0))
    ),
    "SIGKILL between a checkpoint and the one before": killed(DISTIL, between),
    "SIGKILL while a stage's model is saved": killed(
        DISTIL, dying(transformers.PreTrainedModel, "save_pretrained", 2)
    ),
    "SIGKILL while the result is copied": killed(
        DISTIL, dying(shutil, "copyfile", 4, does=children.halved(1))
    ),
    "SIGKILL in evaluation": killed(DISTIL, dying(predict, "predict", 4, after=False)),
    "SIGKILL while answers are made": killed(DISTIL, dying(logit_cache, "save_part", 3)),
    "SIGKILL while a corpus is prepared": killed(children.CORPUS, dying(preparing, "_save", 8)),
    "SIGKILL while a graph is exported": killed(children.EXPORT, dying(onnx_export, "export", 1)),
    "disk full while a checkpoint is written": full_disk,
    "checkpoint cut in half": damaged(False, "cut"),
    "a bit of a checkpoint flipped": damaged(False, "flip"),
    "a bit of both checkpoints flipped": damaged(True, "flip"),
    "a bit of the teacher's answers flipped": damaged_answers,
    "a second run in the folder": two_runs,
    "clock jumps of up to 30 years": clock,
    "NaN or infinity in the teacher": not_a_number,
    "corpus cut off while batches are made of it": corpus_cut,
    "a hub that never answers": silent_hub(True),
    "a hub that refuses": silent_hub(False),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        lay_out(Path(place))
        home = Home(Path(place), random.Random(0))
        for line in (DISTIL, children.CORPUS, children.EXPORT):
            home.learn(line)
        for name in tqdm(asked.only, disable=None):
            began, wrong = time.monotonic(), list[str]()
            for _ in range(asked.times):
                home.fresh()
                wrong += FAULTS[name](home)
            seconds = round((time.monotonic() - began) / asked.times, 1)
            rows.append({"fault": name, "times": asked.times, "seconds": seconds, "lost": wrong})
            print(f"| {name} | {asked.times} | {'; '.join(wrong) or 'nothing'} |", flush=True)
    if asked.json:
        write(asked.json, {"arguments": sys.argv[1:], **machine(), "rows": rows})
    sys.exit(any(row["lost"] for row in rows))


if __name__ == "__main__":
    main()
