"""The log of a server's requests, which neither a full disk nor a stopped reader holds up."""

import logging
import select
import sys
import time
from typing import TextIO

QUIET = 60.0  # seconds between two lines on requests that could not be logged


def ready(stream: TextIO | None) -> bool:
    """Whether a stream takes a line at once, which a pipe does not whose reader has stopped."""
    if stream is None or sys.platform == "win32":
        return stream is not None
    poll = select.poll()
    try:
        poll.register(stream, select.POLLOUT)
    except (OSError, ValueError):  # it is no file of the system, or closed
        return True
    return bool(poll.poll(0))


class Requests(logging.Handler):
    """Writes a line for each request; it waits for no reader, and a full disk stops no server."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        self._lost, self._said = 0, -QUIET

    def emit(self, record: logging.LogRecord) -> None:
        if self._stream is None or not ready(self._stream):
            self._lose("nobody reads it")
            return
        try:
            self._stream.write(self.format(record) + "\n")
            self._stream.flush()
        except OSError as error:
            self._lose(str(error.strerror))
        except ValueError as error:  # it is closed
            self._lose(str(error))

    def _lose(self, reason: str) -> None:
        self._lost += 1
        if (now := time.monotonic()) - self._said >= QUIET:
            logging.getLogger(__name__).warning(
                f"the log of requests cannot be written ({reason}): {self._lost} lines are lost"
            )
            self._lost, self._said = 0, now
