"""A client of `alembert serve`: typed answers, and patience where the server has no room."""

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
BUSY = (429, 500, 502, 503, 504)  # no room, not ready, or a proxy whose server died


@dataclass(frozen=True)
class LabelScore:
    """A label and its probability; of a regression the number."""

    label: str
    score: float


class ServerError(Exception):
    """What the server said where it did not answer: status, error_type."""

    def __init__(self, status: int, message: str, error_type: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.error_type = status, error_type


T = TypeVar("T")


@dataclass(frozen=True)
class _Question(Generic[T]):
    """Where it goes, what it holds (None: it is a GET), what makes the answer of the JSON."""

    path: str
    body: dict[str, Any] | None
    read: Callable[[Any], T]


class _Asking:
    """What both clients are told, and the questions that they ask."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
    ) -> None:
        """model: one of several, by name; the first by default. retries: of a question, at most.

        Asked again: what the server has no room for or is not ready for, not before Retry-After;
        and what got no answer because it died or the connection broke.
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

    def _question(
        self, route: str, texts: Any, read: Callable[[Any], T], **options: Any
    ) -> _Question[list[T]]:
        inputs = [texts] if isinstance(texts, str) else list(texts)
        body = {"inputs": inputs, **options}
        return _Question(
            f"{self._prefix}/{route}", body, lambda answers: [read(each) for each in answers]
        )

    def _waits(self) -> Iterator[float]:
        """Seconds before each new attempt: twice as long each time, 5 at most, never the same."""
        for number in range(self._retries):
            yield min(5.0, 0.1 * 2**number) * random.uniform(0.5, 1)


class Client(_Asking):
    """Asks and waits; one text, or a list of them, gives a list. Close it, or use `with`.

    Raises ServerError where the server refuses, httpx's errors where it is not there.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
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
        """Per text, or pair of texts, its labels, the highest score first."""
        options = {"truncate": truncate, "raw_scores": raw_scores}
        return self._ask(self._question("predict", texts, _labels, **options))

    def embed(self, texts: str | Sequence[str], truncate: bool = False) -> list[list[float]]:
        """Per text its vector."""
        return self._ask(self._question("embed", texts, list[float], truncate=truncate))

    def fill_mask(
        self, texts: str | Sequence[str], top: int = 5, temperature: float = 1.0
    ) -> list[list[list[Guess]]]:
        """Per text, per mask in it, what may stand there."""
        options = {"top": top, "temperature": temperature}
        return self._ask(self._question("fill-mask", texts, _guesses, **options))

    def tag(self, texts: str | Sequence[str | Sequence[str]], truncate: bool = False) -> list[Tags]:
        """Per text, or list of words, its tags."""
        return self._ask(self._question("tag", texts, _tags, truncate=truncate))

    def info(self) -> dict[str, Any]:
        """What is served."""
        return self._ask(_Question("/info", None, dict[str, Any]))

    def _ask(self, question: _Question[T]) -> T:
        for wait in self._waits():
            outcome = self._try(question)
            if (least := _again(outcome)) is None:
                return question.read(_content(outcome))
            time.sleep(max(wait, least))
        return question.read(_content(self._try(question)))

    def _try(self, question: _Question[Any]) -> httpx.Response | httpx.TransportError:
        method = "GET" if question.body is None else "POST"
        try:
            return self._http.request(method, question.path, json=question.body)
        except httpx.TransportError as error:
            return error


class AsyncClient(_Asking):
    """The same for asyncio: its methods are awaited; aclose it, or use `async with`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
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
        return await self._ask(self._question("predict", texts, _labels, **options))

    async def embed(self, texts: str | Sequence[str], truncate: bool = False) -> list[list[float]]:
        """As Client.embed."""
        return await self._ask(self._question("embed", texts, list[float], truncate=truncate))

    async def fill_mask(
        self, texts: str | Sequence[str], top: int = 5, temperature: float = 1.0
    ) -> list[list[list[Guess]]]:
        """As Client.fill_mask."""
        options = {"top": top, "temperature": temperature}
        return await self._ask(self._question("fill-mask", texts, _guesses, **options))

    async def tag(
        self, texts: str | Sequence[str | Sequence[str]], truncate: bool = False
    ) -> list[Tags]:
        """As Client.tag."""
        return await self._ask(self._question("tag", texts, _tags, truncate=truncate))

    async def info(self) -> dict[str, Any]:
        """As Client.info."""
        return await self._ask(_Question("/info", None, dict[str, Any]))

    async def _ask(self, question: _Question[T]) -> T:
        for wait in self._waits():
            outcome = await self._try(question)
            if (least := _again(outcome)) is None:
                return question.read(_content(outcome))
            await asyncio.sleep(max(wait, least))
        return question.read(_content(await self._try(question)))

    async def _try(self, question: _Question[Any]) -> httpx.Response | httpx.TransportError:
        method = "GET" if question.body is None else "POST"
        try:
            return await self._http.request(method, question.path, json=question.body)
        except httpx.TransportError as error:
            return error


Outcome = httpx.Response | httpx.TransportError


def _again(outcome: Outcome) -> float | None:
    """The least seconds to wait before the next attempt; None where none would help."""
    if isinstance(outcome, httpx.TransportError):
        # who was not answered in time would only ask for the same work twice
        return None if isinstance(outcome, httpx.TimeoutException) else 0.0
    if outcome.status_code not in BUSY:
        return None
    said = outcome.headers.get("retry-after", "")
    return min(float(said), 60.0) if said.isdecimal() else 0.0


def _content(outcome: Outcome) -> Any:
    """The answer; raises ServerError, or the error of the connection."""
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    if outcome.status_code == 200:
        return outcome.json()
    try:
        told = outcome.json()
        message, kind = str(told["error"]), str(told["error_type"])
    except (ValueError, KeyError, TypeError):  # of a proxy on the way
        message, kind = outcome.text[:200], "Unknown"
    raise ServerError(outcome.status_code, message, kind)


def _labels(answer: Any) -> list[LabelScore]:
    return [LabelScore(each["label"], each["score"]) for each in answer]


def _guesses(answer: Any) -> list[list[Guess]]:
    return [[Guess(**guess) for guess in mask] for mask in answer]


def _tags(answer: Any) -> Tags:
    words, spans = (tuple(Tag(**tag) for tag in answer[name]) for name in ("words", "spans"))
    return Tags(words, spans)
