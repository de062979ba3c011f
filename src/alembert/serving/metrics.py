"""The Prometheus metrics of a server."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from alembert.serving.queue import Batch

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Metrics:
    """The counters of one server, in their own registry."""

    def __init__(self, waiting: Callable[[], float], active: Callable[[], float]) -> None:
        """waiting returns the tokens in the queue, and active the requests in progress."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "alembert_requests",
            "requests answered",
            ["route", "model", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "alembert_request_seconds", "from the first byte to the response", ["route", "model"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._batch = Histogram(
            "alembert_batch_tokens", "tokens of a batch, padding included", ["model"],
            buckets=TOKENS, registry=registry,
        )  # fmt: skip
        self._busy = Counter(
            "alembert_compute_seconds", "compute time of threads", ["model"], registry=registry
        )
        self._tokens = Counter("alembert_tokens", "tokens computed", ["model"], registry=registry)
        self._padding = Counter(
            "alembert_padding_tokens", "padding tokens computed, part of alembert_tokens",
            ["model"], registry=registry,
        )  # fmt: skip
        queue = Gauge("alembert_queue_tokens", "tokens waiting for a thread", registry=registry)
        queue.set_function(waiting)
        work = Gauge("alembert_requests_active", "requests in progress", registry=registry)
        work.set_function(active)

    def request(self, route: str, model: str, status: int, seconds: float) -> None:
        self._requests.labels(route, model, str(status)).inc()
        self._seconds.labels(route, model).observe(seconds)

    def batch(self, batch: Batch) -> None:
        """Counts a batch; called on the thread that computed it."""
        name = batch.model.name
        self._batch.labels(name).observe(batch.tokens)
        self._busy.labels(name).inc(batch.seconds)
        self._tokens.labels(name).inc(batch.tokens)
        self._padding.labels(name).inc(batch.padding)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
