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

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._head and data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._send)  # for a response without a body
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
    """A protocol that closes connections whose request head is too long or too slow."""

    class Guarded(HttpToolsProtocol):
        _arrived = 0  # bytes of an incomplete head
        _timer: TimerHandle | None = None  # runs until the head is complete

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
            self._timer = self.loop.call_later(seconds, self._late)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._timer = self._timer or self.loop.call_later(seconds, self._late)
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_time()
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD:
                raise ValueError("a long head")  # the parser responds with 400
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._timer is not None:
                self._arrived += len(data)
                if self._arrived > HEAD and not self.transport.is_closing():
                    self.send_400_response("The head of the request is too long.")

        def _late(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response("The head of the request did not arrive.")
            else:
                self.transport.abort()  # a response to the previous request is on its way

        def _in_time(self) -> None:
            self._arrived = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Guarded
