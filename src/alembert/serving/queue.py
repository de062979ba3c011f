"""A queue of rows of many requests; threads take batches of similar length, the oldest first."""

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
class _ModelQueue:
    """The rows that wait for one model, by length."""

    lengths: dict[int, deque[_Entry]] = field(default_factory=dict)
    tokens: int = 0
    rate: float = 0.0  # seconds per token, averaged over the latest batches

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
        self._queues: dict[Mixed, _ModelQueue] = {}
        self._arrived = 0
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
        with self._change:
            queue = self._queues.setdefault(model, _ModelQueue())
            for length, index in sorted(
                ((len(row), i) for i, row in enumerate(rows)), reverse=True
            ):
                row = rows[index]
                self._arrived += 1
                queue.lengths.setdefault(length, deque()).append(
                    (self._arrived, request, index, row)
                )
                queue.tokens += length
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
        return sum(queue.tokens for queue in self._queues.values())

    @property
    def seconds(self) -> float:
        """The seconds that a new row would wait, estimated from the latest batches."""
        return sum(queue.tokens * queue.rate for queue in self._queues.values()) / len(
            self._threads
        )

    def stop(self) -> None:
        """Computes the waiting rows, then ends the threads."""
        self._stopped = True
        self._wake()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        if sys.platform == "linux":  # where each thread has its own priority
            niceness = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, get_native_id(), min(19, niceness + NICE))
        while (batch := self._next()) is not None:
            model, taken = batch
            started = time.perf_counter()
            answers: Sequence[object]
            error = None
            try:
                answers = model([row for _, _, _, row in taken])
            except Exception as raised:  # any error of a runtime fails these requests alone
                answers, error = [None] * len(taken), raised
            seconds = time.perf_counter() - started
            self._count(model, [len(row) for _, _, _, row in taken], seconds)
            self._loop.call_soon_threadsafe(_deliver, taken, answers, error)

    def _next(self) -> tuple[Mixed, list[_Entry]] | None:
        """Waits for the next batch; None when the queue has stopped."""
        with self._change:
            self._idle += 1
            while True:
                heads = [
                    (first, model)
                    for model, queue in self._queues.items()
                    if (first := queue.oldest())
                ]
                if heads:
                    (_, longest), model = min(heads, key=lambda head: head[0])
                    queue = self._queues[model]
                    tokens = self._tokens
                    if queue.rate:
                        tokens = min(tokens, int(self._cap / queue.rate))
                    share = -(-sum(map(len, queue.lengths.values())) // self._idle)
                    if taken := queue.take(longest, tokens, share):
                        self._idle -= 1
                        return model, taken
                elif self._stopped:
                    return None
                else:
                    self._change.wait()

    def _count(self, model: Mixed, lengths: list[int], seconds: float) -> None:
        tokens = len(lengths) * max(lengths)
        queue = self._queues[model]
        rate = seconds / (tokens + CALL)
        queue.rate = rate if not queue.rate else 0.9 * queue.rate + 0.1 * rate
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
