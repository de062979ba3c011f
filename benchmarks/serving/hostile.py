"""Bodies that no client should send, against a running `alembert serve`.

    python -m benchmarks.serving.hostile MODEL [MODEL ...] [--count 10000] [--minutes M] [--seed 1]

Wrong types, deep nesting, lone surrogates, NaN, strings of megabytes, bytes that are no text, none
at all, to every route of every model: an answer has to be 200 or 4xx, a 4xx a message in JSON; the
server has to answer a plain request at the end. Exits with 1 and the bodies where that is not so.
"""

import asyncio
import json
import math
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.lab.results import arguments, write
from benchmarks.lab.workers import free_port, spent
from benchmarks.serving.load import Connection, connected, started

ROUTES = ("predict", "embed", "tokenize", "fill-mask", "tag", "attentions")
FIELDS = ("inputs", "truncate", "raw_scores", "normalize", "top", "temperature", "layer", "x")
LEAVES: tuple[Any, ...] = (
    None, True, 1e308, -1, 0, 10**400, "", "a", "\u0000", "\ud800", "[MASK]", "[MASK] " * 400,
    "x" * 5000, "a " * 700, [], {}, [[]], ["a", "b"], [["a", "b"]], [["a", "b", "c"]], "é" * 300,
)  # fmt: skip
KINDS = ("bytes", "empty", "nested", "megabytes", "nan", "inputs", "cut", "anything")
WEIGHTS = (10, 2, 3, 2, 3, 45, 5, 30)
PATIENCE = 60  # seconds


def value(dice: random.Random, depth: int) -> Any:
    chosen = dice.random()
    if depth == 0 or chosen < 0.45:
        return dice.choice(LEAVES)
    if chosen < 0.75:
        return [value(dice, depth - 1) for _ in range(dice.randint(0, 4))]
    return {dice.choice(FIELDS): value(dice, depth - 1) for _ in range(dice.randint(0, 4))}


def body(dice: random.Random) -> tuple[str, bytes]:
    """Its kind, and itself."""
    kind = dice.choices(KINDS, WEIGHTS)[0]
    if kind == "bytes":
        return kind, dice.randbytes(dice.randint(1, 300))
    if kind == "empty":
        return kind, b""
    if kind == "nested":
        pair = dice.choice((b"[]", b'{"inputs":'))
        return kind, pair[:-1] * dice.randint(1, 100_000)
    if kind == "megabytes":
        return kind, json.dumps({"inputs": "y " * dice.randint(1, 1_200_000)}).encode()
    if kind == "nan":
        number = dice.choice(("NaN", "-Infinity", "1e999"))
        return kind, f'{{"inputs": "a", "{dice.choice(FIELDS)}": {number}}}'.encode()
    if kind == "inputs":
        asked = {"inputs": value(dice, 3), dice.choice(FIELDS[1:]): dice.choice(LEAVES)}
        return kind, json.dumps(asked).encode()
    whole = json.dumps({"inputs": value(dice, 2)} if kind == "cut" else value(dice, 6)).encode()
    return kind, whole[: dice.randint(0, len(whole))] if kind == "cut" else whole


def fault(status: int, received: bytes) -> str | None:
    """What is wrong with an answer."""
    if status == 200:
        return None
    if not 400 <= status < 500:
        return f"status {status}"
    try:
        told = json.loads(received.partition(b"\r\n\r\n")[2])
    except ValueError:
        return f"status {status}, no JSON"
    return None if isinstance(told, dict) and told.get("error") else f"status {status}, no message"


async def attack(
    port: int, paths: list[str], count: int, seed: int, end: float
) -> tuple[Any, list[Any]]:
    """Answers by kind of body and status; what was wrong."""
    seen: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
    faults: list[Any] = []

    async def client(number: int, share: int) -> None:
        dice, line = random.Random(f"{seed} {number}"), await connected(port)
        for _ in range(share):
            if time.monotonic() > end:
                break
            kind, content = body(dice)
            line.head = f"POST {dice.choice(paths)} HTTP/1.1\r\nHost: here\r\n"
            status = await asyncio.wait_for(line.ask(content), PATIENCE)
            seen[kind][status] += 1
            if wrong := fault(status, line.received):
                faults.append((wrong, line.head.split()[1], repr(content[:200])))
            if status in (0, 408, 413):  # these hang up
                line.transport.abort()
                line = await connected(port)

    await asyncio.gather(*(client(number, count // 8) for number in range(8)))
    line: Connection = await connected(port)
    if await line.ask(json.dumps({"inputs": "a"}).encode()) not in (200, 424):
        faults.append(("no plain answer at the end", "", ""))
    return {kind: dict(sorted(found.items())) for kind, found in seen.items()}, faults


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="+", help="FOLDER or NAME=FOLDER each")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, help="the most, whatever the count")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    names = [each.partition("=")[0] for each in given.models if "=" in each] + ["zz"]
    places = ["", *(f"/models/{name}" for name in names)]
    paths = [f"{place}/{route}" for place in places for route in ROUTES]
    port = free_port()
    with started("alembert", given.models[0], port, given.models[1:]) as pid:
        before = spent(pid)[1]
        end = time.monotonic() + 60 * given.minutes if given.minutes else math.inf
        seen, faults = asyncio.run(attack(port, paths, given.count, given.seed, end))
        memory = [before, spent(pid)[1]]
    for kind, found in seen.items():
        print(f"{kind:10} {found}")
    print(f"memory {memory[0]:.0f} -> {memory[1]:.0f} MB; {len(faults)} faults")
    if given.json:
        content = {"arguments": sys.argv[1:], "statuses": seen, "memory_mb": memory}
        write(given.json, {**content, "faults": faults})
    for each in faults[:20]:
        print(*each)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
