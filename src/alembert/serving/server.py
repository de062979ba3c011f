"""One listening process: uvicorn on guarded connections, and a shutdown that comes to an end."""

import asyncio
import logging
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import uvicorn

from alembert.io.errors import UserError
from alembert.serving.app import app_of
from alembert.serving.keys import Keys
from alembert.serving.listening.connections import (
    Connections,
    Listener,
    most_connections,
    without_files,
)
from alembert.serving.listening.protocol import protocol
from alembert.serving.service import Limits, Opener, Service

log = logging.getLogger(__name__)

NOTICE = 0.5  # seconds that open connections have for one more request when the server stops
# seconds until a thread that finished a batch gets the interpreter; 5 ms leave cores idle
SWITCH = 0.0005
BLOCKED = 0.0002  # seconds of a select call above which no socket was ready at first
LAST = 1.0  # seconds of the grace time in which the process ends, its connections being cut
IDLE = 30  # seconds that a connection may be silent between two requests


def serve(
    openers: Sequence[Opener],
    limits: Limits,
    host: str,
    port: int,
    keys: Keys | None = None,
    origins: Sequence[str] = (),
    open_metrics: bool = True,
) -> None:
    """Listens until a signal arrives; requests accepted by then are answered in the grace time.

    Port 0 takes a free port. Raises UserError when the address is in use, and LoadError when a
    model cannot be opened.
    """
    loop_lag = LoopLag()
    app, service = app_of(
        openers, limits, keys, origins, failed=lambda: server.leave(), lag=loop_lag.lag,
        open_metrics=open_metrics,
    )  # fmt: skip
    listener = bound(host, port)
    listener.among = Connections(most_connections())
    server = _Server(
        uvicorn.Config(
            app,
            http=protocol(limits.reading, listener.among),
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
    log.info(f"http://{shown}:{listener.getsockname()[1]} is up; Ctrl+C stops it")
    if keys is not None and open_metrics:
        log.info("/metrics is answered without a key; --closed-metrics asks for one")
    with runner:
        runner.get_loop().set_exception_handler(without_files)
        runner.run(server.serve([listener]))
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


def bound(host: str, port: int) -> Listener:
    """A socket bound to this address. Raises UserError when it is in use, or none."""
    if not 0 <= port < 65536:  # getaddrinfo would take it for another
        raise UserError(f"{host}:{port}: a port is 0 to 65535; 0 takes a free one")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        family, kind, number, _, address = addresses
        sock = Listener(family, kind, number)  # named, or asyncio leaves Nagle's delay on
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, UnicodeError) as error:  # a name that is too long, or has odd characters
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{host}:{port}: cannot be bound ({reason}): choose another") from error
    return sock


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def leave(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        hangup = getattr(signal, "SIGHUP", None)
        main = threading.current_thread() is threading.main_thread()
        if hangup is None or not main or signal.getsignal(hangup) is signal.SIG_IGN:  # nohup
            with super().capture_signals():
                yield
            return
        before = signal.signal(hangup, self.handle_exit)
        with super().capture_signals():
            yield
        signal.signal(hangup, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # a second signal does not wait
        self._service.hurried = self.force_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.leaving = True  # a response now closes its connection
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        cutting = loop.create_task(self._cut(loop.time() + self._service.limits.grace - LAST))
        end = loop.time() + NOTICE
        # closing a connection at once would lose a request on its way
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)
        cutting.cancel()

    async def _cut(self, end: float) -> None:
        """Aborts what is open at the end of the grace time, or at once after a second signal."""
        loop = asyncio.get_running_loop()
        while loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.05)
        if connections := list(self.server_state.connections):
            log.warning(f"{len(connections)} connections were cut: their clients held on to them")
        for connection in connections:
            connection.transport.abort()
