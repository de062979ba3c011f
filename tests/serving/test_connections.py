"""Connections that are hostile: limits on size, time and number, an upgrade, and what is unread."""

import asyncio
import errno
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support.serving import counting, made_up, wait_for

from alembert.serving.app import app_of
from alembert.serving.keys import Keys
from alembert.serving.listening import connections, protocol
from alembert.serving.listening.connections import Connections, Listener, most_connections
from alembert.serving.server import _Server, bound
from alembert.serving.service import Limits

BODY = b'{"inputs": "good film"}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
LENGTH = b"Content-Length: 23\r\n"
PLAIN = HEAD + LENGTH + b"\r\n" + BODY
CLOSING = HEAD + LENGTH + b"Connection: close\r\n\r\n" + BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def listening(
    classifier: Path, limits: Limits | None = None, most: int = 100, keys: Keys | None = None
) -> AsyncIterator[tuple[_Server, Listener]]:
    """A server that answers, on a socket that accepts so many connections."""
    limits = limits or Limits(reading=0.4, grace=1.5)
    app, service = app_of([made_up(classifier, counting)], limits, keys, wait=True)
    listener = bound("127.0.0.1", 0)
    listener.among = Connections(most)
    http = protocol.protocol(limits.reading, listener.among)
    config = uvicorn.Config(app, http=http, lifespan="on", log_config=None, ws="none")
    made = _Server(config, service)
    task = asyncio.create_task(made._serve([listener]))
    await wait_for(lambda: made.started)
    yield made, listener
    made.should_exit = True
    await asyncio.wait_for(task, 10)


async def said(
    listener: Listener, *pieces: bytes, pause: float = 0.02, drip: bool = False
) -> tuple[list[int], bytes, float]:
    """The statuses that come back, all bytes, and the seconds until the server hangs up.

    With drip the last piece is sent again and again.
    """
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    began = time.monotonic()

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        while drip:
            writer.write(pieces[-1])
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    found = b""
    with suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(2**16), 8):
            found += piece
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.transport.abort()
    parts = found.split(b"HTTP/1.1 ")[1:]
    return [int(part[:3]) for part in parts], found, time.monotonic() - began


def answers(
    classifier: Path,
    *pieces: bytes,
    limits: Limits | None = None,
    keys: Keys | None = None,
    **how: Any,
) -> tuple[list[int], bytes, float]:
    async def run() -> tuple[list[int], bytes, float]:
        async with listening(classifier, limits, keys=keys) as (_, listener):
            return await said(listener, *pieces, **how)

    return asyncio.run(run())


GET = b"GET /health HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        GET + b"X-A: b\r\n" * 2100 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"X: " + b"a" * 20_000,
        CHUNKED + b"0\r\n" + b"X-A: b\r\n" * 2100,
    ],
    ids=["header", "headers", "path", "unfinished", "trailers"],
)
def test_a_head_over_16_kib_is_431(classifier: Path, head: bytes) -> None:
    statuses, found, _ = answers(classifier, head)
    assert statuses == [431]
    told = json.loads(found.partition(b"\r\n\r\n")[2])
    assert told == {
        "error": "the head of the request is over 16,384 bytes", "error_type": "HeadTooLarge",
    }  # fmt: skip


def test_small_requests_in_one_piece_of_over_16_kib_are_no_long_head(classifier: Path) -> None:
    many = (GET + b"X: " + b"a" * 400 + b"\r\n\r\n") * 60
    statuses, _, _ = answers(classifier, many + CLOSING[:60], CLOSING[60:])
    assert statuses == [200] * 61


def test_a_connection_has_64_requests_at_once_and_the_next_is_429(classifier: Path) -> None:
    statuses, found, _ = answers(classifier, (GET + b"\r\n") * 3000)
    assert statuses == [200] * 64 + [429]
    assert b"retry-after: 1" in found
    assert b"at most 64 requests of a connection" in found


BODIES = b" HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"


