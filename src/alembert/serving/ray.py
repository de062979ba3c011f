"""The same application on Ray Serve: replicas over several machines, as many as the load needs."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

from starlette.types import ASGIApp

from alembert.io.errors import UserError
from alembert.serving.app import app_of
from alembert.serving.served_model import load_model
from alembert.serving.service import Limits

log = logging.getLogger(__name__)

BUSY = 0.25  # of the requests that a replica takes: where more are under way, another is started


def serve(
    models: Sequence[tuple[str, Path, str | None]],
    limits: Limits,
    host: str,
    port: int,
    replicas: tuple[int, int],
    api_key: str | None = None,
    origins: Sequence[str] = (),
) -> None:
    """Deploy on the cluster that RAY_ADDRESS names, or on this machine, until a signal says stop.

    models: name, folder (the same on every machine) and backend. replicas: fewest and most; each
    has limits.threads cores. Raises UserError where ray is missing.
    """
    try:
        import ray
        from ray import serve as ray_serve
    except ImportError as error:
        raise UserError("ray is not installed: pip install 'alembert[ray]'") from error

    def built() -> ASGIApp:  # in each replica: nothing but what it names is sent there
        openers = [lambda each=each: load_model(*each) for each in models]
        return app_of(openers, limits, api_key, origins, wait=True)[0]

    fewest, most = replicas
    target = max(1, int(BUSY * limits.requests))
    deployment: Any = ray_serve.deployment(
        name="alembert",
        max_ongoing_requests=limits.requests,
        ray_actor_options={"num_cpus": limits.threads},
        autoscaling_config={
            "min_replicas": fewest, "max_replicas": most, "target_ongoing_requests": target,
        },
    )  # fmt: skip
    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    stopped = Event()  # ray itself would abort on a signal
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopped.set())
    ray_serve.start(http_options={"host": host, "port": port})
    ray_serve.run(deployment(ray_serve.ingress(built)(_Replica)).bind())
    log.info(f"http://{host}:{port} is up on {fewest} to {most} replicas; Ctrl+C stops it")
    stopped.wait()
    ray_serve.shutdown()


class _Replica:
    """What Ray counts and starts; the application is all there is in it."""
