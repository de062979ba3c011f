"""Faults done to runs on purpose, and what was lost: a tiny teacher, student and corpus.

    python benchmarks/faults.py [--times 5] [--only NAME ...] [--json FILE]

A process that has everything imported forks a child for each run; in it one function is made to
fail at the right moment. Then the same command is run once more, and every file that a run without
faults makes has to be there with the same bytes. A refusal has to be exit code 2 and one line.
Exits with 1 when anything was lost.
"""

import argparse
import fcntl
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
import transformers
from safetensors.torch import load_file, save_file
from support.runs import corpus_file, saved, task_file
from support.vocabulary import VOCABULARY
from tqdm import tqdm
from transformers import BertTokenizerFast

import alembert.runs.run  # noqa: F401  imported here, it is not in every child
from alembert.cli import main as cli
from alembert.cli import train as verbs
from alembert.data.corpus import paragraphs, preparing
from alembert.evaluation import predict
from alembert.export import onnx as onnx_export
from alembert.io import hub
from alembert.runs import evaluate as judge
from alembert.runs import folder
from alembert.training import checkpoint, loop
from alembert.training import logit_cache as answers

Patch = Callable[[], None]
DISTIL = (
    "distill distilbert --teacher teacher --general-teacher words --corpus corpus.txt "
    "--train train.csv --eval test.csv --max-length 32 --out run --set stages.general.steps=6 "
    "--set stages.task.steps=12 --set stages.task.batch_size=8 --set stages.general.batch_size=4 "
    "--set stages.task.objective=[{kind:\u00a0SoftLabels}]"
)
CORPUS = "corpus corpus.txt --tokenizer words --max-length 32 --out prepared"
EXPORT = "export student"
MADE = {DISTIL: "run", CORPUS: "prepared", EXPORT: "student"}
# what tells times, and what is there on the way alone
UNLIKE = (
    r"(environment|bench|facts|export)\.json|log\.jsonl|report\.html|README\.md|checkpoint|\.lock"
)
STATE = "run/stages/02-task/checkpoint/state.safetensors"


@dataclass
class Home:
    """A folder with all that commands need, and the clean outcome of each command."""

    at: Path
    dice: random.Random
    clean: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def fresh(self) -> None:
        """As before any command: what was made is gone, and the caches too."""
        for name in ("run", "prepared", "cache", "student"):
            shutil.rmtree(self.at / name, ignore_errors=True)
        shutil.copytree(self.at / "words", self.at / "student")

    def made(self, line: str) -> dict[str, bytes]:
        """The files of an outcome, without those that tell times."""
        place = self.at / MADE[line]
        files = (path for path in place.rglob("*") if path.is_file())
        named = {str(path.relative_to(place)): path for path in files}
        return {n: p.read_bytes() for n, p in sorted(named.items()) if not re.search(UNLIKE, n)}

    def does(self, line: str, fault: Patch | None = None, seconds: float = 0) -> tuple[int, str]:
        """(exit code, or minus the signal that ended it; stderr) of a command in a child."""
        said = self.at / "stderr"
        if not (pid := os.fork()):
            _child(self.at, line, fault, said)
        if seconds:
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, said.read_text()


