"""Clients of `alembert serve`: typed answers, and retries while the server is busy."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from inspect import isawaitable
from itertools import count
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import httpx

from alembert.io.answers import (
    Answer,
    Guess,
    Labels,
    Prediction,
    Score,
    Tag,
    Tags,
    Texts,
    as_list,
    predicted,
)
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

LARGEST = 256_000_000  # bytes of an answer; 250,000 characters are answered with a tenth of it
BUSY = (429, 500, 502, 503, 504)  # a full queue, a loading server, or a proxy whose server died


class ServerError(Exception):
    """The server's error response: status, message and error_type."""

    def __init__(self, status: int, message: str, error_type: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.error_type = status, error_type


Outcome = httpx.Response | httpx.TransportError
P = ParamSpec("P")
T = TypeVar("T")


class _Core:
    """The settings, the requests and the retries of both clients, whose transports differ."""

    _transport: Callable[..., httpx.Client | httpx.AsyncClient]
    _sleep: Callable[[float], Awaitable[None] | None]
    _read: Callable[[httpx.Response], Awaitable[httpx.Response] | httpx.Response]

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
    ) -> None:
        """model is the name of one of several served models, by default the first.

        A request is sent again, up to `retries` times and not before Retry-After, when the server
        is busy or not ready, or when the connection broke. Timeouts are not retried. timeout is
        in seconds, for the beginning of an answer and again for the rest of it.
        """
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url}: write it as http://HOST:PORT")
        self._prefix = f"/models/{model}" if model else ""
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise UserError("api_key: give printable ASCII")
        self._retries, self._timeout = retries, timeout
        self._options: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout,
            "headers": {"authorization": f"Bearer {api_key}"} if api_key else {},
        }
        self._http = self._transport(**self._options)

    async def _answers(
        self, route: str, texts: Texts, make: Callable[[Any, str], object], **options: object
    ) -> Any:
        """The answer of the chosen model to each text; make reads one's JSON, with the kind."""
        inputs, one = as_list(texts)
        for number, text in enumerate(inputs, start=1):
            _check_unicode(text, number)
        response = await self._send(f"{self._prefix}/{route}", {"inputs": inputs, **options})
        kind = response.headers.get("alembert-kind", "")
        content = _json(response)
        try:
            answers = [make(each, kind) for each in content]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unknown(response) from error
        if not isinstance(content, list) or len(answers) != len(inputs):
            raise _unknown(response)
        return answers[0] if one else answers

    async def _send(self, path: str, body: dict[str, object] | None = None) -> httpx.Response:
        """The response to a POST, or to a GET where there is no body."""
        method = "GET" if body is None else "POST"
        for number in count():
            outcome: Outcome
            try:
                request = self._http.build_request(method, path, json=body)
                begun = await _result(self._http.send(request, stream=True))
                outcome = await _result(self._read(begun))
            except httpx.TransportError as error:
                outcome = error
            least = _retry_after(outcome)
            if least is None or number >= self._retries:
                break
            backoff = min(5.0, 0.1 * 2**number) * random.uniform(0.5, 1)  # with jitter
            await _result(self._sleep(max(backoff, least)))
        return _successful(outcome)


class _Body:
    """The body of a response that is being read: not without end, in size or in time."""

    def __init__(self, response: httpx.Response, seconds: float) -> None:
        self._response, self._seconds = response, seconds
        self._end = time.monotonic() + seconds
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Keeps a part. Raises ServerError for a body too large, and httpx.ReadTimeout."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > LARGEST:
            message = f"the answer is over {LARGEST:,} bytes"
            raise ServerError(self._response.status_code, message, "Unknown")
        if time.monotonic() > self._end:
            raise httpx.ReadTimeout(
                f"the answer did not end in {self._seconds:g} s", request=self._response.request
            )

    def response(self) -> httpx.Response:
        """The response with the whole body, which is no longer compressed."""
        headers = self._response.headers.copy()
        headers.pop("content-encoding", None)
        return httpx.Response(
            self._response.status_code, headers=headers, content=b"".join(self._parts)
        )


