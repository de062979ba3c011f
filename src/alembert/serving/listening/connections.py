"""All connections of a server: how many may be open, and which is closed where there is no room."""

import errno
import logging
import socket
import sys
import time
from asyncio import AbstractEventLoop, Transport
from contextlib import suppress
from typing import Any

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

MOST = 8192  # connections, of about 10 KB each
RESERVE = 100  # files of the process that are no connections
SPARE = 32  # connections that may come in while those that were closed come to their end
UNREAD = 64_000_000  # bytes of answers that wait for their clients
QUIET = 60.0  # seconds between two lines of the log
REST = 0.9  # seconds: asyncio accepts again after one
BEGINNING = 0.02  # seconds that an accepted connection has until it is known, by far
FRESH = 0.5  # seconds for which a connection that waits is closed only where no other is older
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)


def most_connections() -> int:
    """The connections that fit under the limit of open files."""
    files = 512  # which select takes on Windows
    if sys.platform != "win32":
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < 0:  # without a limit
        return MOST
    return min(MOST, max(files - RESERVE, files // 2))


class Connections:
    """The open connections of a server, by their transports.

    A connection waits from its beginning or the end of an answer to the end of the next request.
    Those that wait are closed where there is no room, the one that has waited longest first. Those
    that never sent a whole request go before the others, so that a burst of silent ones does not
    close the connection of a client that is between two requests.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        # when they began to wait, in that order
        self._silent: dict[Transport, float] = {}
        self._answered: dict[Transport, float] = {}
        self._unread: dict[Transport, None] = {}
        self._ending: set[Transport] = set()
        self._accepted, self._beginning = 0.0, 0  # when the last one was, and how many are unknown
        self._said = -QUIET
        self._refused = 0

    def accepts(self) -> None:
        """Notes that a connection has been accepted, whose transport begins in a later turn."""
        self.count += 1
        self._accepted, self._beginning = time.monotonic(), self._beginning + 1

    def begins(self, transport: Transport) -> None:
        """Notes a new connection."""
        self._beginning -= 1
        self.waits(transport)

    def waits(self, transport: Transport, answered: bool = False) -> None:
        """Notes a connection whose client is to send something, its first request or another."""
        self.works(transport)
        waiting = self._answered if answered else self._silent
        waiting[transport] = time.monotonic()

    def works(self, transport: Transport) -> None:
        """Notes a connection whose request has arrived."""
        self._silent.pop(transport, None)
        self._answered.pop(transport, None)

    def unread(self, transport: Transport) -> None:
        """Notes a connection whose answer is not taken; aborts the first such ones of too many."""
        self._unread[transport] = None
        sizes = {each: each.get_write_buffer_size() for each in self._unread}
        total = sum(sizes.values())
        for each, size in sizes.items():
            if total > UNREAD:
                self._abort(each)
                total -= size

    def read(self, transport: Transport) -> None:
        """Notes that a connection's answer has been taken."""
        self._unread.pop(transport, None)

    def lost(self, transport: Transport) -> None:
        """Forgets a connection that is closed."""
        self.works(transport)
        self.read(transport)
        self._ending.discard(transport)
        self.count -= 1

    @property
    def settling(self) -> bool:
        """Whether the next one has to wait for those that come to their end, or have just begun."""
        if len(self._ending) >= SPARE:
            return True
        beginning = self._beginning and time.monotonic() - self._accepted < BEGINNING
        return bool(beginning) and not self._has_room

    @property
    def _has_room(self) -> bool:
        return self.count - len(self._ending) < self.most

    def make_room(self) -> bool:
        """Whether there is room for another connection, if need be in the place of one."""
        if self._has_room:
            return True
        self.tell(f"{self.most} connections are open, the most that may be")
        oldest = [next(iter(each.items())) for each in (self._silent, self._answered) if each]
        if not oldest:
            return False
        now = time.monotonic()
        rested = [transport for transport, since in oldest if now - since >= FRESH]
        self._abort((rested or [oldest[0][0]])[0])
        return True

    def tell(self, reason: str) -> None:
        """Logs that connections were closed or refused, at most once a minute."""
        self._refused += 1
        if (now := time.monotonic()) - self._said >= QUIET:
            log.warning(f"{reason}: {self._refused} closed or refused; see the limit of open files")
            self._said, self._refused = now, 0

    def _abort(self, transport: Transport) -> None:
        self.works(transport)
        self.read(transport)
        self._ending.add(transport)
        transport.abort()


class Listener(socket.socket):
    """A listening socket that accepts no more connections than there is room for."""

    among: Connections
    _rest = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises BlockingIOError where there is none, or no room."""
        if self.among.settling or time.monotonic() < self._rest:
            raise BlockingIOError
        try:
            line, address = super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:  # asyncio pauses for it, after more calls in this turn
                self._rest = time.monotonic() + REST
                self.among.tell(f"no connection can be accepted ({error.strerror})")
            raise
        if not self.among.make_room():
            body = b'{"error": "at most %d connections at once", "error_type": "Unhealthy"}'
            body %= self.among.most
            with line, suppress(OSError):
                line.setblocking(False)
                line.send(BUSY % (len(body), body))
            raise BlockingIOError
        self.among.accepts()
        return line, address


def without_files(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's handler of errors, which says nothing of those that a Listener tells."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
        loop.default_exception_handler(context)
