"""The same application on Ray Serve: replicas on several machines, scaled with the load."""

import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from starlette.types import ASGIApp

from alembert.io.errors import UserError
from alembert.serving.app import app_of
from alembert.serving.keys import Keys
from alembert.serving.served_model import load_model
from alembert.serving.service import Limits

log = logging.getLogger(__name__)

BUSY = 0.25  # the share of a replica's request limit above which another replica is started


def serve(
    models: Sequence[tuple[str, Path, str | None]],
    limits: Limits,
    host: str,
    port: int,
    replicas: tuple[int, int],
    keys: Callable[[], Keys | None] = lambda: None,
    origins: Sequence[str] = (),
    open_metrics: bool = True,
) -> None:
    """Deploys on the cluster that RAY_ADDRESS names, or on this machine, until a signal arrives.

    models are (name, folder, backend), the folder being the same on every machine. replicas are
    the fewest and the most, each with limits.threads cores. keys makes those of a replica, of which
    each counts rates alone. Raises UserError if ray is missing.
    """
    try:
        import ray
        from ray import serve as ray_serve
    except ImportError as error:
        raise UserError("ray is not installed: pip install 'alembert[ray]'") from error

    def built() -> ASGIApp:  # runs in each replica; only the names it uses are sent there
        openers = [lambda each=each: load_model(*each) for each in models]
        made = app_of(openers, limits, keys(), origins, wait=True, open_metrics=open_metrics)
        return made[0]

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
    stopped = Event()  # ray itself aborts on a signal
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        each = getattr(signal, name, signal.SIGTERM)
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup asks for
            signal.signal(each, lambda *_: stopped.set())
    ray_serve.start(http_options={"host": host, "port": port})
    ray_serve.run(deployment(ray_serve.ingress(built)(_Replica)).bind())
    log.info(f"http://{host}:{port} is up on {fewest} to {most} replicas; Ctrl+C stops it")
    stopped.wait()
    ray_serve.shutdown()


class _Replica:
    """The class that Ray starts for each replica; the application is its ingress."""
