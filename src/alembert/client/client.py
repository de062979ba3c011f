"""Clients of `alembert serve`: typed answers, and retries while the server is busy."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from alembert.io.answers import Guess, Tag, Tags
from alembert.io.errors import UserError

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


T = TypeVar("T")


@dataclass(frozen=True)
class _Request(Generic[T]):
    """A request: its path, its body (None for a GET), and the function that parses the JSON."""

    path: str
    body: dict[str, Any] | None
    read: Callable[[Any], T]


class _Base:
    """The settings and the requests of both clients."""

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

    def _request(
        self, route: str, texts: Any, read: Callable[[Any], T], **options: Any
    ) -> _Request[list[T]]:
        inputs = [texts] if isinstance(texts, str) else list(texts)
        body = {"inputs": inputs, **options}
        return _Request(
            f"{self._prefix}/{route}", body, lambda answers: [read(each) for each in answers]
        )

    def _waits(self) -> Iterator[float]:
        """Seconds before each retry: exponential backoff up to 5 seconds, with jitter."""
        for number in range(self._retries):
            yield min(5.0, 0.1 * 2**number) * random.uniform(0.5, 1)


class Client(_Base):
    """A blocking client; a text or a list of texts gives a list. Close it, or use `with`.

    Raises ServerError when the server refuses, and httpx's errors when it cannot be reached.
    """

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def predict(
        self, texts: str | Sequence[Text], truncate: bool = False, raw_scores: bool = False
    ) -> list[list[LabelScore]]:
        """For each text or pair of texts its labels, the highest score first."""
        options = {"truncate": truncate, "raw_scores": raw_scores}
        return self._send(self._request("predict", texts, _labels, **options))

    def embed(self, texts: str | Sequence[str], truncate: bool = False) -> list[list[float]]:
        """The vector of each text."""
        return self._send(self._request("embed", texts, list[float], truncate=truncate))

    def fill_mask(
        self, texts: str | Sequence[str], top: int = 5, temperature: float = 1.0
    ) -> list[list[list[Guess]]]:
        """For each mask of each text, the `top` most probable tokens."""
        options = {"top": top, "temperature": temperature}
        return self._send(self._request("fill-mask", texts, _guesses, **options))

    def tag(self, texts: str | Sequence[str | Sequence[str]], truncate: bool = False) -> list[Tags]:
        """The tags of each text or list of words."""
        return self._send(self._request("tag", texts, _tags, truncate=truncate))

    def info(self) -> dict[str, Any]:
        """The served models and their settings."""
        return self._send(_Request("/info", None, dict[str, Any]))

    def _send(self, request: _Request[T]) -> T:
        for wait in self._waits():
            outcome = self._try(request)
            if (least := _retry_after(outcome)) is None:
                return request.read(_content(outcome))
            time.sleep(max(wait, least))
        return request.read(_content(self._try(request)))

    def _try(self, request: _Request[Any]) -> httpx.Response | httpx.TransportError:
        method = "GET" if request.body is None else "POST"
        try:
            return self._http.request(method, request.path, json=request.body)
        except httpx.TransportError as error:
            return error


class AsyncClient(_Base):
    """The same client for asyncio: its methods are awaited. aclose it, or use `async with`."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def predict(
        self, texts: str | Sequence[Text], truncate: bool = False, raw_scores: bool = False
    ) -> list[list[LabelScore]]:
        """As Client.predict."""
        options = {"truncate": truncate, "raw_scores": raw_scores}
        return await self._send(self._request("predict", texts, _labels, **options))

    async def embed(self, texts: str | Sequence[str], truncate: bool = False) -> list[list[float]]:
        """As Client.embed."""
        return await self._send(self._request("embed", texts, list[float], truncate=truncate))

    async def fill_mask(
        self, texts: str | Sequence[str], top: int = 5, temperature: float = 1.0
    ) -> list[list[list[Guess]]]:
        """As Client.fill_mask."""
        options = {"top": top, "temperature": temperature}
        return await self._send(self._request("fill-mask", texts, _guesses, **options))

    async def tag(
        self, texts: str | Sequence[str | Sequence[str]], truncate: bool = False
    ) -> list[Tags]:
        """As Client.tag."""
        return await self._send(self._request("tag", texts, _tags, truncate=truncate))

    async def info(self) -> dict[str, Any]:
        """As Client.info."""
        return await self._send(_Request("/info", None, dict[str, Any]))

    async def _send(self, request: _Request[T]) -> T:
        for wait in self._waits():
            outcome = await self._try(request)
            if (least := _retry_after(outcome)) is None:
                return request.read(_content(outcome))
            await asyncio.sleep(max(wait, least))
        return request.read(_content(await self._try(request)))

    async def _try(self, request: _Request[Any]) -> httpx.Response | httpx.TransportError:
        method = "GET" if request.body is None else "POST"
        try:
            return await self._http.request(method, request.path, json=request.body)
        except httpx.TransportError as error:
            return error


Outcome = httpx.Response | httpx.TransportError


def _retry_after(outcome: Outcome) -> float | None:
    """The least number of seconds before a retry; None when the request is not retried."""
    if isinstance(outcome, httpx.TransportError):
        # a retry after a timeout would only ask for the same work twice
        return None if isinstance(outcome, httpx.TimeoutException) else 0.0
    if outcome.status_code not in BUSY:
        return None
    seconds = outcome.headers.get("retry-after", "")
    return min(float(seconds), 60.0) if seconds.isdecimal() else 0.0


def _content(outcome: Outcome) -> Any:
    """The JSON of a response. Raises ServerError, or the error of the connection."""
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    if outcome.status_code == 200:
        return outcome.json()
    try:
        content = outcome.json()
        message, kind = str(content["error"]), str(content["error_type"])
    except (ValueError, KeyError, TypeError):  # sent by a proxy
        message, kind = outcome.text[:200], "Unknown"
    raise ServerError(outcome.status_code, message, kind)


def _labels(answer: Any) -> list[LabelScore]:
    return [LabelScore(each["label"], each["score"]) for each in answer]


def _guesses(answer: Any) -> list[list[Guess]]:
    return [[Guess(**guess) for guess in mask] for mask in answer]


def _tags(answer: Any) -> Tags:
    words, spans = (tuple(Tag(**tag) for tag in answer[name]) for name in ("words", "spans"))
    return Tags(words, spans)