@pytest.mark.clock
@pytest.mark.parametrize(
    ("pieces", "right"),
    [
        ((b"",), []),
        ((b"\r\n",), []),
        ((PLAIN, b"\r\n"), [200]),
        ((HEAD, b"X: y\r\n"), [408]),
        ((PLAIN + HEAD, b"X: y\r\n"), [200, 408]),
        ((HEAD + LENGTH + b"\r\n", b"["), [408]),
        ((CHUNKED, b"1\r\n[\r\n"), [408]),
        ((CHUNKED + b"1", b";x=y"), [408]),
        ((CHUNKED + b"0\r\n", b"X: y\r\n"), [408]),
        ((b"POST /nowhere" + BODIES, b"["), [404]),
        ((b"PUT /predict" + BODIES, b"["), [405]),
        ((b"POST /embed" + BODIES, b"["), [424]),
        ((b"POST /models/none/predict" + BODIES, b"["), [404]),
        ((b"GET /health" + BODIES, b"["), [200]),
        (
            (HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 99\r\n\r\n", b"["),
            [408],
        ),
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_hung_up_on(
    classifier: Path, pieces: tuple[bytes, ...], right: list[int]
) -> None:
    statuses, _, seconds = answers(classifier, *pieces, drip=True, pause=0.05)
    assert statuses == right
    assert 0.3 < seconds < 1.5


@pytest.mark.parametrize("name", ["h2c", "H2C", "websocket", "h2c, foo"])
@pytest.mark.parametrize("cuts", [(), (150,), (20, 200)])
def test_a_body_beside_an_offer_to_upgrade_is_read(
    classifier: Path, name: str, cuts: Sequence[int]
) -> None:
    offer = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {name}\r\n"
    offer += "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    content = HEAD + offer.encode() + LENGTH + b"\r\n" + BODY + CLOSING
    ends = [0, *cuts, len(content)]
    pieces = [content[a:b] for a, b in pairwise(ends)]
    statuses, found, _ = answers(classifier, *pieces)
    assert statuses == [200, 200]
    first, second = (part.partition(b"\r\n\r\n")[2] for part in found.split(b"HTTP/1.1 ")[1:])
    assert json.loads(first) == json.loads(second)


def test_trailers_are_no_headers(classifier: Path) -> None:
    key = b"Authorization: Bearer secret\r\n"
    body = b"17\r\n%b\r\n0\r\n%b\r\n"
    asked = CHUNKED + body % (BODY, key) + CHUNKED.replace(b"\r\n\r\n", b"\r\n" + key + b"\r\n")
    asked += body % (BODY, b"") + CLOSING
    statuses, _, _ = answers(classifier, asked, keys=Keys("secret"))
    assert statuses == [401, 200, 401]


@pytest.mark.parametrize(
    "wrong", [b"\x00\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"GET\r\n\r\n"]
)
def test_a_refusal_comes_after_the_answers_to_what_was_right(
    classifier: Path, wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("uvicorn.error", "uvicorn.access"):  # whatever a test before has set
        caplog.set_level(logging.WARNING, name)
    statuses, found, _ = answers(classifier, PLAIN + PLAIN + wrong + PLAIN)
    assert statuses == [200, 200, 400]
    assert b'"error_type":"BadRequest"' in found
    assert [each for each in caplog.records if each.name.startswith("uvicorn")] == []


def test_a_client_that_is_refused_while_it_sends_reads_why(classifier: Path) -> None:
    large = HEAD + b"Content-Length: 9000000\r\n\r\n" + b"[" * 3_000_000
    statuses, found, _ = answers(classifier, large, limits=Limits())
    assert statuses == [413]
    assert b"the body is over 2,000,000 bytes" in found


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"POST /predict HTTP/1.1\r\n" + LENGTH, b"one Host header"),
        (HEAD + b"Host: b\r\n" + LENGTH, b"one Host header"),
        (b"POST /predict HTTP/2.0\r\nHost: a\r\n" + LENGTH, b"no request of HTTP/1.1"),
        (b"POST /predict HTTP/0.9\r\nHost: a\r\n" + LENGTH, b"no request of HTTP/1.1"),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n", b"no Transfer-Encoding is read but"),
        (HEAD + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", b"but chunked"),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(
    classifier: Path, head: bytes, says: bytes
) -> None:
    body = b"17\r\n%b\r\n0\r\n\r\n" % BODY if b"chunked" in head else BODY
    statuses, found, _ = answers(classifier, head + b"\r\n" + body + CLOSING)
    assert statuses == [400]
    assert says in found


@pytest.mark.parametrize(("version", "statuses"), [(b"1.0", [200]), (b"1.1", [100, 200])])
def test_only_a_client_of_http_1_1_is_told_to_go_on(
    classifier: Path, version: bytes, statuses: list[int]
) -> None:
    head = HEAD.replace(b"1.1", version) + LENGTH + b"Expect: 100-continue\r\n"
    asked = head + b"Connection: close\r\n\r\n"
    assert answers(classifier, asked, BODY)[0] == statuses


def test_a_slash_at_the_end_names_no_host(classifier: Path) -> None:
    asked = b"GET /health/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    statuses, found, _ = answers(classifier, asked)
    assert statuses == [200]
    assert b"evil" not in found


async def unread(listener: Listener, count: int = 40) -> socket.socket:
    """A connection whose client asks for much and takes nothing."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, listener.getsockname())
    body = json.dumps({"inputs": ["a b " * 30] * 32}).encode()  # its answer is 0.1 MB
    head = b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(count):
        await loop.sock_sendall(line, head + body)
    return line


def held(made: _Server) -> list[Any]:
    """The connections whose answers wait for their clients."""
    return [each for each in made.server_state.connections if each.flow.write_paused]


def test_who_takes_no_answer_is_hung_up_on(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "TAKING", 0.3)

    async def run() -> None:
        async with listening(classifier) as (made, listener):
            line = await unread(listener)
            await wait_for(lambda: bool(held(made)))
            await wait_for(lambda: not made.server_state.connections)
            line.close()

    asyncio.run(run())


def test_of_too_many_unread_answers_the_first_go(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD", 150_000)  # more than one has, less than two

    async def run() -> None:
        async with listening(classifier) as (made, listener):
            first = await unread(listener)
            await wait_for(lambda: bool(held(made)))
            (before,) = held(made)
            second = await unread(listener)
            await wait_for(lambda: bool(held(made)) and before not in held(made))
            assert len(made.server_state.connections) == 1
            first.close()
            second.close()

    asyncio.run(run())


@pytest.mark.clock
@pytest.mark.parametrize("twice", [False, True])
def test_it_ends_in_the_grace_time_whatever_is_unread(classifier: Path, twice: bool) -> None:
    async def run() -> float:
        limits = Limits(grace=20 if twice else 2)
        async with listening(classifier, limits) as (made, listener):
            lines = [await unread(listener) for _ in range(3)]
            await wait_for(lambda: len(held(made)) == 3)
            began = time.monotonic()
            made.handle_exit(15, None)
            if twice:
                made.handle_exit(15, None)
            await wait_for(lambda: not made.server_state.connections)
            for line in lines:
                line.close()
            return time.monotonic() - began

    seconds = asyncio.run(run())
    assert seconds < 0.5 if twice else 0.8 < seconds < 1.7


def test_where_there_is_no_room_the_one_goes_that_has_waited_longest(
    classifier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> list[int]:
        async with listening(classifier, Limits(), most=5) as (made, listener):
            good = await asyncio.open_connection(*listener.getsockname())
            idle = []
            for _ in range(30):
                idle.append(await asyncio.open_connection(*listener.getsockname()))
                good[1].write(PLAIN)  # never the one that has waited longest
                assert (await good[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                await good[0].readuntil(b"]")
            gone = [await asyncio.wait_for(reader.read(), 5) for reader, _ in idle[:26]]
            assert gone == [b""] * 26
            assert len(made.server_state.connections) == listener.among.count == 5
            statuses, _, _ = await said(listener, CLOSING)
            for _, writer in (good, *idle):
                writer.close()
            return statuses

    assert asyncio.run(run()) == [200]
    told = [each.getMessage() for each in caplog.records if "connections" in each.name]
    assert told == [
        "5 connections are open, the most that may be: 1 closed or refused; see the limit of "
        "open files"
    ]


def test_a_burst_of_silent_connections_closes_none_between_two_requests(classifier: Path) -> None:
    async def run() -> list[bytes]:
        async with listening(classifier, Limits(), most=5) as (_, listener):
            good = await asyncio.open_connection(*listener.getsockname())
            found, burst = [], []
            for _ in range(4):
                good[1].write(PLAIN)
                found.append((await good[0].readuntil(b"\r\n\r\n"))[:12])
                await good[0].readuntil(b"]")
                # the loop, which is held up meanwhile, accepts all of these in one turn
                burst += [socket.create_connection(listener.getsockname()) for _ in range(20)]
            good[1].close()
            for each in burst:
                each.close()
            return found

    assert asyncio.run(run()) == [b"HTTP/1.1 200"] * 4


def test_where_all_are_being_answered_another_is_503(classifier: Path) -> None:
    async def run() -> bytes:
        async with listening(classifier, Limits(), most=1) as (made, listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            await wait_for(lambda: bool(made.server_state.connections))
            (one,) = made.server_state.connections
            listener.among.works(one._plain)  # as if its request had arrived
            _, found, _ = await said(listener)
            writer.close()
            return found

    found = asyncio.run(run())
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"at most 1 connections at once" in found


@pytest.mark.clock
def test_without_files_accepting_rests_and_is_told_once(
    classifier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def exhausted(self: socket.socket) -> Any:
        calls.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    async def run() -> list[int]:
        asyncio.get_running_loop().set_exception_handler(connections.without_files)
        async with listening(classifier, Limits()) as (_, listener):
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "accept", exhausted)
                asking = asyncio.create_task(said(listener, CLOSING))
                await wait_for(lambda: bool(calls))
                await asyncio.sleep(0.3)
                assert len(calls) == 1
            return (await asking)[0]

    assert asyncio.run(run()) == [200]
    told = [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]
    assert [each.name for each in told] == ["alembert.serving.listening.connections"]
    assert "Too many open files" in told[0].getMessage()


def test_connections_stay_below_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((1024, 924), (64, 32), (2**20, 8192), (-1, 8192)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda _, n=files: (n, n))
        assert most_connections() == most
