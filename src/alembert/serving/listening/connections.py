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

    A connection waits from the end of an answer to the end of the next request; those that wait
    are closed where there is no room, the one that has waited longest first.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self._waiting: dict[Transport, None] = {}  # in the order in which they began to
        self._unread: dict[Transport, None] = {}
        self._ending: set[Transport] = set()
        self._said = -QUIET
        self._refused = 0

    def waits(self, transport: Transport) -> None:
        """Notes a connection whose client is to send something."""
        self._waiting.pop(transport, None)
        self._waiting[transport] = None

    def works(self, transport: Transport) -> None:
        """Notes a connection whose request has arrived."""
        self._waiting.pop(transport, None)

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
        """Whether so many are coming to their end that the next one has to wait for that."""
        return len(self._ending) >= SPARE

    def make_room(self) -> bool:
        """Whether there is room for another connection, if need be in the place of one."""
        if self.count - len(self._ending) < self.most:
            return True
        self.tell(f"{self.most} connections are open, the most that may be")
        if not self._waiting:
            return False
        self._abort(next(iter(self._waiting)))
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
        self.among.count += 1
        return line, address


def without_files(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's handler of errors, which says nothing of those that a Listener tells."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
        loop.default_exception_handler(context)
