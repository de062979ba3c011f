"""Rows of many requests wait here; threads take those of like length from it, the oldest first."""

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread, get_native_id
from typing import Any, Protocol

from alembert.inference.batching import CALL

NICE = 5  # those who compute leave the core to the event loop: in a rush it must say no quickly
CAP = 0.02  # seconds of a batch: who comes next waits that long at worst


class Row(Protocol):
    """What waits: the tokens of one text."""

    def __len__(self) -> int: ...


class Model(Hashable, Protocol):
    """What computes: one answer for each row of a batch, called on one thread of several."""

    def __call__(self, rows: Sequence[Any], /) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Batch:
    """What was computed: rows x longest = tokens, of them padding; seconds."""

    model: Any
    rows: int
    tokens: int
    padding: int
    seconds: float


class FailedError(Exception):
    """The model raised something: its cause."""


@dataclass(eq=False)
class _Work:
    """The rows of one request."""

    model: Model
    future: asyncio.Future[list[Any]]
    answers: list[Any]
    left: int


@dataclass(eq=False)
class _Line:
    """The rows that wait for one model, by length: (number of arrival, work, place in it, row)."""

    lengths: dict[int, deque[tuple[int, _Work, int, Any]]] = field(default_factory=dict)
    tokens: int = 0
    rate: float = 0.0  # seconds per token, lately

    def oldest(self) -> tuple[int, int] | None:
        """(number of arrival, length), or None where nothing waits; who hung up is left out."""
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

    def take(self, longest: int, tokens: int, rows: int) -> list[tuple[int, _Work, int, Any]]:
        """Rows of that length or little less: all their padding costs less than a call would."""
        taken: list[tuple[int, _Work, int, Any]] = []
        padding = 0
        most = max(1, min(rows, tokens // longest))
        for length in range(longest, max(0, longest - CALL), -1):
            waiting = self.lengths.get(length)
            while waiting and len(taken) < most and padding + longest - length < CALL:
                entry = waiting.popleft()
                self.tokens -= length
                if not entry[1].future.done():
                    taken.append(entry)
                    padding += longest - length
        return taken


class Queue:
    """Answers rows on threads of its own; `ask` is called from the event loop that made it.

    No row waits for company: a thread that is free takes what is there, at most its share of it.
    """

    def __init__(
        self,
        threads: int,
        tokens: int,
        seen: Callable[[Batch], None] = lambda batch: None,
        cap: float = CAP,
    ) -> None:
        """tokens: of a batch, at most, padding included. seen: told of each batch, on a thread.

        cap: seconds that a batch may take, by the pace of those before.
        """
        self._loop = asyncio.get_running_loop()
        self._tokens, self._seen, self._cap = tokens, seen, cap
        self._lines: dict[Model, _Line] = {}
        self._arrived = 0
        self._change = Condition()
        self._idle = 0
        self._stopped = self._called = False
        self._threads = [
            Thread(target=self._serve, name=f"answers-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, model: Model, rows: Sequence[Row]) -> asyncio.Future[list[Any]]:
        """An answer for each row, in their order; cancel it, and what waits is not computed.

        The future fails with FailedError where the model raised something.
        """
        work = _Work(model, self._loop.create_future(), [None] * len(rows), len(rows))
        if not rows:
            work.future.set_result([])
            return work.future
        with self._change:
            line = self._lines.setdefault(model, _Line())
            for length, place in sorted(
                ((len(row), i) for i, row in enumerate(rows)), reverse=True
            ):
                row = rows[place]
                self._arrived += 1
                line.lengths.setdefault(length, deque()).append((self._arrived, work, place, row))
                line.tokens += length
        if not self._called:
            self._called = True
            self._loop.call_soon(self._wake)
        return work.future

    def _wake(self) -> None:
        """After a turn of the loop: its requests are there, not the first of them alone."""
        self._called = False
        with self._change:
            self._change.notify_all()

    @property
    def waiting(self) -> int:
        """Tokens that no thread has taken yet."""
        return sum(line.tokens for line in self._lines.values())

    @property
    def seconds(self) -> float:
        """How long a row that came now would wait, judged by the latest batches."""
        return sum(line.tokens * line.rate for line in self._lines.values()) / len(self._threads)

    def stop(self) -> None:
        """Answer what waits, then end the threads."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        if sys.platform == "linux":  # where the priority of a thread is its own
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, get_native_id(), min(19, own + NICE))
        while (found := self._next()) is not None:
            model, taken = found
            started = time.perf_counter()
            answers: Sequence[Any]
            error = None
            try:
                answers = model([row for _, _, _, row in taken])
            except Exception as raised:  # whatever a runtime may raise: these requests fail alone
                answers, error = [None] * len(taken), raised
            seconds = time.perf_counter() - started
            self._count(model, [len(row) for _, _, _, row in taken], seconds)
            self._loop.call_soon_threadsafe(_deliver, taken, answers, error)

    def _next(self) -> tuple[Model, list[tuple[int, _Work, int, Any]]] | None:
        """The next batch, waited for; None when there is to be none any more."""
        with self._change:
            self._idle += 1
            while True:
                heads = [
                    (at, model) for model, line in self._lines.items() if (at := line.oldest())
                ]
                if heads:
                    (_, longest), model = min(heads, key=lambda head: head[0])
                    line = self._lines[model]
                    tokens = (
                        min(self._tokens, int(self._cap / line.rate)) if line.rate else self._tokens
                    )
                    share = -(-sum(map(len, line.lengths.values())) // self._idle)
                    if taken := line.take(longest, tokens, share):
                        self._idle -= 1
                        return model, taken
                elif self._stopped:
                    return None
                else:
                    self._change.wait()

    def _count(self, model: Model, lengths: list[int], seconds: float) -> None:
        tokens = len(lengths) * max(lengths)
        line = self._lines[model]
        rate = seconds / (tokens + CALL)
        line.rate = rate if not line.rate else 0.9 * line.rate + 0.1 * rate
        self._seen(Batch(model, len(lengths), tokens, tokens - sum(lengths), seconds))


def _deliver(
    taken: list[tuple[int, _Work, int, Any]], answers: Sequence[Any], error: Exception | None
) -> None:
    """On the event loop: answers to their requests, and those that are complete to who waits."""
    for (_, work, place, _), answer in zip(taken, answers, strict=True):
        work.answers[place] = answer
        work.left -= 1
        if work.future.done():
            continue
        if error is not None:
            failed = FailedError(" ".join(str(error).split())[:200])
            failed.__cause__ = error
            work.future.set_exception(failed)
        elif not work.left:
            work.future.set_result(work.answers)
