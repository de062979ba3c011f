"""Requests per second and latency of `alembert serve` beside other servers of the same model.

    python -m benchmarks.serving.load MODEL [--data texts.csv] [--clients 1,8,32,128] [--seconds 5]
    python -m benchmarks.serving.load MODEL --servers alembert --rate 2000 --seconds 60

Closed loop: each client asks again when it has its answer. Open loop (--rate, requests a second):
requests come when they come, answered or not. The servers take turns on loopback, round after
round, and only the one that is measured is up: some keep a core busy while nobody asks. The load
comes from this process, on the same cores. Servers:
alembert; plain (FastAPI, a Session call for each request on a pool of threads); first-in (FastAPI,
whoever came first in one batch of 16, padded to the longest); litserve and ray, where installed.
"""

import asyncio
import csv
import json
import random
import sys
import time
import urllib.request
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lab.results import arguments, write
from benchmarks.lab.tables import markdown
from benchmarks.lab.workers import free_port, server, spent

WARM = 1  # seconds before the first measurement
COLUMNS = {
    "server": "{server}", "load": "{load:g}", "requests/s": "{requests_per_s:,.0f}",
    "p50 ms": "{p50_ms:.1f}", "p95 ms": "{p95_ms:.1f}", "p99 ms": "{p99_ms:.1f}",
    "CPU ms": "{cpu_ms:.2f}", "MB": "{rss_mb:.0f}", "statuses": "{rounds[0][statuses]}",
}  # fmt: skip
MEASURED = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms", "rss_mb")


class Connection(asyncio.Protocol):
    """One client's connection: a request out, an answer in; as cheap as it can be."""

    def __init__(self, host: str) -> None:
        self.head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        self.answer: asyncio.Future[int] | None = None
        self.received = b""
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, body: bytes) -> "asyncio.Future[int]":
        """The status of the answer."""
        self.received = b""
        self.answer = asyncio.get_running_loop().create_future()
        head = f"{self.head}Content-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        if b"content-length:" in lowered:
            whole = len(body) >= int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
        else:
            whole = body.endswith(b"0\r\n\r\n")  # chunked
        if whole and self.answer is not None and not self.answer.done():
            self.answer.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)


async def connected(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: Connection("127.0.0.1"), "127.0.0.1", port)
    return made


async def closed(port: int, bodies: list[bytes], clients: int, seconds: float) -> list[Any]:
    """[(status, seconds that it took), ...]"""
    found: list[Any] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        dice, line = random.Random(number), await connected(port)
        while (began := time.perf_counter()) < end:
            status = await line.ask(dice.choice(bodies))
            found.append((status, time.perf_counter() - began))
            if not status:
                line = await connected(port)
        line.transport.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found


async def opened(port: int, bodies: list[bytes], rate: float, seconds: float) -> list[Any]:
    """The same, for requests whose times are drawn at random; at most 1,000 are under way."""
    found: list[Any] = []
    dice, tasks, lags = random.Random(0), set(), [0.0]
    idle: list[Connection] = []
    count = 0

    async def one(due: float) -> None:
        nonlocal count
        line = idle.pop() if idle else None
        while line is not None and line.lost:  # servers close what was idle for seconds
            count -= 1
            line = idle.pop() if idle else None
        if line is None and count == 1000:
            found.append((-1, 0.0))  # the generator's own bound
            return
        if line is None:
            count += 1
            line = await connected(port)
        began = time.perf_counter()
        lags.append(began - due)
        status = await line.ask(dice.choice(bodies))
        found.append((status, time.perf_counter() - began))
        if status:
            idle.append(line)
        else:
            count -= 1

    due = time.perf_counter()
    end = due + seconds
    while due < end:
        due += dice.expovariate(rate)
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    for line in idle:
        line.transport.close()
    late = 1000 * sorted(lags)[int(0.99 * len(lags))]
    print(f"the generator was late by {late:.1f} ms at p99", file=sys.stderr)
    return found


def summary(found: list[Any], wall: float, cpu: float, memory: float) -> dict[str, Any]:
    """One row of the table; the latencies are those of what was answered with 200."""
    good = sorted(1000 * seconds for status, seconds in found if status == 200)
    ranks = {f"p{share}_ms": min(len(good) - 1, share * len(good) // 100) for share in (50, 95, 99)}
    return {
        "requests_per_s": len(good) / wall,
        **{name: good[rank] if good else None for name, rank in ranks.items()},
        "cpu_ms": 1000 * cpu / max(1, len(good)),
        "rss_mb": memory,
        "statuses": dict(Counter(status for status, _ in found)),
    }


def driven(pid: int, asking: Coroutine[Any, Any, list[Any]]) -> tuple[list[Any], dict[str, Any]]:
    """The answers that a server of this id gives to clients, and their row of the table."""
    before, began = spent(pid)[0], time.perf_counter()
    answers = asyncio.run(asking)
    wall = time.perf_counter() - began
    cpu, memory = spent(pid)
    return answers, summary(answers, wall, cpu - before, memory)


def started(
    kind: str, model: str, port: int, options: Sequence[str] = ()
) -> AbstractContextManager[int]:
    """The server as a process; gives its id when it answers."""
    command = ["benchmarks.serving.servers", kind, model, str(port)]
    if kind == "alembert":
        command = ["alembert", "serve", model, "--port", str(port), "--no-access-log", *options]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", json.dumps({"inputs": "a"}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    return server(["-m", *command], asked, 300)


def bodies_of(path: str | None) -> list[bytes]:
    """A request for each text."""
    return [json.dumps({"inputs": text, "truncate": True}).encode() for text in texts_of(path)]


def texts_of(path: str | None) -> list[str]:
    """The texts of a CSV; none named: the built-in messages."""
    path = path or str(files("alembert") / "data" / "intents" / "test.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    column = "text" if "text" in rows[0] else "sentence"
    return [row[column] for row in rows]


def asking(doc: str | None, seconds: float) -> ArgumentParser:
    """The options of a measurement that asks `alembert serve` for so many seconds."""
    parser = arguments(doc)
    parser.add_argument("model")
    parser.add_argument("--data", help="CSV with a column text or sentence")
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--options", default="", help="of alembert serve: '--max-wait 0.02'")
    parser.add_argument("--json", type=Path)
    return parser


def main() -> None:
    parser = asking(__doc__, 5)
    parser.add_argument("--servers", default="alembert,plain,first-in")
    parser.add_argument("--clients", default="1,8,32,128")
    parser.add_argument("--rate", type=float, help="open loop, requests a second")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    bodies = bodies_of(given.data)
    kinds = given.servers.split(",")
    loads = [given.rate] if given.rate else [int(each) for each in given.clients.split(",")]
    drive = opened if given.rate else closed
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for _ in range(given.rounds):
        for kind in kinds:
            port = free_port()
            with started(kind, given.model, port, given.options.split()) as pid:
                asyncio.run(closed(port, bodies, 8, WARM))
                for load in loads:
                    row = driven(pid, drive(port, bodies, load, given.seconds))[1]
                    found.setdefault((kind, load), []).append(row)
    content = []
    for (kind, load), runs in sorted(found.items(), key=lambda item: item[0][1]):
        row = {key: median(run[key] or 0 for run in runs) for key in MEASURED}
        content.append({"server": kind, "load": load, **row, "rounds": runs})
    print(
        markdown(({**row, "statuses": row["rounds"][-1]["statuses"]} for row in content), COLUMNS)
    )
    if given.json:
        write(given.json, {"arguments": sys.argv[1:], "rows": content})


if __name__ == "__main__":
    main()
