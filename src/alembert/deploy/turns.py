"""How far an event loop is behind: in a rush, requests wait for its turns before they are read."""

import selectors
import time

BLOCKED = 0.0002  # seconds: a look at the sockets that takes longer found none ready at first


class Turns(selectors.DefaultSelector):
    """Notes when the loop looks at its sockets. One for each event loop."""

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
