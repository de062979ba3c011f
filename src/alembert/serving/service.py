"""The models that are served, what is taken at a time, and who is let in."""

import asyncio
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from alembert.io.errors import UserError
from alembert.serving.metrics import Metrics
from alembert.serving.queue import CAP, Queue
from alembert.serving.schemas import RefusedError
from alembert.serving.served_model import ServedModel

Opener = Callable[[], ServedModel]


@dataclass(frozen=True)
class Limits:
    """What a server takes. Raises UserError for what cannot be."""

    threads: int = 1
    tokens: int = 512  # of a batch, padding included
    requests: int = 512  # at a time
    inputs: int = 32  # of a request
    wait: float = 2.0  # seconds that a request may have to wait, judged by the queue
    body: int = 2_000_000  # bytes
    reading: float = 10.0  # seconds for a request to arrive in

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise UserError(f"{name} {value:g}: must be over 0")


class Service:
    """Loads the models one after the other, lets requests in while it can, ends in order."""

    def __init__(
        self,
        openers: Sequence[Opener],
        limits: Limits,
        lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """lag: seconds that the event loop is behind; it too has a line."""
        self.limits, self._openers = limits, openers
        self.models: dict[str, ServedModel] = {}
        self.queue: Queue | None = None
        self.ready = self.leaving = False
        self.active = 0
        self._lag = lag
        self.failed: UserError | None = None
        self.metrics = Metrics(lambda: self.queue.waiting if self.queue else 0, lambda: self.active)

    async def load(self, failed: Callable[[], None]) -> None:
        """Open the models, away from the event loop; failed: called where one cannot be."""
        cap = min(CAP, self.limits.wait / 2)
        self.queue = Queue(self.limits.threads, self.limits.tokens, self.metrics.batch, cap)
        try:
            for opener in self._openers:
                model = await asyncio.to_thread(opener)
                await asyncio.to_thread(model.warm)
                self.models[model.name] = model
            gc.collect()
            gc.freeze()  # what stays: to look through it again and again takes 50 ms each time
            self.ready = True
        except UserError as error:
            self.failed = error
            failed()

    async def stop(self) -> None:
        """Answer what was accepted."""
        if self.queue is not None:
            await asyncio.to_thread(self.queue.stop)

    def check(self) -> None:
        """Raises RefusedError 503 while the models load."""
        if not self.ready:
            raise RefusedError(503, "the models are being loaded", 1)

    def model(self, name: str | None) -> ServedModel:
        """The model of that name; the first where none is named. RefusedError 503 or 404."""
        self.check()
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise RefusedError(404, f"no such model: there is {', '.join(self.models)}")
        return self.models[name]

    def refusal(self) -> RefusedError | None:
        """Why a question may not come in now: 429 where there is no room, or the wait is long."""
        wait = self.queue.seconds + self._lag() if self.queue else 0.0
        if self.active < self.limits.requests and wait <= self.limits.wait:
            return None
        return RefusedError(429, "too many requests: come back later", max(1, math.ceil(wait)))

    @contextmanager
    def admitted(self) -> Iterator[Queue]:
        """The place of a request that was let in."""
        assert self.queue is not None
        self.active += 1
        try:
            yield self.queue
        finally:
            self.active -= 1
