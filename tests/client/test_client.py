"""The client: typed answers, and new attempts where they help."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.serving import LABELS, counting, made_up, per_place, per_token, running
from transformers import BertTokenizerFast

from alembert.client.client import AsyncClient, Client, ServerError
from alembert.io.answers import Guess, Prediction
from alembert.io.errors import UserError

GOOD = [[{"score": 1.0, "label": "up"}]]


def told(answer: Callable[[int], httpx.Response], **options: Any) -> tuple[Client, list[Any]]:
    """A client whose server answers by the number of the attempt, and what it was asked."""
    client, asked = Client(**options), list[Any]()

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer(len(asked))

    client._http = httpx.Client(**client._options, transport=httpx.MockTransport(handle))
    return client, asked


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, without sleeping it."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(path)
    return path


def test_answers_of_a_real_application_are_typed(folder: Path) -> None:
    async def run() -> Any:
        openers = [
            made_up(folder, counting, name="sorts"),
            made_up(folder, per_token, "tokens", ("O", "B-x", "I-x"), name="tags"),
            made_up(folder, per_place, "words", (), name="fills"),
            made_up(folder, counting, "encoder", (), name="embeds"),
        ]
        found: dict[str, Any] = {}
        async with running(openers) as (_, _, app):
            for name in ("sorts", "tags", "fills", "embeds"):
                client = AsyncClient("http://test", model=name)
                client._http = httpx.AsyncClient(
                    **client._options, transport=httpx.ASGITransport(app)
                )
                async with client:
                    if name == "sorts":
                        found[name] = await client.predict(["a", ("a", "b")])
                        found["info"] = await client.info()
                    elif name == "tags":
                        found[name] = await client.tag(["a b", ["c"]])
                    elif name == "fills":
                        found[name] = await client.fill_mask("a [MASK]", top=2)
                    else:
                        found[name] = await client.embed("a")
        return found

    found = asyncio.run(run())
    assert [type(each) for each in found["sorts"]] == [Prediction, Prediction]
    assert [set(each.scores) for each in found["sorts"]] == [set(LABELS)] * 2
    assert [tags.words[0].text for tags in found["tags"]] == ["a", "c"]
    assert [type(guess) for guess in found["fills"][0]] == [Guess, Guess]
    assert len(found["embeds"]) == 3
    assert found["info"]["model_id"] == "sorts"


def test_a_tuple_is_a_pair_as_in_a_session() -> None:
    client, asked = told(lambda _: httpx.Response(200, json=GOOD))
    one = client.predict(("a film", "a book"))
    assert client.predict([("a film", "a book")]) == [one]
    assert [json.loads(each.content)["inputs"] for each in asked] == [[["a film", "a book"]]] * 2


def test_what_the_server_has_no_room_for_is_asked_again_not_before_it_says(
    slept: list[float],
) -> None:
    busy = httpx.Response(429, headers={"retry-after": "3"}, json={})
    client, asked = told(lambda number: busy if number < 3 else httpx.Response(200, json=GOOD))
    assert client.predict("a") == Prediction("up", 1.0, {"up": 1.0})
    assert len(asked) == 3
    assert slept == [3, 3]


def test_a_broken_connection_is_tried_again_and_waits_grow(slept: list[float]) -> None:
    def answer(number: int) -> httpx.Response:
        if number < 4:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=GOOD)

    client, asked = told(answer)
    client.predict(["a"])
    assert len(asked) == 4
    assert 0.05 <= slept[0] <= 0.1 <= slept[1] <= 0.2 <= slept[2] <= 0.4


def test_where_a_proxy_lost_its_server_the_client_asks_again() -> None:
    lost = httpx.Response(500, text="Internal Server Error")
    client, asked = told(lambda number: lost if number == 1 else httpx.Response(200, json=GOOD))
    assert client.predict("a") == Prediction("up", 1.0, {"up": 1.0})
    assert len(asked) == 2


def test_a_mistake_is_not_asked_again_and_carries_what_the_server_said(
    slept: list[float],
) -> None:
    said = {"error": "text 1: over 64 tokens", "error_type": "Validation"}
    client, asked = told(lambda number: httpx.Response(413, json=said))
    with pytest.raises(ServerError, match="413: text 1: over 64 tokens") as error:
        client.predict("a")
    assert (error.value.status, error.value.error_type) == (413, "Validation")
    assert (len(asked), slept) == (1, [])


def test_a_server_that_stays_busy_is_an_error_after_the_last_attempt() -> None:
    client, asked = told(lambda number: httpx.Response(503, text="<html>"), retries=2)
    with pytest.raises(ServerError, match="503: <html>"):
        client.embed("a")
    assert len(asked) == 3


def test_an_answer_that_takes_too_long_is_not_asked_for_twice() -> None:
    def answer(number: int) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    client, asked = told(answer)
    with pytest.raises(httpx.ReadTimeout):
        client.predict("a")
    assert len(asked) == 1


def test_the_key_and_the_name_of_the_model_go_along() -> None:
    answer = httpx.Response(200, json=GOOD)
    client, asked = told(lambda number: answer, url="http://there:1", model="m", api_key="secret")
    client.predict("a")
    assert str(asked[0].url) == "http://there:1/models/m/predict"
    assert asked[0].headers["authorization"] == "Bearer secret"


def test_an_address_without_http_is_named() -> None:
    with pytest.raises(UserError, match="write it as http://HOST:PORT"):
        Client("127.0.0.1:8000")


@pytest.mark.parametrize("text", ["a \ud83d", ("a", "\ude00")])
def test_half_an_emoji_is_refused_before_it_is_sent(text: Any) -> None:
    client, asked = told(lambda _: httpx.Response(200, json=GOOD))
    with pytest.raises(UserError, match="text 2: holds half of a surrogate pair"):
        client.predict(["a", text])
    assert not asked


@pytest.mark.parametrize("body", ["<html>", "[" * 10_000, '"\\ud83d"', ""])
def test_an_answer_that_no_alembert_server_sends_is_a_servers_error(body: str) -> None:
    client, _ = told(lambda _: httpx.Response(200, text=body))
    with pytest.raises(ServerError, match="200: "):
        client.predict(["a"])


@pytest.mark.parametrize(
    "lie",
    [
        b"<html>", b"{}", b'"up"', b"5", b"null", b"[]", b"[[]]", b"[5]", b"[[5]]", b'["up"]',
        b'[[{"label": "up"}]]', b'[[{"label": "up", "score": "high"}]]', b"[" * 9000, b"\xff\xfe",
        json.dumps(GOOD * 2).encode(),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_alemberts_is_said_to_be_none(lie: bytes) -> None:
    for ask in (Client.predict, Client.tag, Client.fill_mask, Client.embed):
        client, _ = told(lambda _: httpx.Response(200, content=lie))
        if ask is Client.embed and lie in (b"[[]]", b"[[5]]"):
            assert ask(client, ["a"]) == json.loads(lie)
            continue
        if ask is Client.fill_mask and lie == b"[[]]":
            assert ask(client, ["a"]) == [[]]
            continue
        with pytest.raises(ServerError, match="this is no answer of alembert serve"):
            ask(client, ["a"])


@pytest.mark.parametrize("lie", [b"<html>", b"[]", b"5", b"[" * 9000])
def test_facts_that_are_not_alemberts_are_said_to_be_none(lie: bytes) -> None:
    client, _ = told(lambda _: httpx.Response(200, content=lie))
    with pytest.raises(ServerError, match="this is no answer of alembert serve"):
        client.info()


class Endless(httpx.SyncByteStream):
    """A body without an end; read counts its parts."""

    read = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.read < 1000:
            self.read += 1
            yield b" " * 1000


def test_a_body_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alembert.client.client.LARGEST", 20_000)
    body = Endless()
    client, asked = told(lambda _: httpx.Response(200, stream=body))
    with pytest.raises(ServerError, match="the answer is over 20,000 bytes"):
        client.predict("a")
    assert (body.read, len(asked)) == (21, 1)


def test_a_packed_body_is_bounded_by_what_it_unpacks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, headers = gzip.compress(b" " * 1_000_000), {"content-encoding": "gzip"}
    monkeypatch.setattr("alembert.client.client.LARGEST", 500_000)
    client, _ = told(
        lambda _: httpx.Response(200, stream=httpx.ByteStream(packed), headers=headers)
    )
    with pytest.raises(ServerError, match="the answer is over 500,000 bytes"):
        client.predict("a")
    packed = gzip.compress(json.dumps(GOOD).encode())
    assert client.predict("a") == Prediction("up", 1.0, {"up": 1.0})


def test_a_body_that_comes_byte_by_byte_has_the_time_of_a_request() -> None:
    client, asked = told(lambda _: httpx.Response(200, stream=Endless()), timeout=0.0)
    with pytest.raises(httpx.ReadTimeout, match="the answer did not end in 0 s"):
        client.predict("a")
    assert len(asked) == 1


def test_a_redirect_is_not_followed_and_takes_the_key_nowhere() -> None:
    moved = httpx.Response(307, headers={"location": "http://evil.example/predict"})
    client, asked = told(lambda _: moved, api_key="secret")
    with pytest.raises(ServerError, match="307"):
        client.predict("a")
    assert [each.url.host for each in asked] == ["127.0.0.1"]


@pytest.mark.parametrize("key", ["é", "a\r\nX: b", "a\0"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="api_key: give printable ASCII"):
        Client(api_key=key)
