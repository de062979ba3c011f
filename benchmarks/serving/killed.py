"""Replicas of `alembert serve --engine ray` that are killed while clients ask.

    python -m benchmarks.serving.killed MODEL [--data texts.csv] [--kills 3] [--json FILE]

Two replicas, 8 clients of alembert.client in a closed loop; every --seconds / (kills + 1) one of
them gets SIGKILL. Exits with 1 where a client saw an error after its retries.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from alembert.client.client import AsyncClient
from benchmarks.lab.results import write
from benchmarks.lab.workers import family, free_port
from benchmarks.serving.load import asking, started, texts_of


def replicas(pid: int) -> list[int]:
    """The processes in which the application runs."""
    found = []
    for each in family(pid):
        try:
            line = Path(f"/proc/{each}/cmdline").read_bytes()
        except OSError:
            continue
        if line.startswith(b"ray::ServeReplica"):
            found.append(each)
    return found


async def load(
    url: str, texts: list[str], pid: int, kills: int, seconds: float
) -> tuple[list[tuple[float, float]], list[str], list[float]]:
    """(when, how long) of every answer; errors; when a replica was killed. All in seconds."""
    answers: list[tuple[float, float]] = []
    errors: list[str] = []
    killed: list[float] = []
    began = time.perf_counter()

    async def client(number: int) -> None:
        dice = random.Random(number)
        async with AsyncClient(url) as asking:
            while (now := time.perf_counter()) < began + seconds:
                try:
                    await asking.predict(dice.choice(texts))
                    answers.append((now - began, time.perf_counter() - now))
                except Exception as error:  # whatever it is: it is what is counted
                    errors.append(repr(error))

    async def killer() -> None:
        for _ in range(kills):
            await asyncio.sleep(seconds / (kills + 1))
            os.kill(random.Random(0).choice(replicas(pid)), signal.SIGKILL)
            killed.append(time.perf_counter() - began)

    await asyncio.gather(killer(), *(client(number) for number in range(8)))
    return answers, errors, killed


def main() -> None:
    parser = asking(__doc__, 45)
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    port, texts = free_port(), texts_of(given.data)
    options = ["--engine", "ray", "--replicas", "2", "--threads", "1", *given.options.split()]
    with started("alembert", given.model, port, options) as pid:
        url = f"http://127.0.0.1:{port}"
        told = asyncio.run(load(url, texts, pid, given.kills, given.seconds))
    answers, errors, killed = told
    slowest = [
        max((took for when, took in answers if kill - took <= when <= kill + 5), default=None)
        for kill in killed
    ]
    found: dict[str, Any] = {
        "answers": len(answers), "errors": errors, "killed_at_s": killed, "slowest_s": slowest,
    }  # fmt: skip
    print(found)
    if given.json:
        write(given.json, {"arguments": sys.argv[1:], **found})
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
