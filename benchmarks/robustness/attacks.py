"""Attacks on `alembert serve`: how many of each were tried, and which did not hold.

    python -m benchmarks.robustness.attacks MODEL [--only NAME ...] [--json FILE]

Each attack has a server of its own, as a process. MODEL is an exported classifier. Exits with 1
when an attack got through.
"""

import asyncio
import os
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.lab.results import arguments, machine, write
from benchmarks.lab.workers import spent
from benchmarks.robustness.wire import (
    BODY,
    PLAIN,
    Server,
    post,
    said,
    serving,
    status,
    statuses,
)  # fmt: skip

GRACE = 10.0  # seconds: the 8 of --grace, and the start and end of Python
LATE = 13.0  # seconds: the 10 in which a request has to arrive, and what closing takes
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
LARGE = {"inputs": ["a b c d " * 125] * 32}  # an answer of /tokenize of 1 MB
MEGABYTE = post("/tokenize", LARGE).replace(b"Connection: close\r\n", b"")
Found = tuple[int, list[str]]  # how many attacks were tried, those that got through
OPEN: list[socket.socket] = []  # kept from being collected, which would close them


async def opened(port: int, content: bytes = b"") -> None:
    """A connection that is left alone after these bytes: nothing that comes is read."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    OPEN.append(line)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, ("127.0.0.1", port))
    with suppress(TimeoutError):
        await asyncio.wait_for(loop.sock_sendall(line, content), 1)


CLIENTS: dict[str, bytes] = {
    "unread answers": MEGABYTE * 6,  # the system takes about 3 MB, and the server has the rest
    "unread last answers": MEGABYTE * 6 + post("/tokenize", LARGE),
    "unread small answers": PLAIN * 20_000,
    "silent connections": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 25\r\n\r\n{",
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{",
}


def stopping(*signs: signal.Signals, within: float) -> Callable[[str], Found]:
    def attack(model: str) -> Found:
        wrong = []
        for name, content in CLIENTS.items():
            with serving(model, ["--no-access-log"]) as server:

                async def hold(server: Server = server, content: bytes = content) -> int | None:
                    for _ in range(3):
                        await opened(server.port, content)
                    await asyncio.sleep(1.5)
                    for sign in signs[:-1]:
                        server.ended(sign, 0.3)
                    return await asyncio.to_thread(server.ended, signs[-1], within)

                code = asyncio.run(hold())
                if code and code != -signs[-1] * (len(signs) > 1):  # its end was on its way
                    wrong.append(f"{name}: exit code {code}")
                elif code is None:
                    wrong.append(f"{name}: not ended after {within:g} s")
                if "Traceback" in server.said():
                    wrong.append(f"{name}: a stack trace")
        return len(CLIENTS), wrong

    return attack


def crowd(content: bytes) -> Callable[[str], Found]:
    """600 connections against a limit of 200 files, while a good client asks 50 times."""

    def attack(model: str) -> Found:
        with serving(model, ["--no-access-log"], files=200) as server:

            async def press() -> list[int]:
                for _ in range(600):
                    with suppress(OSError):
                        await opened(server.port, content)
                found = []
                for _ in range(50):
                    with suppress(OSError, TimeoutError):
                        found.append(status(await said(server.port, post("/predict",
                            {"inputs": "a"}), within=2)))  # fmt: skip
                return found

            good = asyncio.run(press())
            wrong = [] if good == [200] * 50 else [f"of 50 good requests {good.count(200)} got 200"]
            before = spent(server.child.pid)[0]
            time.sleep(2)
            if (busy := spent(server.child.pid)[0] - before) > 0.5:
                wrong.append(f"{busy:.1f} s of CPU in 2 idle seconds")
            if len(server.said()) > 2000:
                wrong.append(f"{len(server.said()):,} bytes of log")
        return 600, wrong

    return attack


SLOW: dict[str, tuple[bytes, ...]] = {
    "silent": (b"",),
    "blank lines": (b"\r\n",),
    "blank lines after an answer": (PLAIN, b"\r\n"),
    "slow head": (HEAD, b"X: y\r\n"),
    "slow name of a header": (HEAD, b"X"),
    "slow second head": (PLAIN + HEAD, b"X: y\r\n"),
    "slow body": (HEAD + b"Content-Length: 9000\r\n\r\n", b"["),
    "slow chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n"),
    "slow extension of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1", b";x=y"),
    "slow trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "body without its last byte": (HEAD + b"Content-Length: 26\r\n\r\n" + BODY,),
    "Expect, then nothing": (HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",),
    "body to h2c": (HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 99\r\n\r\n",
                    b"["),
} | {
    f"slow body to {name}": (
        line + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n", b"[",
    )
    for name, line in {
        "404": b"POST /nowhere", "405": b"PUT /predict", "424": b"POST /embed",
        "no such model": b"POST /models/none/predict", "GET": b"GET /health",
        "GET of nothing": b"GET /nowhere", "/metrics": b"GET /metrics", "HEAD": b"HEAD /",
        "attentions": b"POST /attentions", "a path with a slash": b"POST /predict/",
    }.items()
}  # fmt: skip


def slow(model: str) -> Found:
    """Senders that never come to an end, all at once."""
    with serving(model, ["--no-access-log"]) as server:

        async def one(name: str, pieces: tuple[bytes, ...]) -> str:
            began = time.monotonic()
            more = (*pieces, b"")[: max(2, len(pieces))]
            try:
                await said(server.port, *more, pause=0.5, within=LATE + 8)
            except TimeoutError:
                return f"{name}: never hung up on"
            seconds = time.monotonic() - began
            return f"{name}: {seconds:.0f} s" if seconds > LATE else ""

        async def all_of_them() -> list[str]:
            return await asyncio.gather(*(one(*each) for each in SLOW.items()))

        return len(SLOW), [each for each in asyncio.run(all_of_them()) if each]


def unread(model: str) -> Found:
    """Clients that take nothing of their large answers are hung up on, and memory comes back."""
    with serving(model, ["--no-access-log", "--max-requests", "64"]) as server:
        folder = Path(f"/proc/{server.child.pid}/fd")

        async def hold() -> int:
            for _ in range(10):
                await opened(server.port, CLIENTS["unread answers"])
            for _ in range(90):
                await asyncio.sleep(1)
                if (held := len(list(folder.iterdir())) - before) <= 2:
                    break
            return held

        before = len(list(folder.iterdir()))
        if (held := asyncio.run(hold())) > 2:
            return 10, [f"{held} of 10 connections held after 90 s"]
        return 10, []


UPGRADES = ("h2c", "H2C", "websocket", "h2c, websocket", "TLS/1.2", "foo")


def upgrades(model: str) -> Found:
    """A body beside `Upgrade` is answered, whole, in pieces, and followed by another request."""
    wrong = []
    with serving(model, ["--no-access-log"]) as server:
        for name in UPGRADES:
            offer = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {name}\r\n".encode()
            offer += b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
            first = PLAIN.replace(b"Host: a\r\n", b"Host: a\r\n" + offer)
            cut = first.index(b"\r\n\r\n") + 4
            last = post("/predict", {"inputs": "b"})
            for pieces in ((first + last,), (first[:cut], first[cut:], last), (first, last)):

                async def ask(pieces: tuple[bytes, ...] = pieces) -> bytes:
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    for piece in pieces:
                        writer.write(piece)
                        await asyncio.sleep(0.05)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(5):
                            return await reader.read()
                    return b""

                if (found := statuses(asyncio.run(ask()))) != [200, 200]:
                    wrong.append(f"{name} in {len(pieces)} pieces: {found}")
    return 3 * len(UPGRADES), wrong


def starved(model: str) -> Found:
    """8 requests of 32 texts of 512 tokens, then 58 short ones, one after another."""
    giant = post("/predict", {"inputs": ["good " * 600] * 32, "truncate": True})
    with serving(model, ["--no-access-log"]) as server:

        async def press() -> tuple[list[bytes], list[float]]:
            many = [said(server.port, giant, within=300) for _ in range(8)]
            giants = [asyncio.create_task(each) for each in many]
            await asyncio.sleep(0.3)
            seconds = []
            for _ in range(58):
                began = time.monotonic()
                answer = await said(server.port, post("/predict", {"inputs": "a"}), within=60)
                spell = time.monotonic() - began
                seconds.append(spell if status(answer) == 200 else 60.0)
            return await asyncio.gather(*giants), seconds

        giants, seconds = asyncio.run(press())
    late = sum(each > 0.5 for each in seconds)
    told = f"p50 {statistics.median(seconds):.3f} s, slowest {max(seconds):.2f} s"
    wrong = [f"{late} of 58 short requests starved: {told}"] if late else []
    if unknown := {status(each) for each in giants} - {200, 429}:
        wrong.append(f"giants got {unknown}")
    print(f"  short beside giants: {told}; giants {[status(each) for each in giants]}")
    return 66, wrong


def heads() -> dict[str, tuple[bytes, int, bytes]]:
    """Name: (bytes, the status that is right, what is in the answer)."""
    end = b"Connection: close\r\n\r\n"
    ask = b"GET /health HTTP/1.1\r\nHost: a\r\n"
    return {
        "one header of 20 KB": (ask + b"X: " + b"a" * 20_000 + b"\r\n" + end, 431, b"16,384"),
        "one header of 200 KB": (ask + b"X: " + b"a" * 200_000 + b"\r\n" + end, 431, b"16,384"),
        "3000 headers": (ask + b"X: y\r\n" * 3000 + end, 431, b"16,384"),
        "a path of 20 KB": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + end, 431, b"16,384"),
        "trailers of 20 KB": (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 4000, 431, b"16,384",
        ),
        "a slash at the end": (
            b"GET /health/ HTTP/1.1\r\nHost: evil.example\r\n" + end, 200, b"ok",
        ),
        "two slashes": (b"GET //evil.example/ HTTP/1.1\r\nHost: a\r\n" + end, 404, b"error"),
        "no HTTP": (b"hello\r\n\r\n", 400, b"error_type"),
        "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, b"error_type"),
        "no Host": (b"GET /health HTTP/1.1\r\n" + end, 400, b"one Host"),
        "two Hosts": (ask + b"Host: b\r\n" + end, 400, b"one Host"),
        "HTTP/2.0 in one line": (b"GET /health HTTP/2.0\r\nHost: a\r\n" + end, 400, b"HTTP/1.1"),
        "gzip, chunked": (
            HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, b"but chunked",
        ),
        "a packed body": (
            post("/predict", {"inputs": "a"}, "Content-Encoding: gzip"), 415, b"as it is",
        ),
        "Expect of HTTP/1.0": (
            b"POST /predict HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 25\r\n\r\n" + BODY,
            200, b"score",
        ),
        "a byte order mark": (
            HEAD + b"Connection: close\r\nContent-Length: 28\r\n\r\n\xef\xbb\xbf" + BODY,
            422, b"byte order mark",
        ),
        "a pair of three": (post("/predict", {"inputs": [["a", "b", "c"]]}), 422, b"pairs"),
        "no such route": (post("/nowhere", 1), 404, b"openapi.json"),
        "another method": (post("/health", 1), 405, b"GET, HEAD"),
        "broken JSON": (post("/predict", 1)[:-1] + b"{", 422, b'"Json"'),
        "no such field": (post("/predict", {"inputs": "a", "x": 1}), 422, b'"Validation"'),
        "an empty text": (post("/predict", {"inputs": " "}), 422, b'"Validation"'),
        "an empty list": (post("/predict", {"inputs": []}), 422, b'"Empty"'),
        "3 MB": (post("/predict", {"inputs": "a" * 3_000_000}), 413, b"2,000,000"),
        "33 texts": (post("/predict", {"inputs": ["a"] * 33}), 413, b"32"),
        "two lengths": (
            HEAD + b"Content-Length: 25\r\nContent-Length: 5\r\n\r\n" + BODY, 400, b"error",
        ),
        "length and chunks": (
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400, b"error",
        ),
        "chunked, hidden": (
            HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, b"error",
        ),
        "a folded header": (ask + b"X: a\r\n b\r\n" + end, 400, b"error"),
        "a bare line feed": (ask + b"X: a\n" + end, 400, b"error"),
    }  # fmt: skip


def heads_and_bodies(model: str) -> Found:
    wrong = []
    with serving(model, ["--no-access-log"]) as server:
        for name, (content, right, words) in heads().items():
            answer = b""
            with suppress(TimeoutError):
                answer = asyncio.run(said(server.port, content, within=5))
            if status(answer) != right or words not in answer or b"evil" in answer:
                wrong.append(f"{name}: {status(answer)}, not {right} with {words.decode()}")
    return len(heads()), wrong


def flood(model: str) -> Found:
    """5,000 connections with nonsense leave no log behind."""
    with serving(model, ["--no-access-log"]) as server:

        async def press() -> None:
            for _ in range(500):
                await asyncio.gather(*(said(server.port, b"\x00 /\r\n\r\n") for _ in range(10)))

        asyncio.run(press())
        size = len(server.said())
    return 5000, [f"{size:,} bytes of log"] if size > 1000 else []


def loading(model: str) -> Found:
    """Models that cannot be loaded: said in a line, and the process ends with 1."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cut", "zeros", "gone"):
            copy = Path(folder, name)
            shutil.copytree(model, copy)
            for graph in (copy / "onnx").glob("*.onnx"):
                size = graph.stat().st_size
                if name == "zeros":
                    graph.write_bytes(b"\0" * size)
                elif name == "cut":
                    os.truncate(graph, size // 2)
                else:
                    graph.unlink()
            with serving(str(copy), wait=False) as server:

                async def hold(server: Server = server) -> None:
                    for _ in range(100):
                        with suppress(OSError):
                            return await opened(server.port, PLAIN)
                        await asyncio.sleep(0.05)

                asyncio.run(hold())  # a client that waits does not hold it up
                with suppress(Exception):
                    server.child.wait(15)
                told, code = server.log.read_text().strip().splitlines(), server.child.poll()
                if code not in ((1, 2) if name == "gone" else (1,)) or "alembert: " not in told[-1]:
                    wrong.append(f"{name}: exit code {code}, said {told[-1:]}")
    return 3, wrong


def keys(model: str) -> Found:
    """Keys of a file: named, never logged, read anew; each has a rate; `bearer` in any case."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys")
        file.write_text("ann first-secret\nbob second-secret 60\n")
        with serving(model, ["--api-keys", str(file), "--rate", "600"]) as server:

            def ask(header: str) -> bytes:
                headers = [header] if header else []
                asked = post("/predict", {"inputs": "a"}, *headers)
                with suppress(TimeoutError):
                    return asyncio.run(said(server.port, asked))
                return b""

            def expect(header: str, *right: int) -> bytes:
                answer = ask(header)
                if status(answer) not in right:
                    wrong.append(f"{header or 'no key'}: {status(answer)}, not {right}")
                return answer

            for word in ("Bearer", "bearer", "BEARER", "bEaReR"):
                expect(f"Authorization: {word} first-secret", 200)
            for header in ("", "Authorization: Bearer", "Authorization: Bearer first-secre",
                           "Authorization: Bearer first-secrett", "Authorization: first-secret",
                           "Authorization: Basic first-secret", "Authorization: Bearer ann",
                           "Authorization: Bearer \xe9"):  # fmt: skip
                expect(header, 401)
            found = [ask("Authorization: Bearer second-secret") for _ in range(70)]
            refused = [each for each in found if status(each) == 429]
            if not 5 <= len(refused) <= 10:
                wrong.append(f"{len(refused)} of 70 requests over a rate of 60 were refused")
            if not all(b"60" in each and b"etry-" in each for each in refused):
                wrong.append("a refusal does not say the rate and when to come again")
            expect("Authorization: Bearer first-secret", 200)
            file.write_text("ann other-secret\n")
            time.sleep(1.5)
            expect("Authorization: Bearer other-secret", 200)
            expect("Authorization: Bearer first-secret", 401)
            file.write_text("ann\n")  # a mistake: the keys of before stay
            time.sleep(1.5)
            expect("Authorization: Bearer other-secret", 200)
            file.unlink()
            os.mkfifo(file)  # nobody writes to it
            time.sleep(1.5)
            expect("Authorization: Bearer other-secret", 200)
            log = server.log.read_text(errors="replace")
            if "secret" in log:
                wrong.append("a key is in the log")
            if '"key": "bob"' not in log:
                wrong.append("the name of a key is not in the log")
    return 91, wrong


def untaken(model: str) -> Found:
    """1,000 requests each to servers whose log is a full disk, a closed or an unread pipe."""
    wrong = []
    for name in ("full", "closed", "unread"):
        begin, end = os.pipe()
        if name == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), end)
        if name == "closed":
            os.close(begin)

        async def ask(port: int) -> int:
            asks = PLAIN * 9 + post("/predict", {"inputs": "a"})
            found = [await said(port, asks) for _ in range(100)]
            return sum(len(statuses(each)) for each in found)

        with serving(model, stdout=end) as server:
            os.close(end)
            try:
                answered = asyncio.run(ask(server.port))
            except TimeoutError:
                answered = 0
            if answered != 1000:
                wrong.append(f"{name}: {answered} of 1,000 requests were answered")
            if len(server.said()) > 300:
                wrong.append(f"{name}: {len(server.said()):,} bytes on stderr")
            if server.ended(signal.SIGTERM, GRACE) != 0:
                wrong.append(f"{name}: not ended after SIGTERM")
    return 3000, wrong


TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
ATTACKS: dict[str, Callable[[str], Found]] = {
    "SIGTERM while clients hold on": stopping(TERM, within=GRACE),
    "SIGHUP while clients hold on": stopping(HUP, within=GRACE),
    "SIGINT while clients hold on": stopping(INT, within=GRACE),
    "SIGTERM twice while clients hold on": stopping(TERM, TERM, within=2),
    "three times the file limit, silent": crowd(b""),
    "three times the file limit, half a head": crowd(HEAD),
    "three times the file limit, after an answer": crowd(PLAIN),
    "requests that never end": slow,
    "answers of megabytes that nobody reads": unread,
    "bodies beside an offer to upgrade": upgrades,
    "giant requests beside short ones": starved,
    "heads and bodies with one right answer": heads_and_bodies,
    "nonsense, and what is logged": flood,
    "models that cannot be loaded": loading,
    "keys and rates": keys,
    "logs that nobody takes": untaken,
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--only", nargs="*", choices=list(ATTACKS), default=list(ATTACKS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name in given.only:
        began = time.monotonic()
        tried, wrong = ATTACKS[name](given.model)
        seconds = round(time.monotonic() - began, 1)
        rows.append({"attack": name, "tried": tried, "seconds": seconds, "got through": wrong})
        print(f"| {name} | {tried} | {'; '.join(wrong) or 'nothing'} |", flush=True)
    if given.json:
        write(given.json, {"arguments": sys.argv[1:], **machine(), "rows": rows})
    sys.exit(any(row["got through"] for row in rows))


if __name__ == "__main__":
    main()
