"""Eight good clients beside hostile ones, all at once: how long do the good ones wait?

    python -m benchmarks.robustness.mix MODEL [--minutes 10] [--alone 1] [--json FILE]

The good clients, in a process of their own, each ask one text after another over a connection that
they keep: first alone, then beside slow senders, unread answers of megabytes, idle connections
beyond the limit of open files, requests of 32 x 512 tokens and bytes of the fuzzer. Then SIGTERM is
sent while the hostile clients go on. Exits with 1 where a good request failed, its 99th percentile
is five times that of the clients alone or more, memory grew, or the server did not end in time.
"""

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.lab.results import arguments, machine, write
from benchmarks.lab.workers import spent
from benchmarks.robustness.attacks import CLIENTS, GRACE, OPEN, SLOW, opened
from benchmarks.robustness.wire import PLAIN, post, said, serving, status, thrown

GOOD, FILES, TIMES, GROWN = 8, 200, 5.0, 1.1  # clients, open files, p99 and memory in shares
GIANT = post("/predict", {"inputs": ["good " * 600] * 32, "truncate": True})
UNREAD = ("unread answers", "unread last answers", "unread small answers", "half a body")


def good(port: int, seconds: float) -> tuple[list[float], Counter[str]]:
    """Seconds of each good request, and how often each way of failing came."""
    end, taken, failed = time.monotonic() + seconds, list[float](), Counter[str]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                async with asyncio.timeout(30):
                    writer.write(PLAIN)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                    await reader.readexactly(int(length))
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                failed[repr(error)] += 1
                writer.transport.abort()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            taken.append(time.monotonic() - began)
            if status(head) != 200:
                failed[f"status {status(head)}"] += 1

    async def all_of_them() -> None:
        await asyncio.gather(*(client() for _ in range(GOOD)))

    asyncio.run(all_of_them())
    return taken, failed


def hostile(port: int, seconds: float, seed: int) -> Counter[str]:
    """How many attacks of each kind were made."""
    end, made = time.monotonic() + seconds, Counter[str]()

    async def slow(pieces: tuple[bytes, ...]) -> None:
        with suppress(TimeoutError):
            await said(port, *(*pieces, b"")[: max(2, len(pieces))], pause=0.5)

    async def unread(content: bytes) -> None:
        await opened(port, content)
        await asyncio.sleep(20)
        OPEN.pop(0).close()

    async def idle() -> None:
        for _ in range(FILES):
            with suppress(OSError):
                await opened(port)
        await asyncio.sleep(5)
        for _ in range(FILES):
            OPEN.pop(0).close()

    async def giant() -> None:
        await said(port, GIANT, within=300)
        await asyncio.sleep(0.5)

    async def odd(dice: random.Random) -> None:
        await thrown(port, dice)

    async def again(kind: str, number: int) -> None:
        dice = random.Random(f"{seed} {kind} {number}")
        await asyncio.sleep(dice.random())
        while time.monotonic() < end:
            with suppress(OSError, TimeoutError, IndexError):
                if kind == "slow senders":
                    await slow(dice.choice(list(SLOW.values())))
                elif kind == "unread answers":
                    await unread(CLIENTS[dice.choice(UNREAD)])
                elif kind == "idle connections":
                    await idle()
                elif kind == "giant requests":
                    await giant()
                else:
                    await odd(dice)
                made[kind] += FILES if kind == "idle connections" else 1
                continue
            await asyncio.sleep(0.1)

    kinds = {"slow senders": 20, "unread answers": 6, "idle connections": 2, "giant requests": 4,
             "bytes of the fuzzer": 2}  # fmt: skip

    async def all_of_them() -> None:
        each = [again(kind, number) for kind, count in kinds.items() for number in range(count)]
        await asyncio.wait([asyncio.ensure_future(one) for one in each], timeout=seconds)

    asyncio.run(all_of_them())
    return made


def percentiles(taken: list[float]) -> dict[str, float]:
    """Milliseconds of the median, of the 99th percentile and of the slowest."""
    p50, p99, most = np.percentile(taken, [50, 99, 100]) * 1000
    return {
        "requests": len(taken),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": float(most),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--alone", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--options", default="", help="of alembert serve")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    options = ["--no-access-log", *asked.options.split()]
    memory: list[float] = []
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        serving(asked.model, options, files=FILES) as server,
    ):
        good_alone, failed_alone = pool.submit(good, server.port, 60 * asked.alone).result()
        seconds = 60 * asked.minutes
        beside = pool.submit(hostile, server.port, seconds + GRACE + 5, asked.seed)
        asking = pool.submit(good, server.port, seconds)
        while not asking.done():
            time.sleep(2)
            memory.append(spent(server.child.pid)[1])
        good_beside, failed = asking.result()
        began = time.monotonic()
        code = server.ended(signal.SIGTERM, GRACE)
        ended = time.monotonic() - began
        said_lines = server.said()
        made = beside.result()
    alone, together = percentiles(good_alone), percentiles(good_beside)
    times = together["p99_ms"] / alone["p99_ms"]
    part = max(len(memory) // 5, 1)
    early, late = (float(np.mean(each)) for each in (memory[part : 2 * part], memory[-part:]))
    wrong = [
        f"{count} of the good requests: {name}" for name, count in (failed + failed_alone).items()
    ]
    if times >= TIMES:
        wrong.append(f"p99 is {times:.1f} times that of the clients alone")
    if late > GROWN * early:
        wrong.append(f"memory grew from {early:.0f} to {late:.0f} MB")
    if code != 0:
        wrong.append(f"after SIGTERM: exit code {code} in {ended:.1f} s")
    if "Traceback" in said_lines:
        wrong.append(f"a traceback: {said_lines[-1000:]}")
    row = {
        "alone": alone, "beside": together, "times_p99": times, "attacks": dict(made),
        "memory_mb": [round(each, 1) for each in memory], "ended_s": ended, "wrong": wrong,
    }  # fmt: skip
    print({**row, "memory_mb": (round(early), round(late))})
    if asked.json:
        write(asked.json, {"arguments": sys.argv[1:], **machine(), **row})
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
