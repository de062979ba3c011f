"""A queue of rows of many requests, shared fairly; threads take batches of similar length.

A request that fits into one batch is small. Small requests are served in the order of arrival, and
share batches. Larger ones take turns of one batch each, the one first that has had the fewest
tokens, and come after the small ones, of which at most SHARE batches come before the next turn.
"""

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread, get_native_id
from typing import Any, Protocol, TypeVar

from alembert.inference.batching import CALL

NICE = 5  # computing threads yield to the event loop, which must refuse quickly under overload
CAP = 0.02  # seconds of a batch: the longest that the next row waits for it
SHARE = 4  # batches of small requests for each of a large one, while both wait
RECENT = 1.0  # seconds after a small request in which one thread computes no large ones


R = TypeVar("R", bound="Row")
R_contra = TypeVar("R_contra", bound="Row", contravariant=True)
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


class Row(Protocol):
    """The tokens of one text."""

    def __len__(self) -> int: ...


class Model(Hashable, Protocol[R_contra, A_co]):
    """A model: it returns one answer for each row of a batch, and is called from any thread."""

    @property
    def name(self) -> str: ...

    def __call__(self, rows: Sequence[R_contra], /) -> Sequence[A_co]: ...


Mixed = Model[Any, Any]  # the queue holds the rows of all models, and reads only their lengths


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The size of a computed batch; tokens = rows x longest row, padding included."""

    model: Mixed
    rows: int
    tokens: int
    padding: int
    seconds: float


class FailedError(Exception):
    """Raised when a model fails on a batch; __cause__ is the model's error."""


@dataclass(eq=False)
class _Request:
    """The rows of one request."""

    model: Mixed
    future: asyncio.Future[list[Any]]
    answers: list[object]
    left: int


_Entry = tuple[int, _Request, int, Row]  # arrival number, request, index in it, row


