"""Raw bytes to a running `alembert serve`: connections that say what they like, and a fuzzer.

    python -m benchmarks.robustness.wire MODEL [--minutes 30] [--seed 1] [--json FILE]

The fuzzer sends requests in odd pieces: right ones with bytes changed, doubled or cut, odd heads
and framings one after another, prefaces of HTTP/2 and TLS, bytes at random. Whatever comes, what
comes back is a run of answers of HTTP/1.1, no 5xx among them but 503, never more answers than
requests can lie in the bytes; nothing is on stderr, and a plain request is answered in between.
"""

import asyncio
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.lab.results import arguments, write
from benchmarks.lab.workers import environment, free_port, spent

BODY = b'{"inputs": "a fine film"}'
PLAIN = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\n" + BODY
PATIENCE = 60  # seconds until a server has to be up


@dataclass(frozen=True)
class Server:
    """A server as a process, and the file that its stderr goes to."""

    child: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def ended(self, sign: signal.Signals, seconds: float) -> int | None:
        """The exit code after a signal; None when it has not ended so many seconds later."""
        self.child.send_signal(sign)
        with suppress(subprocess.TimeoutExpired):
            return self.child.wait(seconds)
        return None

    def said(self) -> str:
        """What it wrote to stderr after the line that it is up."""
        return self.log.read_text(errors="replace").partition("\n")[2]


