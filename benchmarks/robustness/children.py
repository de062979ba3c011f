"""Commands of alembert in children of this process, in which something is made to go wrong.

This process has everything imported, and forks a child for each command: a tiny teacher, student
and corpus.
"""

import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembert.api import train as verbs
from alembert.bench import interleaved
from alembert.cli import main as cli
from alembert.data.corpus import paragraphs, preparing
from alembert.training import logit_cache, loop

importlib.import_module("alembert.runs.run")  # imported here, it is not in every child

Patch = Callable[[], None]
DISTIL = (
    "distill distilbert --teacher teacher --general-teacher words --corpus corpus.txt "
    "--train train.csv --eval test.csv --max-length 32 --out run --set stages.general.steps=6 "
    "--no-export --no-baselines "  # both tell times
    "--set stages.task.steps=12 --set stages.task.batch_size=8 --set stages.general.batch_size=4 "
    "--set stages.task.objective=[{kind:\u00a0SoftLabels}]"
)
CORPUS = "corpus corpus.txt --tokenizer words --max-length 32 --out prepared"
EXPORT = "export student"
MADE = {DISTIL: "run", CORPUS: "prepared", EXPORT: "student"}
# what tells times, and what is there on the way alone
UNLIKE = (
    r"(environment|bench|facts|export|checksums)\.json|log\.jsonl|report\.html|README\.md"
    r"|checkpoint|\.lock"
)
TIMES = ("verdict", "seconds", "ms", "cpu_s", "wall_s", "cost", "export")


@dataclass
class Home:
    """A folder with all that commands need, and the clean outcome of each command.

    patched is done in every child before its command.
    """

    at: Path
    dice: random.Random
    clean: dict[str, dict[str, bytes]] = field(default_factory=dict)
    patched: Patch | None = None

    def fresh(self) -> None:
        """As before any command: what was made is gone, and the caches too."""
        for name in {*MADE.values(), "cache"}:
            shutil.rmtree(self.at / name, ignore_errors=True)
        shutil.copytree(self.at / "words", self.at / "student")

    def made(self, line: str) -> dict[str, bytes]:
        """The files of an outcome, without those that tell times."""
        place = self.at / MADE[line]
        files = (path for path in place.rglob("*") if path.is_file())
        named = {str(path.relative_to(place)): path for path in files}
        made = {n: p.read_bytes() for n, p in sorted(named.items()) if not re.search(UNLIKE, n)}
        for name in made:
            if name.endswith(".json"):
                made[name] = json.dumps(_without_times(json.loads(made[name]))).encode()
        return made

    def learn(self, line: str) -> None:
        """Run a command without faults, and keep its outcome."""
        self.fresh()
        status, said = self.does(line)
        assert status == 0, said
        self.clean[line] = self.made(line)

    def does(self, line: str, fault: Patch | None = None, seconds: float = 0) -> tuple[int, str]:
        """(exit code, or minus the signal that ended it; stderr) of a command in a child."""
        said = self.at / "stderr"
        if not (pid := os.fork()):
            _child(self.at, line, [each for each in (self.patched, fault) if each], said)
        if seconds:
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, said.read_text()


def _without_times(value: Any) -> Any:
    """A value of JSON without its parts that tell times; a verdict tells how fast models are."""
    if isinstance(value, list):
        return [_without_times(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_times(each) for key, each in value.items() if key not in TIMES}


def _child(home: Path, line: str, patches: Sequence[Patch], said: Path) -> None:
    """Never returns."""
    code = 1
    try:
        for number, place in ((1, "stdout"), (2, said)):
            os.dup2(os.open(home / place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(home)
        os.environ |= {"XDG_CACHE_HOME": str(home / "cache")}
        put(loop, "SAVE_SECONDS", -1.0)  # at every step
        put(preparing, "SAVE_SECONDS", -1.0)  # after every block
        put(paragraphs, "BLOCK", 600)
        put(logit_cache, "PART", 16)
        put(verbs, "_present", lambda *_, **__: None)  # card and report tell times
        put(interleaved, "MOST", 4)
        for patch in patches:
            patch()
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


def put(place: Any, name: str, value: Any) -> None:
    """Put something in the place of what has to be there."""
    assert hasattr(place, name), f"{place} has no {name} any more"
    setattr(place, name, value)


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