@dataclass(eq=False)
class _Rows:
    """The rows of one model that wait, by length: those of small requests, or of a large one.

    had counts the tokens of a large request that were computed, from the count of the one that was
    served when it arrived: with all at the same count, a turn of each comes next.
    """

    model: Mixed
    lengths: dict[int, deque[_Entry]] = field(default_factory=dict)
    tokens: int = 0
    had: int = 0

    def add(self, entry: _Entry) -> None:
        length = len(entry[3])
        self.lengths.setdefault(length, deque()).append(entry)
        self.tokens += length

    def oldest(self) -> tuple[int, int] | None:
        """(arrival number, length) of the oldest row, or None; drops rows of finished requests."""
        first: tuple[int, int] | None = None
        for length, waiting in list(self.lengths.items()):
            while waiting and waiting[0][1].future.done():
                waiting.popleft()
                self.tokens -= length
            if not waiting:
                del self.lengths[length]
            elif first is None or waiting[0][0] < first[0]:
                first = waiting[0][0], length
        return first

    def take(self, longest: int, tokens: int, rows: int) -> list[_Entry]:
        """Takes rows of length `longest` or a little less, with under CALL tokens of padding."""
        taken: list[_Entry] = []
        padding = 0
        limit = max(1, min(rows, tokens // longest))
        for length in range(longest, max(0, longest - CALL), -1):
            waiting = self.lengths.get(length)
            while waiting and len(taken) < limit and padding + longest - length < CALL:
                entry = waiting.popleft()
                self.tokens -= length
                if not entry[1].future.done():
                    taken.append(entry)
                    padding += longest - length
        return taken


class Queue:
    """Computes rows on its own threads; `ask` is called from the event loop that created it.

    Rows never wait for a batch to fill: an idle thread takes the waiting rows, at most its share.
    """

    def __init__(
        self,
        threads: int,
        tokens: int,
        seen: Callable[[Batch], None] = lambda batch: None,
        cap: float = CAP,
    ) -> None:
        """tokens bounds a batch, padding included; cap bounds its estimated seconds.

        seen is called with each batch, on the thread that computed it.
        """
        self._loop = asyncio.get_running_loop()
        self._tokens, self._seen, self._cap = tokens, seen, cap
        self._small: dict[Mixed, _Rows] = {}
        self._large: list[_Rows] = []
        self._rates: dict[Mixed, float] = {}  # seconds per token, averaged over the latest batches
        self._arrived = 0
        self._had = 0  # by the large request that was served last
        self._between = 0  # tokens of small requests since then
        self._recent = -RECENT  # when the last small request came
        self._busy = 0  # threads that compute large requests
        self._change = Condition()
        self._idle = 0
        self._stopped = self._called = False
        self._threads = [
            Thread(target=self._serve, name=f"answers-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, model: Model[R, A], rows: Sequence[R]) -> asyncio.Future[list[A]]:
        """A future of one answer for each row, in order; if cancelled, waiting rows are dropped.

        The future fails with FailedError when the model raises an error.
        """
        request = _Request(model, self._loop.create_future(), [None] * len(rows), len(rows))
        if not rows:
            request.future.set_result([])
            return request.future
        ordered = sorted(((len(row), i) for i, row in enumerate(rows)), reverse=True)
        with self._change:
            if self.small(sum(map(len, rows))):
                waiting = self._small.setdefault(model, _Rows(model))
                self._recent = time.monotonic()
            else:
                if not self._large:
                    self._between = 0
                waiting = _Rows(model, had=self._had)
                self._large.append(waiting)
            for _, index in ordered:
                self._arrived += 1
                waiting.add((self._arrived, request, index, rows[index]))
        if not self._called:
            self._called = True
            self._loop.call_soon(self._wake)
        return request.future

    def _wake(self) -> None:
        """Wakes the threads after a turn of the loop, when all its requests have arrived."""
        self._called = False
        with self._change:
            self._change.notify_all()

    @property
    def waiting(self) -> int:
        """The tokens that no thread has taken yet."""
        return sum(rows.tokens for rows in (*self._small.values(), *self._large))

    def small(self, tokens: int) -> bool:
        """Whether a request of so many tokens is one that fits into a batch."""
        return tokens <= self._tokens

    def seconds(self, tokens: int = 1) -> float:
        """The seconds that a request of so many tokens would wait, by the latest batches."""
        ahead: list[_Rows] = list(self._small.values())
        threads = len(self._threads)
        if not self.small(tokens):
            ahead += self._large
        elif self._large:
            threads = max(1, threads - self._busy)
        return sum(rows.tokens * self._rates.get(rows.model, 0.0) for rows in ahead) / threads

    @property
    def computes(self) -> bool:
        """Whether a thread goes on after `stop`."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self, seconds: float | None = None) -> None:
        """Computes the waiting rows, then ends the threads; at most so many seconds for each."""
        self._stopped = True
        self._wake()
        for thread in self._threads:
            thread.join(seconds)

    def _serve(self) -> None:
        if sys.platform == "linux":  # where each thread has its own priority
            niceness = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, get_native_id(), min(19, niceness + NICE))
        while (batch := self._next()) is not None:
            rows, taken = batch
            model = rows.model
            started = time.perf_counter()
            answers: Sequence[object]
            error = None
            try:
                answers = model([row for _, _, _, row in taken])
            except Exception as raised:  # any error of a runtime fails these requests alone
                answers, error = [None] * len(taken), raised
            seconds = time.perf_counter() - started
            self._count(rows, [len(row) for _, _, _, row in taken], seconds)
            self._loop.call_soon_threadsafe(_deliver, taken, answers, error)

    def _next(self) -> tuple[_Rows, list[_Entry]] | None:
        """Waits for the next batch; None when the queue has stopped."""
        with self._change:
            self._idle += 1
            while True:
                if rows := self._chosen():
                    first = rows.oldest()
                    assert first is not None
                    tokens = self._tokens
                    if rate := self._rates.get(rows.model):
                        tokens = min(tokens, int(self._cap / rate))
                    share = -(-sum(map(len, rows.lengths.values())) // self._idle)
                    if taken := rows.take(first[1], tokens, share):
                        self._idle -= 1
                        self._note(rows, sum(len(row) for _, _, _, row in taken))
                        return rows, taken
                elif self._stopped and not self._large:
                    return None
                else:
                    self._change.wait(RECENT if self._large else None)

    def _chosen(self) -> _Rows | None:
        """The rows from which the next batch is taken, if there are any for this thread."""
        heads = [(first, rows) for rows in self._small.values() if (first := rows.oldest())]
        self._large = [rows for rows in self._large if rows.oldest()]
        if self._large and (not heads or self._between >= SHARE * self._tokens):
            recent = time.monotonic() - self._recent < RECENT and not self._stopped
            if self._busy < len(self._threads) - recent or len(self._threads) == 1:
                return min(self._large, key=lambda rows: rows.had)
        return min(heads, key=lambda head: head[0])[1] if heads else None

    def _note(self, rows: _Rows, tokens: int) -> None:
        """Notes that a batch was taken, for those that are chosen next."""
        if self._small.get(rows.model) is rows:
            self._between += tokens
        else:
            self._between, self._had = 0, rows.had
            self._busy += 1
            rows.had += tokens

    def _count(self, rows: _Rows, lengths: list[int], seconds: float) -> None:
        model, tokens = rows.model, len(lengths) * max(lengths)
        rate = seconds / (tokens + CALL)
        with self._change:
            before = self._rates.get(model)
            self._rates[model] = rate if before is None else 0.9 * before + 0.1 * rate
            self._busy -= self._small.get(model) is not rows
        self._seen(
            Batch(
                model=model,
                rows=len(lengths),
                tokens=tokens,
                padding=tokens - sum(lengths),
                seconds=seconds,
            )
        )


def _deliver(taken: list[_Entry], answers: Sequence[object], error: Exception | None) -> None:
    """Stores answers in their requests and resolves complete ones; runs on the event loop."""
    for (_, request, index, _), answer in zip(taken, answers, strict=True):
        request.answers[index] = answer
        request.left -= 1
        if request.future.done():
            continue
        if error is not None:
            failed = FailedError(" ".join(str(error).split())[:200])
            failed.__cause__ = error
            request.future.set_exception(failed)
        elif not request.left:
            request.future.set_result(request.answers)