def _child(home: Path, line: str, fault: Patch | None, said: Path) -> None:
    """Never returns."""
    code = 1
    try:
        for number, place in ((1, "stdout"), (2, said)):
            os.dup2(os.open(home / place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(home)
        os.environ |= {"XDG_CACHE_HOME": str(home / "cache")}
        loop.SAVE_SECONDS = preparing.SAVE_SECONDS = -1.0  # at every step, after every block
        paragraphs.BLOCK, answers.PART = 600, 16
        verbs._end = lambda *_, **__: None  # card and report, which tell times: made from the rest
        quick = judge.bench.quick
        judge.bench.quick = lambda models, data, **_: quick(models, data, texts=4, seconds=0.1)
        if fault is not None:
            fault()
        sys.argv = ["alembert", *(w.replace("\u00a0", " ") for w in line.split(" "))]
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def at_call(
    place: Any, name: str, call: int, does: Callable[..., Any], after: bool = True
) -> Patch:
    """Patch: the call-th call of a function is followed (or forestalled) by something."""

    def patch() -> None:
        function, calls = getattr(place, name), iter(range(1, 10**9))

        def wrapped(*given: Any, **more: Any) -> Any:
            now = next(calls) == call
            if now and not after:
                does(*given)
            found = function(*given, **more)
            if now and after:
                does(*given)
            return found

        setattr(place, name, wrapped)

    return patch


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def halved(path: int) -> Callable[..., None]:
    """The file that the path-th argument names is half written, and the process dies."""

    def does(*given: Any) -> None:
        cut(Path(given[path]))
        die()

    return does


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path, dice: random.Random) -> None:
    """One bit, anywhere."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def full(*_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


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
    found = home.does(DISTIL, at_call(checkpoint, "save_file", call, full, after=False))
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
        says = "the stage begins anew" if both else "the run goes on from the one before"
        return ended(home, DISTIL, f"the checkpoint is damaged .*: {says}")

    return fault


def damaged_answers(home: Home) -> list[str]:
    home.does(DISTIL, at_call(loop, "_step", 8, die))
    flip(home.dice.choice(sorted(home.at.glob("cache/alembert/answers/*/*.npy"))), home.dice)
    return ended(home, DISTIL, "is damaged: its answers are made anew")


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

    home.does(DISTIL, lambda: (jumping(), at_call(loop, "_step", 9, die)()))  # type: ignore[func-returns-value]
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

        Path.replace = wrapped  # type: ignore[method-assign]

    return patch


FAULTS: dict[str, Callable[[Home], list[str]]] = {
    "SIGKILL anywhere, three times": anywhere,
    "SIGKILL while a checkpoint is written": killed(
        DISTIL, dying(checkpoint, "save_file", 16, does=halved(1))
    ),
    "SIGKILL between a checkpoint and the one before": killed(DISTIL, between),
    "SIGKILL while a stage's model is saved": killed(
        DISTIL, dying(transformers.PreTrainedModel, "save_pretrained", 2)
    ),
    "SIGKILL while the result is copied": killed(
        DISTIL, dying(folder.shutil, "copyfile", 4, does=halved(1))
    ),
    "SIGKILL in evaluation": killed(DISTIL, dying(predict, "ask", 4, after=False)),
    "SIGKILL while answers are made": killed(DISTIL, dying(answers, "_save", 3)),
    "SIGKILL while a corpus is prepared": killed(CORPUS, dying(preparing, "_save", 8)),
    "SIGKILL while a graph is exported": killed(EXPORT, dying(onnx_export, "export", 1)),
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


def house(at: Path) -> Home:
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(VOCABULARY)})
    saved(at / "teacher", tokenizer, "classification")
    saved(at / "words", tokenizer)
    corpus_file(at / "corpus.txt")
    task_file(at / "train.csv")
    task_file(at / "test.csv", seed=1)
    return Home(at, random.Random(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        home = house(Path(place))
        for line in MADE:
            home.fresh()
            status, said = home.does(line)
            home.clean[line] = home.made(line)
            assert status == 0, said
        for name in tqdm(asked.only, disable=None):
            began, wrong = time.monotonic(), list[str]()
            for _ in range(asked.times):
                home.fresh()
                wrong += FAULTS[name](home)
            seconds = round((time.monotonic() - began) / asked.times, 1)
            rows.append({"fault": name, "times": asked.times, "seconds": seconds, "lost": wrong})
            print(f"| {name} | {asked.times} | {'; '.join(wrong) or 'nothing'} |", flush=True)
    if asked.json:
        content = {"arguments": sys.argv[1:], "torch": torch.__version__, "rows": rows}
        asked.json.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(any(row["lost"] for row in rows))


if __name__ == "__main__":
    main()
