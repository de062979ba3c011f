"""Clients of `alembert serve`: typed answers, and retries while the server is busy."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import isawaitable
from itertools import count
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import httpx

from alembert.io.answers import Guess, Tag, Tags
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

Text = str | tuple[str, str]
BUSY = (429, 500, 502, 503, 504)  # a full queue, a loading server, or a proxy whose server died


@dataclass(frozen=True)
class LabelScore:
    """A label and its probability, or the score of a regression."""

    label: str
    score: float


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

    _transport: Callable[..., Any]
    _sleep: Callable[..., Any]

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
        is busy or not ready, or when the connection broke. Timeouts are not retried.
        """
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url}: write it as http://HOST:PORT")
        self._prefix = f"/models/{model}" if model else ""
        self._retries = retries
        self._options: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout,
            "headers": {"authorization": f"Bearer {api_key}"} if api_key else {},
        }
        self._http = self._transport(**self._options)

    async def _answers(self, route: str, texts: Any, **options: Any) -> list[Any]:
        """The JSON for each text, from a route of the chosen model."""
        inputs = [texts] if isinstance(texts, str | tuple) else list(texts)  # a tuple is a pair
        for number, text in enumerate(inputs, start=1):
            _check_unicode(text, number)
        return list(await self._send(f"{self._prefix}/{route}", {"inputs": inputs, **options}))

    async def _send(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of the response to a POST, or to a GET where there is no body."""
        method = "GET" if body is None else "POST"
        for number in count():
            outcome: Outcome
            try:
                outcome = await _result(self._http.request(method, path, json=body))
            except httpx.TransportError as error:
                outcome = error
            least = _retry_after(outcome)
            if least is None or number >= self._retries:
                return _content(outcome)
            backoff = min(5.0, 0.1 * 2**number) * random.uniform(0.5, 1)  # with jitter
            await _result(self._sleep(max(backoff, least)))


class AsyncClient(_Core):
    """A client for asyncio; a text or a list of texts gives a list. aclose it, or use `async with`.

    Raises ServerError when the server refuses, and httpx's errors when it cannot be reached.
    """

    _transport = httpx.AsyncClient

    def _sleep(self, seconds: float) -> Any:
        return asyncio.sleep(seconds)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def predict(
        self, texts: str | Sequence[Text], truncate: bool = False, raw_scores: bool = False
    ) -> list[list[LabelScore]]:
        """For each text or pair of texts its labels, the highest score first."""
        options = {"truncate": truncate, "raw_scores": raw_scores}
        answers = await self._answers("predict", texts, **options)
        return [[LabelScore(each["label"], each["score"]) for each in text] for text in answers]

    async def embed(self, texts: str | Sequence[str], truncate: bool = False) -> list[list[float]]:
        """The vector of each text."""
        return await self._answers("embed", texts, truncate=truncate)

    async def fill_mask(
        self, texts: str | Sequence[str], top: int = 5, temperature: float = 1.0
    ) -> list[list[list[Guess]]]:
        """For each mask of each text, the `top` most probable tokens."""
        answers = await self._answers("fill-mask", texts, top=top, temperature=temperature)
        return [[[Guess(**guess) for guess in mask] for mask in text] for text in answers]

    async def tag(
        self, texts: str | Sequence[str | Sequence[str]], truncate: bool = False
    ) -> list[Tags]:
        """The tags of each text or list of words."""
        return [_tags(each) for each in await self._answers("tag", texts, truncate=truncate)]

    async def info(self) -> dict[str, Any]:
        """The served models and their settings."""
        return dict(await self._send("/info"))


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

    def _sleep(self, seconds: float) -> Any:
        return time.sleep(seconds)

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
    info = _blocking(AsyncClient.info)


async def _result(called: Any) -> Any:
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


def _check_unicode(text: Any, number: int) -> None:
    """Raises UserError for half of a surrogate pair (half an emoji), which cannot be sent."""
    for part in [text] if isinstance(text, str) else text:
        if isinstance(part, str) and any("\ud800" <= each <= "\udfff" for each in part):
            raise UserError(f"text {number}: holds half of a surrogate pair: give valid Unicode")


def _content(outcome: Outcome) -> Any:
    """The JSON of a response. Raises ServerError, or the error of the connection."""
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    try:
        content = json_of(outcome.text)
        if outcome.status_code == 200:
            return content
        message, kind = str(content["error"]), str(content["error_type"])
    except (ValueError, KeyError, TypeError):  # sent by a proxy
        message, kind = outcome.text[:200], "Unknown"
    raise ServerError(outcome.status_code, message, kind)


def _tags(answer: Any) -> Tags:
    words, spans = (tuple(Tag(**tag) for tag in answer[name]) for name in ("words", "spans"))
    return Tags(words, spans)
