"""What `alembert serve` does at several times its capacity, afterwards, and in the long run.

    python -m benchmarks.serving.overload MODEL [--times 3] [--soak 600] [--json FILE]

On loopback, the load from this process on the same cores: a client alone (the unloaded latency) and
32 clients (the capacity) of a server without options; then, of one with --options, requests at
`times` the capacity, a client alone again from the moment that this ends, and 8 clients for --soak
seconds. The server's memory is read every second.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from benchmarks.lab.results import write
from benchmarks.lab.workers import free_port, spent
from benchmarks.serving.load import asking, bodies_of, closed, driven, opened, started

SETTLE = 5.0  # seconds after which a phase's first memory is read
WARM, BRIEF = 5, 10  # seconds of the phases that no option names


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """The server's memory in MB, once a second while the block runs."""
    found, over = [spent(pid)[1]], threading.Event()

    def look() -> None:
        while not over.wait(1):
            found.append(spent(pid)[1])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def growth(memory: list[float]) -> float:
    """Of a phase, from SETTLE seconds on."""
    first = memory[min(int(SETTLE), len(memory) - 1)]
    return memory[-1] / first - 1


def recovered(answers: list[Any], bound: float) -> float | None:
    """Seconds until a lone client has a second of answers that are 200, 95 % within `bound`."""
    ends = list(accumulate(seconds for _, seconds in answers))
    for start in (0.0, *ends):
        window = [answers[i] for i, end in enumerate(ends) if start < end <= start + 1]
        slow = sum(seconds > bound for _, seconds in window)
        if all(status == 200 for status, _ in window) and slow <= 0.05 * len(window):
            return start if start + 1 <= ends[-1] else None
    return None


def main() -> None:
    parser = asking(__doc__, 60)
    parser.add_argument("--times", type=float, default=3.0, help="the capacity")
    parser.add_argument("--soak", type=float, default=600)
    given = parser.parse_args()
    bodies, port = bodies_of(given.data), free_port()
    found: dict[str, Any] = {"arguments": sys.argv[1:]}

    def phase(name: str, answers: Any, pid: int) -> list[Any]:
        with watched(pid) as memory:
            told, row = driven(pid, answers)
        refused = sorted(1000 * seconds for status, seconds in told if status == 429)
        if refused:
            row["refused_p50_ms"] = refused[len(refused) // 2]
            row["refused_p99_ms"] = refused[int(0.99 * (len(refused) - 1))]
        found[name] = {**row, "memory_growth": growth(memory), "memory_mb": memory}
        print(name, {key: value for key, value in found[name].items() if key != "memory_mb"})
        return told

    with started("alembert", given.model, port) as pid:  # that refuses nobody
        phase("warm", closed(port, bodies, 8, WARM), pid)
        phase("unloaded", closed(port, bodies, 1, BRIEF), pid)
        phase("capacity", closed(port, bodies, 32, BRIEF), pid)
    with started("alembert", given.model, port, given.options.split()) as pid:
        phase("warm", closed(port, bodies, 8, WARM), pid)
        rate = given.times * found["capacity"]["requests_per_s"]
        phase("overload", opened(port, bodies, rate, given.seconds), pid)
        after = phase("after", closed(port, bodies, 1, BRIEF), pid)
        found["p99_times_unloaded"] = found["overload"]["p99_ms"] / found["unloaded"]["p99_ms"]
        found["recovered_s"] = recovered(after, found["unloaded"]["p99_ms"] / 1000)
        print({key: found[key] for key in ("p99_times_unloaded", "recovered_s")})
        if given.soak:
            phase("soak", closed(port, bodies, 8, given.soak), pid)
    if given.json:
        write(given.json, found)


if __name__ == "__main__":
    main()
