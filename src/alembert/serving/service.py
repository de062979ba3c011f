"""The served models, the limits of a server, and the admission of requests."""

import asyncio
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

from alembert.io.errors import UserError
from alembert.serving.metrics import Metrics
from alembert.serving.queue import CAP, Queue
from alembert.serving.schemas import RefusedError
from alembert.serving.served_model import ServedModel

Opener = Callable[[], ServedModel]
T = TypeVar("T")


class LoadError(UserError):
    """A model that cannot be loaded ends the server, which has begun to listen."""

    code = 1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server. Raises UserError for one that is not over 0."""

    threads: int = 1
    tokens: int = 512  # tokens of a batch, padding included
    requests: int = 512  # concurrent requests
    inputs: int = 32  # texts of a request
    wait: float = 2.0  # estimated seconds of waiting above which requests are refused
    body: int = 2_000_000  # bytes of a request's body
    reading: float = 10.0  # seconds in which a request must arrive
    grace: float = 8.0  # seconds in which a server that is told to stop has ended

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise UserError(f"{name} {value:g}: must be over 0")


class Service:
    """Loads the models one after the other, admits requests within the limits, and stops."""

    def __init__(
        self,
        openers: Sequence[Opener],
        limits: Limits,
        lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """lag returns the seconds that the event loop is behind, part of a request's wait."""
        self.limits, self._openers = limits, openers
        self.models: dict[str, ServedModel] = {}
        self.queue: Queue | None = None
        self.ready = self.leaving = False
        self.hurried = False  # by a second signal
        self.active = 0
        self._lag = lag
        self.parser = ThreadPoolExecutor(limits.threads, "parser")  # of large bodies
        self.failed: LoadError | None = None
        self.metrics = Metrics(lambda: self.queue.waiting if self.queue else 0, lambda: self.active)

    async def load(self, failed: Callable[[], None]) -> None:
        """Opens the models on other threads; calls `failed` when one cannot be opened."""
        cap = min(CAP, self.limits.wait / 2)
        try:
            self.queue = Queue(self.limits.threads, self.limits.tokens, self.metrics.batch, cap)
            for opener in self._openers:
                model = await _apart(opener)
                await _apart(model.warm)
                self.models[model.name] = model
            gc.collect()
            gc.freeze()  # collections would scan the models, which takes 50 ms each time
            self.ready = True
        except Exception as error:  # any fault of a runtime: else /health would say "loading" on
            self.failed = _fault(error)
            failed()

    async def stop(self) -> None:
        """Answers the admitted requests; gives up on a model that does not come to an end."""
        self.parser.shutdown(wait=False, cancel_futures=True)
        if self.queue is None:
            return
        self.queue.stop(0)
        end = time.monotonic() + self.limits.grace
        while self.queue.computes and not self.hurried and time.monotonic() < end:
            await asyncio.sleep(0.01)  # a thread that waits cannot be had where memory is short

    def check(self) -> None:
        """Raises RefusedError 503 while the models load."""
        if not self.ready:
            raise RefusedError(503, "the models are being loaded", 1)

    def model(self, name: str | None) -> ServedModel:
        """The model of a name, or the first without one. Raises RefusedError 503 or 404."""
        self.check()
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise RefusedError(404, f"no such model: there is {', '.join(self.models)}")
        return self.models[name]

    def refusal(self) -> RefusedError | None:
        """RefusedError 429 when too many requests are active or the wait is too long, else None."""
        wait = self.queue.seconds() + self._lag() if self.queue else 0.0
        if self.active >= self.limits.requests:
            message = f"too many requests: at most {self.limits.requests} at once"
            return RefusedError(429, message, max(1, math.ceil(wait)))
        return self._overload(wait)

    def check_wait(self, tokens: int) -> None:
        """Raises RefusedError 429 when a request of so many tokens would wait too long.

        Of requests that were let in together, each sees those that asked before it.
        """
        assert self.queue is not None
        if (refused := self._overload(self.queue.seconds(tokens))) is not None:
            raise refused

    def _overload(self, wait: float) -> RefusedError | None:
        most = self.limits.wait
        if wait <= most:
            return None
        message = f"too many requests: the expected wait is over {most:g} s"
        return RefusedError(429, message, max(1, math.ceil(wait)))

    @contextmanager
    def admitted(self) -> Iterator[Queue]:
        """Counts a request as active, and yields the queue."""
        assert self.queue is not None
        self.active += 1
        try:
            yield self.queue
        finally:
            self.active -= 1


async def _apart(work: Callable[[], T]) -> T:
    """The result of work on a thread of its own, for which the process does not wait at its end."""
    loop = asyncio.get_running_loop()
    result: Future[T] = Future()

    def run() -> None:
        result.set_running_or_notify_cancel()  # so that it can no longer be cancelled
        try:
            result.set_result(work())
        except BaseException as error:  # raised where the result is awaited
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(result, loop=loop)


def _fault(error: Exception) -> LoadError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    known = isinstance(error, UserError)
    fault = LoadError(
        str(error) if known else f"a model cannot be loaded ({reason}): export it again"
    )
    fault.__cause__ = error
    return fault
