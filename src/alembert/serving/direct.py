"""Requests to the routes that are asked most, past the framework's layers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from alembert.io.errors import UserError
from alembert.serving.middleware import refusal
from alembert.serving.schemas import RefusedError

Answer = Callable[[Request, str | None], Awaitable[Response]]  # request, name of a model
ERRORS = (RefusedError, UserError, HTTPException, ClientDisconnect)


@dataclass(frozen=True)
class _Route:
    """What the access log and the counters call a route."""

    path: str


class Direct:
    """Answers POST to PATH and /models/NAME/PATH itself; the rest is the framework's.

    Its seven layers took a seventh of the event loop's time in a rush.
    """

    def __init__(self, app: ASGIApp, answers: Mapping[str, Answer]) -> None:
        self._app, self._answers = app, answers
        self._first = {path: _Route(path) for path in answers}
        self._named = {path: _Route(f"/models/{{name}}{path}") for path in answers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, name = self._place(scope)
        if path is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = (self._first if name is None else self._named)[path]
        request = Request(scope, receive)
        try:
            try:
                response = await self._answers[path](request, name)
            except ERRORS as error:
                response = await refused(request, error)
        except Exception:
            await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)
            raise  # for the log
        await response(scope, receive, send)

    def _place(self, scope: Scope) -> tuple[str | None, str | None]:
        """Route and name of a model; no route where it is not one of these."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            return None, None
        path = scope["path"]
        if path in self._answers:
            return path, None
        if path.startswith("/models/"):
            name, slash, rest = path[len("/models/") :].partition("/")
            if name and slash + rest in self._answers:
                return slash + rest, name
        return None, None


async def refused(request: Request, error: Exception) -> Response:
    """The answer to a request that gets none, whatever says so."""
    if isinstance(error, ClientDisconnect):
        error = RefusedError(499, "the client hung up")
    elif isinstance(error, HTTPException):
        error = RefusedError(error.status_code, str(error.detail), headers=error.headers)
    elif isinstance(error, UserError):
        error = RefusedError(422, str(error))
    assert isinstance(error, RefusedError)
    return refusal(error)
