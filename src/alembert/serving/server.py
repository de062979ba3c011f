"""One process that listens: uvicorn, its doors guarded; a stop answers what was accepted."""

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
# seconds until a thread whose batch is done gets the interpreter: at Python's 5 ms cores stand idle
SWITCH = 0.0005
BLOCKED = 0.0002  # seconds: a look at the sockets that takes longer found none ready at first
IDLE = 30  # seconds that a connection may be silent between two requests


def serve(
    openers: Sequence[Opener],
    limits: Limits,
    host: str,
    port: int,
    api_key: str | None = None,
    origins: Sequence[str] = (),
) -> None:
    """Listen until a signal says to stop; what was accepted by then is answered.

    Port 0 takes one that is free. Raises UserError where a model cannot be opened, or the address
    be taken.
    """
    turns = Turns()
    app, service = app_of(
        openers, limits, api_key, origins, failed=lambda: server.leave(), lag=turns.lag
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
    # not uvloop: it takes in one connection a turn, and rushes wait
    runner = asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns))
    sys.setswitchinterval(SWITCH)
    shown = f"[{host}]" if ":" in host else host
    log.info(f"http://{shown}:{sockets[0].getsockname()[1]} is up; Ctrl+C stops it")
    with runner:
        runner.run(server.serve(sockets))
    if service.failed is not None:
        raise service.failed


class Turns(selectors.DefaultSelector):
    """How far an event loop is behind: in a rush, requests wait for its turns before they are read.

    It notes when the loop looks at its sockets. One for each event loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._since = self._looked = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        began = time.monotonic()
        found = super().select(timeout)
        before, self._looked = self._looked, time.monotonic()
        self._since = self._looked if self._looked - began > BLOCKED else before
        return found

    def lag(self) -> float:
        """Seconds for which what is read now may have waited."""
        return time.monotonic() - self._since


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, nobody listening yet. Raises UserError where it is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        family, kind, protocol, _, address = found
        made = socket.socket(family, kind, protocol)  # named, or asyncio leaves Nagle's delay on
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{host}:{port}: cannot be taken ({reason}): choose another") from error
    return made


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def leave(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.leaving = True  # an answer now closes its connection
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + NOTICE
        # closed at once, a connection would lose the request that is on its way
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


class _Joined:
    """A transport that sends the head of an answer together with its body: one call, not two."""

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._head and data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._send)  # where no body comes
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
    """A protocol that hangs up on those who send a head that is long, or slow."""

    class Guarded(HttpToolsProtocol):
        _arrived = 0  # bytes of a head that is not whole
        _timer: TimerHandle | None = None  # runs until it is

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
                raise ValueError("a long head")  # the parser answers with 400
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
                self.transport.abort()  # an answer to the request before is on its way

        def _in_time(self) -> None:
            self._arrived = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Guarded