@contextmanager
def serving(
    model: str,
    options: Sequence[str] = (),
    files: int = 0,
    wait: bool = True,
    stdout: int | None = None,
) -> Iterator[Server]:
    """A server of the model; files: its limit of open files. With wait, it answers already.

    stdout is a descriptor, by default that of the log.
    """

    def limited() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    port = free_port()
    words = ["serve", f"zz={model}", "--port", str(port), *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stderr:
            child = subprocess.Popen(
                [sys.executable, "-m", "alembert", *words], stderr=stderr,
                stdout=stderr if stdout is None else stdout,
                env=environment(), preexec_fn=limited,
            )  # fmt: skip
        try:
            end = time.monotonic() + PATIENCE
            while wait and time.monotonic() < end and child.poll() is None:
                with suppress(OSError):
                    if status(asyncio.run(said(port, b"GET /health HTTP/1.0\r\n\r\n"))) == 200:
                        break
                time.sleep(0.1)
            yield Server(child, port, log)
        finally:
            child.kill()
            child.wait()


async def said(port: int, *pieces: bytes, pause: float = 0.0, within: float = 20.0) -> bytes:
    """All that comes back to these pieces until the server hangs up.

    The last piece is sent again and again when there is a pause, as slow senders do. Raises
    TimeoutError when the server has not hung up within so many seconds.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        while pause and pieces:
            writer.write(pieces[-1])
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    found = b""
    try:
        async with asyncio.timeout(within):
            with suppress(ConnectionError):
                while piece := await reader.read(2**20):
                    found += piece
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()
    return found


def statuses(received: bytes) -> list[int]:
    """The statuses of the answers that were received."""
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d\d\d)", received)]


def status(received: bytes) -> int:
    """The status of the first answer, or 0."""
    return next(iter(statuses(received)), 0)


def post(path: str, body: object, *headers: str) -> bytes:
    """A request that closes its connection."""
    content = json.dumps(body).encode()
    lines = (f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(content)}",
             "Connection: close", *headers)  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode() + content


LINES = (
    b"Content-Length: 25", b"Content-Length: 5", b"Content-Length: +25", b"Content-Length: 25, 25",
    b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Upgrade: h2c",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Upgrade: websocket",
    b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Expect: x",
    b"Authorization: bearer x", b"Host:", b"Host: a", b"Host: \xff@b:99999", b"X: " + b"y" * 9000,
    b"X : y", b" folded", b"", b":", b"Trailer: X", b"Content-Encoding: gzip", b"X: \x00",
)  # fmt: skip
FIRST = (
    b"POST /predict HTTP/1.1", b"POST /models/zz/predict HTTP/1.1", b"POST /nowhere HTTP/1.1",
    b"GET /health HTTP/1.1", b"GET / HTTP/1.0", b"HEAD /info HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1", b"GET http://b/health HTTP/1.1", b"GET //b/predict/ HTTP/1.1",
    b"POST /predict/ HTTP/1.1", b"GET /%00%ff%2e%2e HTTP/1.1", b"PRI * HTTP/2.0", b"GET /health",
    b"POST /models/%2F/tag?x=\xff HTTP/1.1", b"get /health HTTP/1.1", b"GET /health HTTP/9.9",
    b"GET h:99999999/ HTTP/1.1", b"GET /[ HTTP/1.1", b"GET http://[ HTTP/1.1",
)  # fmt: skip
BODIES = (
    BODY, b"", b"19\r\n" + BODY + b"\r\n0\r\n\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\nx",
    b"19;a=" + b"b" * 300 + b"\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n", b"-1\r\n", b"[" * 9000,
)  # fmt: skip
WHOLE = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\r\n" * 50,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", PLAIN,
)  # fmt: skip


def drawn(dice: random.Random) -> bytes:
    """One request or what is none."""
    kind = dice.random()
    if kind < 0.1:
        return dice.randbytes(dice.randint(1, 200))
    if kind < 0.2:
        return dice.choice(WHOLE)
    lines = [dice.choice(FIRST), *dice.choices(LINES, k=dice.randint(0, 5))]
    content = bytearray(b"\r\n".join((*lines, b"", dice.choice(BODIES))))
    if kind < 0.6:
        for _ in range(dice.randint(1, 3)):
            place = dice.randrange(len(content) + 1)
            cut = content[place : place + dice.randint(0, 9)]
            content[place : place + len(cut)] = dice.choice((b"", cut * 2, dice.randbytes(2)))
    return bytes(content)


async def thrown(port: int, dice: random.Random) -> tuple[bytes, bytes]:
    """What was sent over one connection, and what came back."""
    content = b"".join(drawn(dice) for _ in range(dice.randint(1, 4)))
    cuts = sorted(dice.sample(range(len(content) + 1), min(len(content), dice.randint(0, 3))))
    ends = [0, *cuts, len(content)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    with suppress(OSError):
        for begin, end in pairwise(ends):
            writer.write(content[begin:end])
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while piece := await reader.read(2**20):
                    found += piece
    writer.transport.abort()
    return content, found


def wrong(content: bytes, received: bytes) -> str:
    """What is wrong with the answers to these bytes, or nothing."""
    found = statuses(received)
    if received and not received.startswith(b"HTTP/1.1 "):
        return "no answer of HTTP"
    if any(each >= 500 and each != 503 for each in found):
        return f"statuses {found}"
    final = [each for each in found if each >= 200]
    if len(final) > content.count(b"\n\r\n") + content.count(b"\n\n") + 1:
        return f"{len(final)} answers"
    return ""


async def fuzzed(server: Server, minutes: float, seed: int) -> tuple[Counter[int], list[str]]:
    """How often each status came, and what was wrong."""
    seen, faults = Counter[int](), list[str]()
    end = time.monotonic() + 60 * minutes

    async def client(number: int) -> None:
        dice = random.Random(f"{seed} {number}")
        while time.monotonic() < end and len(faults) < 20:
            content, received = await thrown(server.port, dice)
            seen.update(statuses(received) or [0])
            if fault := wrong(content, received):
                faults.append(f"{fault}: {content!r} gave {received[:300]!r}")

    async def plain() -> None:
        while time.monotonic() < end:
            answer = b""
            with suppress(TimeoutError):
                answer = await said(server.port, post("/predict", {"inputs": "a"}))
            if status(answer) != 200:
                faults.append(f"a plain request got {answer[:300]!r} in 20 s")
            await asyncio.sleep(1)

    await asyncio.gather(plain(), *(client(number) for number in range(8)))
    return seen, faults


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with serving(given.model, ["--no-access-log"]) as server:
        before = spent(server.child.pid)[1]
        seen, faults = asyncio.run(fuzzed(server, given.minutes, given.seed))
        memory = [round(before), round(spent(server.child.pid)[1])]
        if log := server.said():
            faults.append(f"on stderr: {log[:2000]}")
        if server.ended(signal.SIGTERM, 12) != 0:
            faults.append("SIGTERM did not end it")
    print(f"{seen.total():,} answers {dict(sorted(seen.items()))}, memory {memory} MB")
    print(*faults, f"{len(faults)} faults", sep="\n")
    if given.json:
        content = {"arguments": sys.argv[1:], "statuses": dict(sorted(seen.items()))}
        write(given.json, {**content, "memory_mb": memory, "faults": faults})
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
