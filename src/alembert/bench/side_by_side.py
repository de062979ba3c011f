"""Workers asked in turn, round by round, so that what drifts hits all alike."""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

from alembert.bench.rows import APART, Round, Row, per_round, ratio, row, weights_mb
from alembert.bench.worker import Failed, Spec, work
from alembert.io.errors import UserError

log = logging.getLogger(__name__)

FEWEST = 7  # rounds, whatever they take
NARROW = 0.01  # of a ratio: half its interval, at which more rounds are not worth their time


@dataclass(frozen=True)
class _Worker:
    spec: Spec
    process: BaseProcess
    pipe: Connection

    def ask(self, number: int) -> Round:
        with suppress(BrokenPipeError):  # what it died of comes next
            self.pipe.send(number)
        said: Round = self.hear()
        return said

    def hear(self) -> Any:
        """Its next answer; UserError that names it where it died."""
        try:
            said = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            said = Failed(f"ended with code {self.process.exitcode}{_why(self.process)}", False)
        if isinstance(said, Failed):
            spec = self.spec
            who = f"{spec.model} in {spec.backend}, threads {spec.threads}: stopped: "
            raise UserError(said.line if said.mistake else who + said.line)
        return said


def _why(process: BaseProcess) -> str:
    return " (killed, perhaps for want of memory)" if process.exitcode == -9 else ""


def measure(specs: Sequence[Spec], references: Sequence[str], seconds: float) -> list[Row]:
    """Rows in the order of the specs; references: MODEL:BACKEND of those compared with."""
    found: dict[Spec, Row] = {}
    groups = _groups(specs, references)
    for number, group in enumerate(groups, start=1):
        part = f", part {number} of {len(groups)} (memory)" if len(groups) > 1 else ""
        log.info(f"loading {len(group)} models and backends, a process each{part}")
        with _started(group) as workers:
            subjects = {worker.spec: worker.hear() for worker in workers}
            times = _times(workers, references, seconds * len(group))
        for spec in group:
            others = [(other.name, times[other]) for other in _others(spec, group, references)]
            found.setdefault(spec, row(subjects[spec], spec.batch, times[spec], others))
    return [found[spec] for spec in specs]


def _others(spec: Spec, group: Sequence[Spec], references: Sequence[str]) -> list[Spec]:
    """What a row is compared with: the references at its threads, but for itself."""
    return [
        other
        for name in references
        for other in group
        if other.name == name and other.threads == spec.threads and other != spec
    ]


@contextmanager
def _started(specs: Sequence[Spec]) -> Iterator[list[_Worker]]:
    """A process each, loading side by side; none is left when the block ends, however it does."""
    context = multiprocessing.get_context("spawn")
    workers = []
    try:
        for spec in specs:
            here, there = context.Pipe()
            process = context.Process(target=work, args=(spec, there), daemon=True)
            process.start()
            there.close()  # so that its end is seen here
            workers.append(_Worker(spec, process, here))
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


def _times(
    workers: Sequence[_Worker], references: Sequence[str], seconds: float
) -> dict[Spec, list[Round]]:
    """Rounds until every ratio is known well enough, or the time is over."""
    times: dict[Spec, list[Round]] = {worker.spec: [] for worker in workers}
    group = list(times)
    began, number = time.monotonic(), 0
    most = max(1, round(seconds))
    with tqdm(total=most, unit="s", desc="timing", leave=False) as bar:
        while True:
            for worker in workers:
                times[worker.spec].append(worker.ask(number))
            number += 1
            spent = time.monotonic() - began
            bar.update(min(round(spent), most) - bar.n)
            if number >= FEWEST and (
                spent > seconds or (number % 5 == 0 and _settled(times, group, references))
            ):
                return times


def _settled(
    times: dict[Spec, list[Round]], group: Sequence[Spec], references: Sequence[str]
) -> bool:
    for spec in group:
        of = "cpu" if spec.threads == 1 else "wall"
        for other in _others(spec, group, references):
            found = ratio("", of, per_round(times[spec], of), per_round(times[other], of))
            if found.high - found.low > 2 * (NARROW + APART) * found.value:
                return False
    return True


def _groups(specs: Sequence[Spec], references: Sequence[str]) -> list[list[Spec]]:
    """Specs that fit into memory together, the references of their threads among each."""
    room = _free_mb() * 0.8
    groups: list[list[Spec]] = []
    for spec in specs:
        wanted = [*_others(spec, specs, references), spec]
        together = list(dict.fromkeys([*groups[-1], *wanted])) if groups else wanted
        if groups and sum(map(_needs_mb, together)) <= room:
            groups[-1] = together
        else:
            groups.append(wanted)
    return groups


def _needs_mb(spec: Spec) -> float:
    """What a worker may hold, estimated: its libraries, and files that are read and repacked."""
    return (500 if spec.backend == "torch" else 200) + 2 * weights_mb(spec.folder)


def _free_mb() -> float:
    lines = Path("/proc/meminfo")
    if lines.is_file():
        found = dict(line.split(":") for line in lines.read_text().splitlines())
        return int(found["MemAvailable"].split()[0]) * 1024 / 1e6
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
