"""Times workers in turn, round by round, so that drift affects all alike."""

import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from alembert.bench.rows import SPREAD, Round, Row, per_round, ratio, row, weights_mb
from alembert.bench.worker import Failed, Spec, work
from alembert.io.environment import memory
from alembert.io.errors import UserError
from alembert.io.progress import Work

log = logging.getLogger(__name__)

FEWEST = 7  # rounds, however long they take
NARROW = 0.01  # half the interval of a ratio, relative to it, at which timing ends


@dataclass(frozen=True)
class _Worker:
    spec: Spec
    process: BaseProcess
    pipe: Connection

    def time_round(self, number: int) -> Round:
        with suppress(BrokenPipeError):  # receive reports the reason
            self.pipe.send(number)
        message: Round = self.receive()
        return message

    def receive(self) -> Any:
        """The worker's next message. Raises UserError that names the worker if it has died."""
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            message = Failed(f"ended with code {self.process.exitcode}{_why(self.process)}", False)
        if isinstance(message, Failed):
            spec = self.spec
            name = f"{spec.model} in {spec.backend}, threads {spec.threads}: stopped: "
            raise UserError(message.line if message.mistake else name + message.line)
        return message


def _why(process: BaseProcess) -> str:
    return " (killed, perhaps for want of memory)" if process.exitcode == -9 else ""


def measure(specs: Sequence[Spec], references: Sequence[str], seconds: float) -> list[Row]:
    """Rows in the order of the specs; references (MODEL:BACKEND) are the rows to compare with."""
    results: dict[Spec, Row] = {}
    groups = _groups(specs, references)
    for number, group in enumerate(groups, start=1):
        part = f", part {number} of {len(groups)} (memory)" if len(groups) > 1 else ""
        log.info(f"loading {len(group)} models and backends, a process each{part}")
        with _start(group) as workers:
            subjects = {worker.spec: worker.receive() for worker in workers}
            times = _times(workers, references, seconds * len(group))
        for spec in group:
            others = [(other.name, times[other]) for other in _others(spec, group, references)]
            results.setdefault(spec, row(subjects[spec], spec.batch, times[spec], others))
    return [results[spec] for spec in specs]


def _others(spec: Spec, group: Sequence[Spec], references: Sequence[str]) -> list[Spec]:
    """The specs a row is compared with: the references at the same threads, without itself."""
    return [
        other
        for name in references
        for other in group
        if other.name == name and other.threads == spec.threads and other != spec
    ]


@contextmanager
def _start(specs: Sequence[Spec]) -> Iterator[list[_Worker]]:
    """Starts a process for each spec, loading in parallel; all are killed when the block ends."""
    context = multiprocessing.get_context("spawn")
    workers = []
    try:
        for spec in specs:
            parent_end, child_end = context.Pipe()
            process = context.Process(target=work, args=(spec, child_end), daemon=True)
            process.start()
            child_end.close()  # so that the end of the child closes the pipe
            workers.append(_Worker(spec, process, parent_end))
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
    """Times rounds until every ratio is precise enough, or the time is over."""
    times: dict[Spec, list[Round]] = {worker.spec: [] for worker in workers}
    began, number = time.monotonic(), 0
    limit = max(1, round(seconds))
    with Work("timing", limit, "s", at_most=True) as work:
        while True:
            for worker in workers:
                times[worker.spec].append(worker.time_round(number))
            number += 1
            spent = time.monotonic() - began
            work.n = min(round(spent), limit)
            if number >= FEWEST and (
                spent > seconds or (number % 5 == 0 and _precise(times, references))
            ):
                return times


def _precise(times: dict[Spec, list[Round]], references: Sequence[str]) -> bool:
    for spec in times:
        of = "cpu" if spec.threads == 1 else "wall"
        for other in _others(spec, list(times), references):
            measured = ratio("", of, per_round(times[spec], of), per_round(times[other], of))
            if measured.high - measured.low > 2 * (NARROW + SPREAD) * measured.value:
                return False
    return True


def _groups(specs: Sequence[Spec], references: Sequence[str]) -> list[list[Spec]]:
    """Groups of specs that fit into memory together, each with the references of its threads."""
    available = _free_mb() * 0.8
    groups: list[list[Spec]] = []
    for spec in specs:
        needed = [*_others(spec, specs, references), spec]
        joined = list(dict.fromkeys([*groups[-1], *needed])) if groups else needed
        if groups and sum(map(_memory_mb, joined)) <= available:
            groups[-1] = joined
        else:
            groups.append(needed)
    return groups


def _memory_mb(spec: Spec) -> float:
    """The estimated memory of a worker: its libraries, and weights that are read and repacked."""
    return (500 if spec.backend == "torch" else 200) + 2 * weights_mb(spec.folder)


def _free_mb() -> float:
    lines = Path("/proc/meminfo")
    if lines.is_file():
        fields = dict(line.split(":") for line in lines.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024 / 1e6
    return memory() / 1e6
