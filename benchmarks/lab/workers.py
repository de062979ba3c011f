"""Processes that are measured: commands to their end, and workers that make a step when told to."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TICK = os.sysconf("SC_CLK_TCK")
Facts = dict[str, float]


@dataclass(frozen=True)
class Used:
    """What a process took: seconds of the clock and of the processor, GiB of memory at its peak."""

    seconds: float
    cpu_s: float
    peak_gib: float


def environment(**more: str) -> dict[str, str]:
    """This process's variables, and the benchmarks where `python -m` finds them."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | more


def measured(command: Sequence[str], log: Path | None = None, **variables: str) -> Used:
    """Run python with these arguments to its end. log: what it says is added to this file."""
    said = log.open("a") if log is not None else None
    began, peak = time.perf_counter(), 0.0
    child = subprocess.Popen(
        [sys.executable, *command], stdout=said, stderr=said, env=environment(**variables)
    )
    # the system's own peak of the process, asked again and again; that of wait4 would have in it
    # what this process held when it started the other
    while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
        peak = max(peak, peak_gib(child.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(ended[1])
    if said is not None:
        said.close()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    usage = ended[2]
    return Used(round(seconds, 1), round(usage.ru_utime + usage.ru_stime, 1), round(peak, 3))


def peak_gib(pid: int | str = "self") -> float:
    """The most memory that a process has held; 0 of one that is ended."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", _status(pid), re.MULTILINE)
    return int(found[1]) / 2**20 if found else 0.0


def _status(pid: int | str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/status").read_text()
    return ""


def answer_steps(step: Callable[[], Mapping[str, float] | None]) -> None:
    """The worker's side: a step for each line on stdin, its facts on stdout."""
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        found = step()
        facts = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        facts |= {"peak_gib": peak_gib(), **(found or {})}
        print(json.dumps(facts), flush=True)


class Worker:
    """A process that makes one step when told to."""

    def __init__(self, command: Sequence[str], pages: bool = True) -> None:
        # what the command line sets for its user, the straightforward script does not have
        thp = {"THP_MEM_ALLOC_ENABLE": "1"} if pages else {}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(**thp),
        )  # fmt: skip

    def step(self) -> Facts:
        """The facts of the next step: seconds, cpu_seconds, peak_gib (of the process), others."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        facts: Facts = json.loads(self.process.stdout.readline())
        return facts

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def in_turns(workers: Mapping[str, Worker], rounds: int) -> dict[str, list[Facts]]:
    """Each worker's facts: of a first step, which warms up, and of `rounds` made in turns."""
    try:
        seen = {name: [worker.step()] for name, worker in workers.items()}
        for _ in range(rounds):
            for name, worker in workers.items():
                seen[name].append(worker.step())
    finally:
        for worker in workers.values():
            worker.end()
    return seen


def family(pid: int) -> list[int]:
    """A process and those that it started."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in below for each in family(int(child)))]


def spent(pid: int) -> tuple[float, float]:
    """Seconds of CPU and MB of memory of a process and those that it started."""
    cpu = memory = 0.0
    for each in family(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu += (int(fields[11]) + int(fields[12])) / TICK
        memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return cpu, memory


@contextmanager
def server(
    command: Sequence[str], asked: urllib.request.Request, patience: float, quiet: bool = True
) -> Iterator[int]:
    """A server as a process; gives its id when it answers. patience: seconds until it has to."""
    said = subprocess.DEVNULL if quiet else None
    child = subprocess.Popen([sys.executable, *command], stdout=said, env=environment())
    end = time.monotonic() + patience
    try:
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(asked, timeout=5).read()
                break
            except OSError:
                if child.poll() is not None:
                    sys.exit(f"{shlex.join(command)}: ended with {child.returncode}")
                time.sleep(0.2)
        yield child.pid
    finally:
        below = family(child.pid)
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
        for each in below:  # some servers leave their workers behind, which then take the cores
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
