"""What every request passes first and last: the key, the counters, the access log."""

import hmac
import json
import logging
import time
from functools import lru_cache
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alembert.serving.schemas import TYPES, RefusedError
from alembert.serving.service import Service

PUBLIC = ("/", "/health", "/metrics")  # need no key
LOG = logging.getLogger("alembert.access")


def refusal(error: RefusedError) -> JSONResponse:
    """The answer of a request that gets none."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status in (408, 413):
        headers["connection"] = "close"  # a body that was not read would be taken for a request
    make = _kept if error.status == 429 else _refusal  # others may quote a text
    return make(error.status, error.message, tuple(headers.items()))


def _refusal(status: int, message: str, headers: tuple[tuple[str, str], ...]) -> JSONResponse:
    content = {"error": message, "error_type": TYPES.get(status, "Refused")}
    return JSONResponse(content, status, dict(headers))


_kept = lru_cache(_refusal)  # in a rush it is the same again and again


class Front:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, service: Service, api_key: str | None) -> None:
        self._app, self._service = app, service
        self._key = None if api_key is None else b"Bearer " + api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        refused = self._refused(scope)
        app = self._app if refused is None else refusal(refused)

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._service.leaving:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await app(scope, receive, sent)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _refused(self, scope: Scope) -> RefusedError | None:
        """Before anything is read: in a rush most of the work would be to say no."""
        if self._key is not None and scope["path"] not in PUBLIC:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._key):
                return RefusedError(401, "wrong or no API key")
        return self._service.refusal() if scope["method"] == "POST" else None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        told: dict[str, Any] = scope.get("alembert", {})
        route = getattr(scope.get("route"), "path", "other")
        self._service.metrics.request(route, told.get("model", ""), status, seconds)
        if LOG.isEnabledFor(logging.INFO):
            line = {
                "time": round(time.time(), 3),
                "client": (scope.get("client") or [""])[0],
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": round(1000 * seconds, 2),
                **told,
            }
            LOG.info(json.dumps(line))
