"""Replicas of `alembert serve --engine ray` that are killed while clients ask.

    python benchmarks/killed.py MODEL [--data texts.csv] [--kills 3] [--seconds 45] [--json FILE]

Two replicas, 8 clients of alembert.client in a closed loop; every --seconds / (kills + 1) one of
them gets SIGKILL. Exits with 1 where a client saw an error after its retries.
"""

import argparse
import asyncio
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from serve import family, free_port

from alembert.client.client import AsyncClient


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


def up(url: str) -> bool:
    """Whether it answers with 200."""
    with suppress(OSError):
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    return False


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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True, help="CSV with a column text")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with given.data.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    port = free_port()
    command = [sys.executable, "-m", "alembert", "serve", given.model, "--engine", "ray"]
    command += ["--replicas", "2", "--threads", "1", "--port", str(port), "--no-access-log"]
    child = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        while not up(f"{url}/health"):
            if child.poll() is not None:
                sys.exit(f"the server ended with {child.returncode}")
            time.sleep(0.5)
        told = asyncio.run(load(url, texts, child.pid, given.kills, given.seconds))
    finally:
        child.terminate()
        child.wait(60)
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
        given.json.write_text(json.dumps({"arguments": sys.argv[1:], **found}, indent=1))
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
