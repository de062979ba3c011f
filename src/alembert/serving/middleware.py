"""The middleware of every request: API key, admission, counters, access log, error responses."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alembert.io.errors import UserError
from alembert.serving.keys import Keys
from alembert.serving.listening.protocol import LATE
from alembert.serving.queue import FailedError
from alembert.serving.schemas import RefusedError
from alembert.serving.service import Limits, Service

T = TypeVar("T")
PUBLIC = ("/", "/health")  # need no key
METRICS = "/metrics"  # needs one if that is asked for
LOG = logging.getLogger("alembert.access")
Answer = Callable[[Request, str | None], Awaitable[Response]]  # request, name of a model
ERRORS = (RefusedError, UserError, HTTPException, ClientDisconnect)
PATIENCE = 0.02  # seconds after which a disconnect of the client is watched for


def refusal(error: RefusedError) -> JSONResponse:
    """The error response of a refused request."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status in (408, 413):
        headers["connection"] = "close"  # the unread body would be parsed as the next request
    make = _cached_refusal if error.status == 429 else _refusal  # other messages may quote a text
    return make(error.status, error.message, error.kind, tuple(headers.items()))


def _refusal(
    status: int, message: str, kind: str, headers: tuple[tuple[str, str], ...]
) -> JSONResponse:
    return JSONResponse({"error": message, "error_type": kind}, status, dict(headers))


_cached_refusal = lru_cache(_refusal)  # under overload the same response is sent repeatedly


class Front:
    """Wraps an ASGI application: checks key and admission, counts and logs requests."""

    def __init__(
        self, app: ASGIApp, service: Service, keys: Keys | None, open_metrics: bool
    ) -> None:
        self._app, self._service, self._keys = app, service, keys
        self._public = {*PUBLIC, METRICS} if open_metrics else set(PUBLIC)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500
        scope["path"] = scope["path"].rstrip("/") or "/"
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
            self._note(scope, status, time.perf_counter() - start)

    def _refused(self, scope: Scope) -> RefusedError | None:
        """The reason to refuse a request before its body is read, which is cheap under overload."""
        if self._keys is not None and scope["path"] not in self._public:
            try:
                name = self._keys.name(dict(scope["headers"]).get(b"authorization", b""))
            except RefusedError as error:
                return error
            scope["alembert"] = {"key": name}  # fields of the access log
        return self._service.refusal() if scope["method"] == "POST" else None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        fields: dict[str, object] = scope.get("alembert", {})
        route = getattr(scope.get("endpoint"), "path", "other")
        self._service.metrics.request(route, str(fields.get("model", "")), status, seconds)
        if LOG.isEnabledFor(logging.INFO):
            line = {
                "time": round(time.time(), 3),
                "client": (scope.get("client") or [""])[0],
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": round(1000 * seconds, 2),
                **fields,
            }
            LOG.info(json.dumps(line))


class Endpoint:
    """The ASGI application of one route, whose answer depends on the request and a model's name."""

    def __init__(self, path: str, answer: Answer) -> None:
        self.path, self._answer = path, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request, scope["path_params"].get("name"))
        await response(scope, receive, send)


class Refusals:
    """Turns an application's errors into responses: refusals with their reason, faults with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("app", self)  # the router then raises for a path or method it lacks
        try:
            await self._app(scope, receive, send)
        except ERRORS as error:
            await refused(error)(scope, receive, send)
        except Exception:
            await refusal(RefusedError(500, "a fault of the server"))(scope, receive, send)
            raise  # for the log


def refused(error: Exception) -> Response:
    """The error response to an exception that refuses a request."""
    if isinstance(error, ClientDisconnect):
        error = RefusedError(499, "the client hung up")
    elif isinstance(error, HTTPException):
        error = _unrouted(error)
    elif isinstance(error, UserError):
        error = RefusedError(422, str(error))
    assert isinstance(error, RefusedError)
    return refusal(error)


def _unrouted(error: HTTPException) -> RefusedError:
    """The refusal of a path or a method that no route has."""
    methods = sorted((error.headers or {}).get("Allow", "").split(", "))
    reason = "no such route: see /openapi.json"
    if any(methods):
        reason = f"this route takes {', '.join(methods)}"
    return RefusedError(error.status_code, reason, headers=error.headers)


async def body_of(request: Request, limits: Limits) -> bytes:
    """The body.

    Raises RefusedError 413 once it is too large, 408 when it does not arrive, and 415 when it is
    compressed.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise RefusedError(415, "no Content-Encoding is read: send the body as it is")
    refused = RefusedError(413, f"the body is over {limits.body:,} bytes")
    late = RefusedError(408, f"the request did not arrive in {limits.reading:g} s")
    if int(request.headers.get("content-length", 0)) > limits.body:
        raise refused
    message = await request.receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(limits.reading):
                while message.get("more_body") and len(body) <= limits.body:
                    message = await request.receive()
                    body += message.get("body", b"")
        except TimeoutError as error:
            raise late from error
    if message["type"] == "http.disconnect":
        if LATE in request.scope:
            raise late  # the connection has sent it already: for the log
        raise ClientDisconnect
    if len(body) > limits.body:
        raise refused
    return bytes(body)


async def unless_gone(future: asyncio.Future[T], receive: Receive) -> T:
    """The result of a future, which is cancelled when the client disconnects first.

    Raises ClientDisconnect then, and RefusedError 424 when the model fails.
    """
    loop = asyncio.get_running_loop()
    watch: asyncio.Task[None] | None = None

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        future.cancel()

    def begin() -> None:
        nonlocal watch
        watch = loop.create_task(listen())

    timer = loop.call_later(PATIENCE, begin)
    try:
        return await future
    except asyncio.CancelledError:
        if watch is not None and watch.done():
            raise ClientDisconnect from None
        raise
    except FailedError as error:
        raise RefusedError(424, f"inference failed: {error}") from error
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()
