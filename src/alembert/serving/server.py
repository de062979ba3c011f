"""One listening process: uvicorn with limits on request heads, and a graceful shutdown."""

import asyncio
import logging
import selectors
import socket
import sys
import time
from asyncio import TimerHandle, Transport
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from alembert.io.errors import UserError
from alembert.serving.app import app_of
from alembert.serving.service import Limits, Opener, Service

log = logging.getLogger(__name__)

HEAD = 16_384  # bytes of the head of a request
NOTICE = 0.5  # seconds that open connections have for one more request when the server stops
# seconds until a thread that finished a batch gets the interpreter; 5 ms leave cores idle
SWITCH = 0.0005
BLOCKED = 0.0002  # seconds of a select call above which no socket was ready at first
RESPONSE, CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100 "
IDLE = 30  # seconds that a connection may be silent between two requests


def serve(
    openers: Sequence[Opener],
    limits: Limits,
    host: str,
    port: int,
    api_key: str | None = None,
    origins: Sequence[str] = (),
) -> None:
    """Listens until a signal arrives; requests accepted by then are answered.

    Port 0 takes a free port. Raises UserError when a model cannot be opened, or the address is in
    use.
    """
    loop_lag = LoopLag()
    app, service = app_of(
        openers, limits, api_key, origins, failed=lambda: server.leave(), lag=loop_lag.lag
    )
    sockets = [bound(host, port)]
    server = _Server(
        uvicorn.Config(
            app,
            http=_guarded(limits.reading),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE,
            ws="none",
            proxy_headers=False,
        ),
        service,
    )
    # not uvloop, which accepts one connection a turn and so delays bursts
    runner = asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(loop_lag))
    sys.setswitchinterval(SWITCH)
    shown = f"[{host}]" if ":" in host else host
    log.info(f"http://{shown}:{sockets[0].getsockname()[1]} is up; Ctrl+C stops it")
    with runner:
        runner.run(server.serve(sockets))
    if service.failed is not None:
        raise service.failed


class LoopLag(selectors.DefaultSelector):
    """Measures event-loop lag: how long a request may wait before it is read.

    It is the selector of one event loop, and notes when the loop polls its sockets.
    """

    def __init__(self) -> None:
        super().__init__()
        self._since = self._selected = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        start = time.monotonic()
        events = super().select(timeout)
        before, self._selected = self._selected, time.monotonic()
        self._since = self._selected if self._selected - start > BLOCKED else before
        return events

    def lag(self) -> float:
        """The seconds that data read now may have waited."""
        return time.monotonic() - self._since


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to this address. Raises UserError when the address is in use."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        family, kind, protocol, _, address = addresses
        sock = socket.socket(family, kind, protocol)  # named, or asyncio leaves Nagle's delay on
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{host}:{port}: cannot be bound ({reason}): choose another") from error
    return sock


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def leave(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # a second signal does not wait
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.leaving = True  # a response now closes its connection
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + NOTICE
        # closing a connection at once would lose a request on its way
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


class _Joined:
    """A transport that sends the head of a response with its body, in one call and not two."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head = b""
        self.responses = 0  # that were begun

    def write(self, data: bytes) -> None:
        self.responses += data.startswith(RESPONSE) and not data.startswith(CONTINUE)
        if not self._head and data.startswith(RESPONSE):
            self._head = data
            asyncio.get_running_loop().call_soon(self._send)  # for a response without a body
        else:
            head, self._head = self._head, b""
            self._transport.write(head + data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _guarded(seconds: float) -> type[HttpToolsProtocol]:
    """A protocol that closes connections whose request head is too long or too slow.

    It overrides the methods of asyncio.Protocol and the callbacks of httptools, and reads nothing
    of uvicorn's own.
    """

    class Guarded(HttpToolsProtocol):
        _joined: _Joined
        _arrived = 0  # bytes of an incomplete head
        _parsed = 0  # bytes of its URL and headers
        _requests = 0  # whose heads are complete
        _timer: TimerHandle | None = None  # runs until the head is complete

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            self._joined = _Joined(transport)
            super().connection_made(self._joined)  # type: ignore[arg-type]
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._timer is not None:
                self._arrived += len(data)
                if self._arrived > HEAD and not self._joined.is_closing():
                    self._refuse("The head of the request is too long.")

        def on_message_begin(self) -> None:
            self._parsed = 0
            self._wait()
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._parsed += len(url)
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._parsed += len(name) + len(value)
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_time()
            if self._parsed > HEAD:
                raise ValueError("a long head")  # the parser responds with 400
            self._requests += 1
            super().on_headers_complete()

        def _wait(self) -> None:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(seconds, self._late)

        def _late(self) -> None:
            if self._joined.responses == self._requests:
                self._refuse("The head of the request did not arrive.")
            else:
                self._joined.abort()  # a response to the previous request is on its way

        def _in_time(self) -> None:
            self._arrived = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self, reason: str) -> None:
            head = ("HTTP/1.1 400 Bad Request", "content-type: text/plain; charset=utf-8",
                    f"content-length: {len(reason)}", "connection: close")  # fmt: skip
            self._joined.write("\r\n".join((*head, "", reason)).encode())
            self._joined.close()

    return Guarded
