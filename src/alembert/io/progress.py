"""What is being done, shown while it lasts: a moving line or bar, or now and then a line of news.

A terminal and a notebook get lines and bars of tqdm, which a thread redraws, so that a long step
moves too. Where a file or a pipe reads, a line of news comes in the first second and then every 30.
"""

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from alembert.io.errors import leads

if TYPE_CHECKING:
    from tqdm.std import tqdm

    Bar = tqdm[Any]

log = logging.getLogger(__name__)

DRAWN = 0.5  # seconds between two drawings
FIRST = 0.8  # seconds until the first line of news
EVERY = 30.0  # and between two of them
WIDEST = 60  # characters of a title
COLUMNS, ROWS = 80, 24  # of a terminal that says it has none, as that of a container may
COUNTED = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
UNCOUNTED = "{desc} {elapsed}"
BYTES = "B"  # the unit of which many are told in MB

Item = TypeVar("Item")
Look = Literal["bars", "lines", "none"]


class Work:
    """Something that is being done, as long as its `with` block lasts.

    Counted work has a total in its unit ("texts"), and begins at `done`. Its bar stays on the
    terminal where it is `kept`. at_most: it may end before its total.
    """

    def __init__(
        self, title: str, total: int | None = None, unit: str = "", *, done: int = 0,
        kept: bool = False, at_most: bool = False,
    ) -> None:  # fmt: skip
        self.title, self.total, self.unit = title, total, unit
        self.n = self.first = done
        self.kept, self.at_most = kept, at_most
        self.facts: dict[str, str] = {}
        self.began = 0.0
        self.bar: Bar | None = None

    def update(self, count: int = 1) -> None:
        """Count further units as done."""
        self.n += count

    def tell(self, **facts: str) -> None:
        """Show these facts behind the count, in place of earlier ones."""
        self.facts = facts

    def __enter__(self) -> Self:
        screen.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        screen.remove(self)

    def line(self, now: float) -> str:
        """Return the work in words: "task: 40 of 300 steps, loss 0.512, 45 s left"."""
        spent = now - self.began
        if self.total is None:
            return f"{self.title}, {span(spent)}"
        told = f"{self.n:,} of {self.total:,} {self.unit}"
        if self.unit == BYTES:
            told = f"{self.n / 1e6:,.1f} of {self.total / 1e6:,.1f} MB"
        parts = [f"{self.title}: {told}", *(f"{k} {value}" for k, value in self.facts.items())]
        if self.n > self.first:
            left = spent / (self.n - self.first) * max(self.total - self.n, 0)
            parts.append(f"{'at most ' * self.at_most}{span(left)} left")
        return ", ".join(parts)

    def draw(self, now: float, make: "Callable[..., Bar]") -> None:
        """Draw the bar, or the line of uncounted work, as it is now."""
        if self.bar is not None and self.bar.total != self.total:
            self.bar.leave = False
            self.clear()
        if self.bar is None:
            self.bar = make(
                total=self.total, initial=self.first, desc=self.title[:WIDEST], unit=self.unit,
                unit_scale=self.unit == BYTES, leave=self.kept, file=sys.stderr,
                bar_format=UNCOUNTED if self.total is None else COUNTED,
                **_size(),
            )  # fmt: skip
            self.bar.start_t -= now - self.began
        self.bar.n = self.n
        self.bar.set_postfix(self.facts, refresh=False)
        self.bar.refresh()

    def clear(self) -> None:
        """Take the bar off the screen, unless it is kept."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Screen:
    """All that is being done, the outermost first, and the thread that shows it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.works: list[Work] = []
        self.clock = clock
        self.hidden = False  # as the command line chose
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._make: Callable[..., Bar] | None = None

    def look(self) -> Look:
        """Return how whoever reads can see what is being done."""
        if self.hidden or not leads():
            return "none"
        if in_notebook() or (sys.stderr is not None and sys.stderr.isatty()):
            return "bars"
        return "lines" if log.isEnabledFor(logging.INFO) else "none"

    def add(self, work: Work) -> None:
        """Show a work from now on."""
        work.began = self.clock()
        with self._lock:
            self.works.append(work)
            if len(self.works) > 1 or (look := self.look()) == "none":
                return
            if look == "bars" and self._make is None:
                self._make = _tqdm()
            self._end = threading.Event()
            seconds = (DRAWN, DRAWN) if look == "bars" else (FIRST, EVERY)
            threading.Thread(target=self._run, args=(self._end, *seconds), daemon=True).start()

    def remove(self, work: Work) -> None:
        """Show a work no more; the bar of a kept one stays as it is at its end."""
        with self._lock:
            self.works.remove(work)
            if work.kept and self._make is not None and self.look() == "bars":
                self._clear_lines(self.works)
                work.draw(self.clock(), self._make)
            work.clear()
            if not self.works:
                self._end.set()

    def _run(self, end: threading.Event, first: float, seconds: float) -> None:
        with suppress(OSError, ValueError):  # nobody reads any more, or the stream is closed
            while not end.wait(first):
                self.show(end)
                first = seconds

    def show(self, end: threading.Event | None = None) -> None:
        """Draw what is being done, or log it; nothing after its end."""
        with self._lock:
            if not self.works or (end is not None and end.is_set()):
                return
            now, look = self.clock(), self.look()
            if look == "lines":
                inner = self.works[1:] or self.works
                log.info("; ".join(work.line(now) for work in inner))
            elif look == "bars" and self._make is not None:
                self._clear_lines(self.works[:-1])
                for work in self.works:
                    if work.total is not None or work is self.works[-1]:
                        work.draw(now, self._make)

    def _clear_lines(self, works: Sequence[Work]) -> None:
        """Take the lines of uncounted works off the screen."""
        for work in works:
            if work.total is None:
                work.clear()

    @contextmanager
    def above(self) -> Iterator[None]:
        """Lines that are printed within stand above the bars of a terminal."""
        with self._lock:
            bars = (
                [] if in_notebook() else [each.bar for each in self.works if each.bar is not None]
            )
            with bars[0].external_write_mode() if bars else nullcontext():
                yield


screen = Screen()


def doing(title: str) -> Work:
    """Return a work that nobody can count, for a `with` block: "loading the teacher"."""
    return Work(title)


def counted(items: Sequence[Item], title: str, unit: str) -> Iterator[Item]:
    """Yield the items one by one, and show how many of them are done."""
    with Work(title, len(items), unit) as work:
        for item in items:
            yield item
            work.update()


def above() -> AbstractContextManager[None]:
    """Return a context in which printed lines stand above the bars."""
    return screen.above()


def hide(hidden: bool) -> None:
    """Show no work in this process, or show it again."""
    screen.hidden = hidden


def in_notebook() -> bool:
    """Return whether a kernel of Jupyter runs this process."""
    return "ipykernel.zmqshell" in sys.modules


def span(seconds: float) -> str:
    """Return a time in words: 45 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _size() -> dict[str, int | bool]:
    """Return how large the terminal is for tqdm, which draws nothing on one without columns."""
    with suppress(OSError, ValueError, AttributeError):  # it is no file of the system
        if os.get_terminal_size(sys.stderr.fileno()).columns == 0:
            return {"ncols": COLUMNS, "nrows": ROWS}
    return {"dynamic_ncols": True}


def _tqdm() -> "Callable[..., Bar]":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a notebook lacks ipywidgets: its bars are then text
        from tqdm.auto import tqdm
    return tqdm
