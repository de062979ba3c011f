"""What the package logs, as a list of lines that tests read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def logged() -> Iterator[list[str]]:
    """The messages that the package logs meanwhile."""
    news, lines = logging.getLogger("alembert"), list[str]()
    level, handler = news.level, _Lines(lines)
    news.addHandler(handler)
    news.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        news.removeHandler(handler)
        news.setLevel(level)