class AsyncClient(_Core):
    """A client for asyncio; it answers as a Session does. aclose it, or use `async with`.

    A list of texts or pairs gives a list of answers; a str, or a tuple that is a pair, gives one.
    Raises ServerError when the server refuses, and httpx's errors when it cannot be reached.
    """

    _transport = httpx.AsyncClient
    _http: httpx.AsyncClient

    def _sleep(self, seconds: float) -> Awaitable[None]:
        return asyncio.sleep(seconds)

    async def _read(self, response: httpx.Response) -> httpx.Response:
        body = _Body(response, self._timeout)
        try:
            async for part in response.aiter_bytes():
                body.add(part)
        finally:
            await response.aclose()
        return body.response()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def predict(self, texts: Texts, truncate: bool = False, raw_scores: bool = False) -> Any:
        """A Prediction, Labels (multi-label) or Score (regression) for each text or pair.

        With raw_scores the scores are logits.
        """
        make = partial(_predicted, least=0.0 if raw_scores else 0.5)
        options = {"truncate": truncate, "raw_scores": raw_scores}
        return await self._answers("predict", texts, make, **options)

    async def embed(self, texts: Texts, truncate: bool = False, normalize: bool = False) -> Any:
        """The vector of each text, a list of numbers; normalize gives all of them length 1."""
        options = {"truncate": truncate, "normalize": normalize}
        return await self._answers("embed", texts, _vector, **options)

    async def fill_mask(self, texts: Texts, top: int = 5, temperature: float = 1.0) -> Any:
        """For each mask of each text, a list of the `top` most probable Guesses."""
        options = {"top": top, "temperature": temperature}
        return await self._answers("fill-mask", texts, _guesses, **options)

    async def tag(self, texts: Texts, truncate: bool = False) -> Any:
        """The Tags of each text or list of words."""
        return await self._answers("tag", texts, _tags, truncate=truncate)

    async def answer(self, texts: Texts) -> Any:
        """The Answer to each pair of a question and its context."""
        inputs, one = as_list(texts)
        if wrong := [n for n, each in enumerate(inputs, 1) if isinstance(each, str)]:
            raise UserError(f"text {wrong[0]}: give a pair, of a question and its context")
        answers = await self._answers("answer", inputs, lambda each, kind: Answer(**each))
        return answers[0] if one else answers

    async def info(self) -> dict[str, Any]:
        """The served models and their settings."""
        response = await self._send("/info")
        content = _json(response)
        if not isinstance(content, dict):
            raise _unknown(response)
        return content


def _blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """A method of AsyncClient for a client whose transport blocks."""

    @wraps(method)
    def call(client: Any, /, *positional: P.args, **named: P.kwargs) -> T:
        steps = method(client, *positional, **named)
        try:
            while True:  # nothing in it waits, so its first step is its last
                steps.send(None)
        except StopIteration as end:
            return cast(T, end.value)

    return call


class Client(_Core):
    """A blocking client with the methods of AsyncClient. Close it, or use `with`."""

    _transport = httpx.Client
    _http: httpx.Client

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _read(self, response: httpx.Response) -> httpx.Response:
        body = _Body(response, self._timeout)
        try:
            for part in response.iter_bytes():
                body.add(part)
        finally:
            response.close()
        return body.response()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    predict = _blocking(AsyncClient.predict)
    embed = _blocking(AsyncClient.embed)
    fill_mask = _blocking(AsyncClient.fill_mask)
    tag = _blocking(AsyncClient.tag)
    answer = _blocking(AsyncClient.answer)
    info = _blocking(AsyncClient.info)


async def _result(called: T | Awaitable[T]) -> T:
    """The result of a call to a transport, awaited where it is a coroutine."""
    return await called if isawaitable(called) else called


def _retry_after(outcome: Outcome) -> float | None:
    """The least number of seconds before a retry; None when the request is not retried."""
    if isinstance(outcome, httpx.TransportError):
        # a retry after a timeout would only ask for the same work twice
        return None if isinstance(outcome, httpx.TimeoutException) else 0.0
    if outcome.status_code not in BUSY:
        return None
    seconds = outcome.headers.get("retry-after", "")
    return min(float(seconds), 60.0) if seconds.isdecimal() else 0.0


def _check_unicode(text: object, number: int) -> None:
    """Raises UserError for half of a surrogate pair (half an emoji), which cannot be sent."""
    for part in text if isinstance(text, list | tuple) else [text]:
        if isinstance(part, str) and any("\ud800" <= each <= "\udfff" for each in part):
            raise UserError(f"text {number}: holds half of a surrogate pair: give valid Unicode")


def _json(response: httpx.Response) -> Any:
    """The JSON of a successful response. Raises ServerError for what Alembert does not send."""
    try:
        return json_of(response.text)
    except ValueError as error:
        raise _unknown(response) from error


def _unknown(response: httpx.Response) -> ServerError:
    """The error of an answer that is not Alembert's: the address is another server's."""
    message = f"this is no answer of alembert serve: {response.text[:200]}"
    return ServerError(response.status_code, message, "Unknown")


def _successful(outcome: Outcome) -> httpx.Response:
    """The response. Raises ServerError, or the error of the connection."""
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    if outcome.status_code == 200:
        return outcome
    try:
        content = json_of(outcome.text)
        message, kind = str(content["error"]), str(content["error_type"])
    except (ValueError, KeyError, TypeError):  # sent by a proxy
        message, kind = outcome.text[:200], "Unknown"
    raise ServerError(outcome.status_code, message, kind)


def _predicted(text: list[dict[str, Any]], kind: str, least: float) -> Prediction | Labels | Score:
    scores = {str(each["label"]): float(each["score"]) for each in text}
    return predicted(kind, scores, list(scores), least)


def _vector(numbers: list[float], kind: str) -> list[float]:
    return [float(each) for each in numbers]


def _guesses(text: list[list[dict[str, Any]]], kind: str) -> list[list[Guess]]:
    return [[Guess(**guess) for guess in mask] for mask in text]


def _tags(text: dict[str, list[dict[str, Any]]], kind: str) -> Tags:
    return Tags(*(tuple(Tag(**tag) for tag in text[name]) for name in ("words", "spans")))
