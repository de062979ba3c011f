"""The server: what it answers is what a Session answers, and what it refuses it says why."""

import asyncio
import importlib.util
import json
import random
import re
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.command_line import command
from support.serving import (
    asked,
    counting,
    made_up,
    per_place,
    per_token,
    running,
    texts,
    wait_for,
)

from alembert.client.client import Client
from alembert.inference import Session
from alembert.io.errors import UserError
from alembert.serving.keys import Keys
from alembert.serving.queue import _Rows
from alembert.serving.served_model import AttentionModel, ServedModel, load_model
from alembert.serving.server import LoopLag
from alembert.serving.service import Limits


@pytest.fixture(scope="module")
def model(classifier: Path) -> Path:
    """An exported tiny classifier."""
    return classifier


def ask(opener: Any, body: Any, path: str = "/predict", **options: Any) -> httpx.Response:
    """One request to an application of its own."""

    async def run() -> httpx.Response:
        openers = opener if isinstance(opener, list) else [opener]
        async with running(openers, **options) as (client, _, _):
            if isinstance(body, bytes):
                return await client.post(path, content=body)
            return await client.post(path, json=body)

    return asyncio.run(run())


def ragged(count: int) -> list[str]:
    dice = random.Random(0)
    return [
        "".join(dice.choices(string.ascii_lowercase + " ", k=dice.randint(1, 60))).strip() or "a"
        for _ in range(count)
    ]


def test_ragged_texts_of_many_clients_get_what_a_session_alone_answers(model: Path) -> None:
    given, session = ragged(60), Session(model)

    async def run() -> list[Any]:
        limits = Limits(threads=2, tokens=100)
        openers = [lambda: load_model("a", model)]
        async with running(openers, limits) as (client, _, _):
            answers = [client.post("/predict", json={"inputs": text}) for text in given]
            return [answer.json() for answer in await asyncio.gather(*answers)]

    for found, expected in zip(asyncio.run(run()), session.predict(given), strict=True):
        assert found[0]["label"] == expected.label
        scores = {each["label"]: each["score"] for each in found}
        assert scores == pytest.approx(expected.scores, abs=1e-5)


def test_one_text_gives_one_answer_and_a_list_a_list(model: Path) -> None:
    opener = lambda: load_model("a", model)  # noqa: E731
    one = ask(opener, {"inputs": "good film"}).json()
    several = ask(opener, {"inputs": ["good film", ["good film"], ["good", "film"]]}).json()
    scores = [{each["label"]: each["score"] for each in found} for found in (one, *several[:2])]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert several[2] != several[0]  # a pair


def test_raw_scores_are_the_logits(model: Path) -> None:
    found = ask(made_up(model, counting), {"inputs": "good film", "raw_scores": True}).json()
    total = sum(token.id for token in Session(model).tokenize("good film").tokens)
    scores = {each["label"]: each["score"] for each in found}
    assert scores == pytest.approx({"down": 4, "flat": total / 100, "up": 0}, abs=1e-4)


def test_embed_says_what_a_session_says_in_length_1(model: Path) -> None:
    opener = made_up(model, counting, "encoder", ())
    vector = opener().session.embed("good film")
    found = ask(opener, {"inputs": "good film"}, "/embed").json()
    assert found == [pytest.approx((vector / np.linalg.norm(vector)).tolist(), abs=1e-6)]
    plain = ask(opener, {"inputs": ["good film"], "normalize": False}, "/embed").json()
    assert plain == [pytest.approx(vector.tolist(), abs=1e-6)]


def test_fill_mask_says_what_a_session_says_and_a_temperature_softens(model: Path) -> None:
    opener = made_up(model, per_place, "words", ())
    given = ["the [MASK] was [MASK]", "a [MASK]"]
    expected = opener().session.fill_mask(given, top=3)
    found = ask(opener, {"inputs": given, "top": 3}, "/fill-mask").json()
    assert [[[each["word"] for each in mask] for mask in text] for text in found] == [
        [[guess.word for guess in mask] for mask in text] for text in expected
    ]
    soft = ask(opener, {"inputs": given[1], "temperature": 5.0}, "/fill-mask").json()
    assert soft[0][0]["score"] < found[1][0][0]["score"]
    many = ask(opener, {"inputs": ["[MASK] " * 20] * 32, "top": 200}, "/fill-mask")
    assert many.status_code == 413
    lost = ask(opener, {"inputs": "no mask"}, "/fill-mask")
    assert lost.status_code == 422
    assert "no [MASK] within" in lost.json()["error"]


def test_tag_says_what_a_session_says(model: Path) -> None:
    opener = made_up(model, per_token, "tokens", ("O", "B-x", "I-x"))
    expected = opener().session.tag(["the film was good", ["good", "xyz"]])
    found = ask(opener, {"inputs": ["the film was good", ["good", "xyz"]]}, "/tag").json()
    assert found == [
        {"words": [vars(word) for word in tags.words], "spans": [vars(span) for span in tags.spans]}
        for tags in expected
    ]


def test_tokenize_says_what_a_session_says(model: Path) -> None:
    tokens = Session(model).tokenize("good film").tokens
    found = ask(lambda: load_model("a", model), {"inputs": "good film"}, "/tokenize").json()
    assert [(each["id"], each["start"], each["stop"]) for each in found[0]] == [
        (token.id, token.start, token.end) for token in tokens
    ]


LONG = "a " * 300


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "Invalid JSON"),
        (b"\xff\xfe", 422, "Invalid JSON"),
        (b'\xef\xbb\xbf{"inputs": "a"}', 422, "byte order mark"),
        ('{"inputs": "a"}'.encode("utf-16"), 422, "byte order mark"),
        ('{"inputs": "a"}'.encode("utf-16-le"), 422, "byte order mark"),
        (b"[" * 100_000, 422, "recursion limit"),
        (b'{"inputs": NaN}', 422, "inputs: give a text"),
        (b'{"inputs": "\\ud800"}', 422, "Invalid JSON"),
        (b"[]", 422, "give a JSON object"),
        ({}, 422, "inputs: give a text"),
        ({"inputs": 3}, 422, "inputs: give a text"),
        ({"inputs": [["a", "b", "c"]]}, 422, "list of texts and of pairs [text, text]"),
        ({"inputs": []}, 422, "the list is empty"),
        ({"inputs": "  "}, 422, "text 1 ('  '): is empty"),
        ({"inputs": ["a", ""]}, 422, "text 2 (''): is empty"),
        ({"inputs": "a", "truncat": True}, 422, "no such field: there is"),
        ({"inputs": "a", "truncate": "yes"}, 422, "truncate: "),
        ({"inputs": LONG}, 413, "over 64 tokens"),
        ({"inputs": ["a"] * 33}, 413, "at most 32 a request"),
        ({"inputs": "a" * 3000}, 413, "over 2,000 bytes"),
        (b'{"inputs": "%s"}' % (b"a " * 150_000), 413, "at most 250,000 characters"),
    ],
)
def test_what_is_wrong_is_named_with_a_status(
    model: Path, body: Any, status: int, says: str
) -> None:
    opener = made_up(model, counting)
    limit = 400_000 if isinstance(body, bytes) else 2000
    found = ask(opener, body, limits=Limits(body=limit))
    assert found.status_code == status
    assert says in found.json()["error"]
    assert "\n" not in found.json()["error"]
    kind = {
        "byte order mark": "Json",
        "Invalid JSON": "Json",
        "recursion limit": "Json",
        "the list is empty": "Empty",
    }
    assert found.json()["error_type"] == kind.get(says, "Validation")


def test_a_long_text_is_cut_where_that_is_asked_for(model: Path) -> None:
    opener = made_up(model, counting)
    found = ask(opener, {"inputs": LONG, "truncate": True, "raw_scores": True})
    scores = {each["label"]: each["score"] for each in found.json()}
    assert scores["down"] == 64


def test_a_body_in_pieces_is_measured_as_it_comes(model: Path) -> None:
    async def run() -> tuple[int, int]:
        read = 0

        async def pieces() -> Any:
            nonlocal read
            for _ in range(1000):
                read += 1
                yield b" " * 1000

        async with running([made_up(model, counting)], Limits(body=5000)) as (c, _, _):
            found = await c.post("/predict", content=pieces())
        return found.status_code, read

    status, read = asyncio.run(run())
    assert status == 413
    assert read < 10


def test_a_body_that_does_not_arrive_is_not_waited_for(model: Path) -> None:
    async def run() -> Any:
        limits = Limits(reading=0.05)
        async with running([made_up(model, counting)], limits) as (_, service, app):
            told = iter([{"type": "http.request", "body": b"{", "more_body": True}])

            async def receive() -> Any:
                return next(told, None) or await asyncio.sleep(10)

            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            head = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
            more = {"query_string": b"", "root_path": "", "http_version": "1.1", "state": {}}
            await app({**head, **more}, receive, send)
            return sent[0]["status"], service.active

    assert asyncio.run(run()) == (408, 0)


def test_a_question_for_another_kind_of_model_names_the_right_route(model: Path) -> None:
    opener = made_up(model, counting)
    found = ask(opener, {"inputs": "a"}, "/embed")
    assert found.status_code == 424
    assert found.json()["error"] == "made is a model of classification: use /predict"


@pytest.mark.parametrize("engine", [lambda inputs: 1 / 0, lambda inputs: counting(inputs) * np.nan])
def test_a_model_that_fails_is_424(model: Path, engine: Callable[[Any], Any]) -> None:
    async def run() -> httpx.Response:
        async with running([made_up(model, counting)]) as (client, service, _):
            object.__setattr__(service.models["made"].session, "engine", engine)
            return await client.post("/predict", json={"inputs": "a"})

    found = asyncio.run(run())
    assert found.status_code == 424
    assert "inference failed: " in found.json()["error"]


def test_several_models_answer_under_their_names(model: Path) -> None:
    openers = [
        made_up(model, counting, name="first"),
        made_up(model, lambda x: -counting(x), name="second"),
    ]
    body = {"inputs": "good film"}
    first, named, second = (
        ask(openers, body, path).json()[0]["label"]
        for path in ("/predict", "/models/first/predict", "/models/second/predict")
    )
    assert (first, named, second) == ("down", "down", "up")
    lost = ask(openers, body, "/models/third/predict")
    assert lost.status_code == 404
    assert lost.json()["error"] == "no such model: there is first, second"


def test_info_health_and_the_document_say_what_there_is(model: Path) -> None:
    async def run() -> Any:
        async with running([made_up(model, counting)]) as (client, _, _):
            paths = ("/info", "/health", "/openapi.json", "/")
            return [await client.get(path) for path in paths]

    info, health, document, page = asyncio.run(run())
    assert info.json()["models"][0]["labels"] == ["down", "flat", "up"]
    assert health.status_code == 200
    assert {"/predict", "/models/{name}/tag", "/embed"} <= document.json()["paths"].keys()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"(src|href)=.https?:|@import|url\(http", page.text)


def test_while_models_load_the_answer_is_503(model: Path) -> None:
    gate = threading.Event()

    def slow() -> Any:
        assert gate.wait(10)
        return made_up(model, counting)()

    async def run() -> list[httpx.Response]:
        from alembert.serving.app import app_of

        app, service = app_of([slow], Limits())
        loading = asyncio.create_task(service.load(lambda: None))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            early = [await client.get("/health"), await client.post("/predict", json={})]
            gate.set()
            await loading
            late = await client.get("/health")
        await service.stop()
        return [*early, late]

    health, predict, late = asyncio.run(run())
    assert (health.status_code, predict.status_code, late.status_code) == (503, 503, 200)
    assert predict.headers["retry-after"] == "1"


@pytest.mark.parametrize("error", [FloatingPointError("not finite"), MemoryError(), OSError("x")])
def test_a_model_that_fails_while_it_is_loaded_ends_the_server(
    model: Path, error: Exception
) -> None:
    def fails(_: Any) -> Any:
        raise error

    async def run() -> tuple[UserError | None, list[str]]:
        from alembert.serving.app import app_of

        ended: list[str] = []
        _, service = app_of([made_up(model, fails)], Limits())
        await service.load(lambda: ended.append("ended"))
        await service.stop()
        return service.failed, ended

    failed, ended = asyncio.run(run())
    assert ended == ["ended"]
    assert failed is not None
    assert failed.code == 1
    assert str(failed).startswith(f"a model cannot be loaded ({type(error).__name__}")
    assert str(failed).endswith("): export it again")


def test_attentions_wait_in_the_queue_as_other_rows_do(model: Path) -> None:
    seen: list[str] = []

    class Graph:
        def outputs(self, inputs: Any) -> list[Any]:
            seen.append(threading.current_thread().name)
            tokens = inputs["input_ids"].shape[1]
            return [None, np.full((2, 1, 3, tokens, tokens), 1 / tokens)]

    def opened() -> ServedModel:
        plain = made_up(model, counting)()
        return replace(plain, attending=AttentionModel("made", lambda: Graph()))  # type: ignore[arg-type, return-value]

    found = ask([opened], {"inputs": "good film", "layer": 2}, "/attentions").json()
    assert (found["layers"], found["layer"], found["heads"]) == (2, 2, 3)
    assert len(found["tokens"]) == len(found["attentions"][0]) == 4
    assert seen[0].startswith("answers-")
    many = ask([opened], {"inputs": "good film", "layer": 3}, "/attentions")
    assert (many.status_code, many.json()["error"]) == (422, "layer: the model has 2")


def test_where_there_is_no_room_the_answer_is_429_at_once(model: Path) -> None:
    gate = threading.Event()

    def held(inputs: Any) -> Any:
        assert gate.wait(10)
        return counting(inputs)

    async def run() -> tuple[httpx.Response, list[httpx.Response]]:
        gate.set()
        opener = made_up(model, held)
        async with running([opener], Limits(requests=2)) as (client, service, _):
            gate.clear()
            body = {"inputs": "a"}
            accepted = [asyncio.create_task(client.post("/predict", json=body)) for _ in range(2)]
            await wait_for(lambda: service.active == 2)
            refused = await client.post("/predict", json=body)
            gate.set()
            return refused, [await each for each in accepted]

    refused, accepted = asyncio.run(run())
    assert refused.status_code == 429
    assert refused.json()["error"] == "too many requests: at most 2 at once"
    assert int(refused.headers["retry-after"]) >= 1
    assert [each.status_code for each in accepted] == [200, 200]


def test_a_long_wait_is_refused_too_and_said(model: Path) -> None:
    async def run() -> httpx.Response:
        async with running([made_up(model, counting)]) as (client, service, _):
            made = service.models["made"]  # as if 700 tokens waited, 10 ms each
            service.queue._small[made], service.queue._rates[made] = _Rows(made, tokens=700), 0.01
            return await client.post("/predict", json={"inputs": "a"})

    found = asyncio.run(run())
    assert found.status_code == 429
    assert found.headers["retry-after"] == "7"
    assert found.json()["error"] == "too many requests: the expected wait is over 2 s"


def test_requests_that_were_let_in_together_count_for_each_other(model: Path) -> None:
    gate = threading.Event()

    def held(inputs: Any) -> Any:
        assert gate.wait(10)
        return counting(inputs)

    async def run() -> list[httpx.Response]:
        gate.set()
        async with running([made_up(model, held)], Limits(tokens=100)) as (client, service, _):
            gate.clear()
            service.queue._rates[service.models["made"]] = 0.005  # 5 ms a token
            body = {"inputs": ["a " * 60] * 10}  # 620 tokens: 3.1 s
            asking = [asyncio.create_task(client.post("/predict", json=body)) for _ in range(4)]
            await wait_for(lambda: sum(each.done() for each in asking) == 3)
            short = asyncio.create_task(client.post("/predict", json={"inputs": "a"}))
            await wait_for(lambda: service.active == 2)
            gate.set()
            return [*await asyncio.gather(*asking), await short]

    *large, short = asyncio.run(run())
    assert sorted(each.status_code for each in large) == [200, 429, 429, 429]
    assert short.status_code == 200
    refused = next(each for each in large if each.status_code == 429)
    assert refused.json()["error"] == "too many requests: the expected wait is over 2 s"
    assert refused.headers["retry-after"] in ("3", "4")


@pytest.mark.clock
def test_a_loop_that_is_behind_lets_nobody_in(model: Path) -> None:
    turns = LoopLag()

    async def run() -> list[int]:
        limits, options = Limits(wait=0.05), {"lag": turns.lag}
        async with running([made_up(model, counting)], limits, **options) as (client, _, _):
            body = {"inputs": "a"}
            before = await client.post("/predict", json=body)
            time.sleep(0.2)  # what a rush of requests does to the loop
            rushed = await client.post("/predict", json=body)
            await asyncio.sleep(0.01)
            later = await client.post("/predict", json=body)
            return [each.status_code for each in (before, rushed, later)]

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        assert runner.run(run()) == [200, 429, 200]


@pytest.mark.clock
def test_a_loop_that_waits_for_its_sockets_is_not_behind() -> None:
    turns = LoopLag()
    for seconds in (0.05, 0.0):
        turns.select(seconds)
        assert turns.lag() < 0.03
    time.sleep(0.05)
    turns.select(0)  # nothing had to be waited for: what was read may have come 50 ms ago
    assert turns.lag() > 0.04


def test_for_a_client_that_hung_up_nothing_is_computed(model: Path) -> None:
    gate, seen = threading.Event(), list[int]()

    def held(inputs: Any) -> Any:
        seen.append(inputs["input_ids"].shape[1])
        assert gate.wait(10)
        return counting(inputs)

    async def run() -> tuple[Any, Any, str]:
        gate.set()
        async with running([made_up(model, held)]) as (client, _, app):
            gate.clear()
            seen.clear()
            first = asyncio.create_task(client.post("/predict", json={"inputs": "good"}))
            await wait_for(lambda: seen == [3])

            async def hang_up() -> Any:
                return {"type": "http.disconnect"}

            gone = await asked(app, texts("good film is good"), hang_up)
            gate.set()
            await first
            last = await client.post("/predict", json={"inputs": "film good"})
            return gone, last.status_code, (await client.get("/metrics")).text

    gone, last, metrics = asyncio.run(run())
    assert gone[0]["status"] == 499
    assert last == 200
    assert seen == [3, 4]  # the text of 6 tokens never came to the model
    assert 'status="499"' in metrics


def test_metrics_count_requests_tokens_and_padding(model: Path) -> None:
    async def run() -> str:
        async with running([made_up(model, counting)]) as (client, _, _):
            await client.post("/predict", json={"inputs": ["good", "good film"]})
            await client.post("/predict", json={"inputs": []})
            return (await client.get("/metrics")).text

    found = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(asyncio.run(run()))
        for sample in family.samples
    }
    assert found["alembert_requests_total", "200"] == 1
    assert found["alembert_requests_total", "422"] == 1
    assert found["alembert_tokens_total", None] == 8
    assert found["alembert_padding_tokens_total", None] == 1
    assert found["alembert_queue_tokens", None] == 0


def test_with_a_key_only_those_who_have_it_are_answered(model: Path) -> None:
    async def run() -> list[int]:
        opener = made_up(model, counting)
        async with running([opener], keys=Keys("secret")) as (client, _, _):
            body = {"inputs": "a"}
            words = ("Bearer wrong", "Bearer secret", "bearer secret", "Basic secret")
            given = [{}, *({"authorization": each} for each in words)]
            asked = [await client.post("/predict", json=body, headers=each) for each in given]
            asked += [await client.get("/info"), await client.get("/health")]
            return [each.status_code for each in asked]

    assert asyncio.run(run()) == [401, 401, 200, 200, 401, 401, 200]


def test_other_pages_may_ask_only_where_they_are_named(model: Path) -> None:
    async def run(**options: Any) -> Any:
        async with running([made_up(model, counting)], **options) as (client, _, _):
            origin = {"origin": "https://there.example"}
            found = await client.post("/predict", json={"inputs": "a"}, headers=origin)
            return found.headers.get("access-control-allow-origin")

    assert asyncio.run(run()) is None
    assert asyncio.run(run(origins=["https://there.example"])) == "https://there.example"


def test_each_request_is_a_line_of_json_without_its_text(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "alembert.access"):
        ask(made_up(model, counting), {"inputs": "good film"})
    line = json.loads(caplog.records[-1].getMessage())
    assert {"model": "made", "inputs": 1, "tokens": 4, "status": 200}.items() <= line.items()
    assert "good" not in caplog.text


def test_hostile_bodies_get_a_4xx_with_a_message(model: Path) -> None:
    dice = random.Random(0)
    leaves = [None, True, 1e308, "", "a", "\u0000", "x" * 5000, [], {}, -1, "[MASK]"]

    def draw(depth: int) -> Any:
        kind = dice.random()
        if depth == 0 or kind < 0.5:
            return dice.choice(leaves)
        if kind < 0.75:
            return [draw(depth - 1) for _ in range(dice.randint(0, 3))]
        return {dice.choice(["inputs", "truncate", "top"]): draw(depth - 1)}

    bodies = [json.dumps(draw(4)).encode() for _ in range(150)]
    bodies += [bytes(dice.choices(range(256), k=20)) for _ in range(50)]
    bodies += [json.dumps({"inputs": draw(2)}).encode() for _ in range(100)]
    paths = ("/predict", "/embed", "/tokenize", "/fill-mask", "/tag")

    async def run() -> list[httpx.Response]:
        async with running([made_up(model, counting)]) as (client, _, _):
            return [await client.post(dice.choice(paths), content=body) for body in bodies]

    for found in asyncio.run(run()):
        assert found.status_code == 200 or 400 <= found.status_code < 500
        assert found.status_code == 200 or found.json()["error"]


@pytest.fixture(scope="module")
def process(model: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The verb itself, listening."""
    child, port = launch(model)
    yield child, port
    child.kill()
    child.wait()


def launch(model: Path, *options: str) -> tuple["subprocess.Popen[str]", int]:
    words = ["serve", f"served={model}", "--port", "0", "--threads", "1", *options]
    child = subprocess.Popen(
        [sys.executable, "-m", "alembert", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    port = int(child.stderr.readline().split(":")[2].split()[0])
    for _ in range(200):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                return child, port
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not come up")


def sent(port: int, data: bytes, wait: float = 5.0) -> bytes:
    """What comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), wait) as line:
        line.sendall(data)
        found = b""
        while piece := line.recv(65536):
            found += piece
    return found


def test_head_and_body_go_out_together_and_a_head_alone_too(process: Any) -> None:
    _, port = process
    body = b'{"inputs": "good film"}'
    asked = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        for _ in range(3):
            line.sendall(asked % (len(body), body))
            head, _, rest = line.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert len(json.loads(rest)) == 3
        line.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 ")
    closing = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert sent(port, closing).endswith(b'{"status":"ok"}')


def test_what_nobody_foresaw_is_a_500_that_pages_may_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("alembert.serving.app._texts", broken)
    origin = "https://there.example"

    async def run() -> tuple[list[Any], Any]:
        async with running([lambda: load_model("a", model)], origins=[origin]) as (client, _, app):
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                return {"type": "http.request", "body": b'{"inputs": "a"}', "more_body": False}

            head = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"",
                    "headers": [(b"origin", origin.encode())], "root_path": ""}  # fmt: skip
            with pytest.raises(RuntimeError, match="unforeseen"):  # for the server's log
                await app(head, receive, send)
            return sent, (await client.get("/openapi.json")).json()

    sent, document = asyncio.run(run())
    assert sent[0]["status"] == 500
    assert (b"access-control-allow-origin", origin.encode()) in sent[0]["headers"]
    named = document["paths"]["/models/{name}/predict"]["post"]["parameters"]
    assert [(each["name"], each["schema"]["type"]) for each in named] == [("name", "string")]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "says"),
    [
        ("/tag", {"inputs": [[["a"]]]}, {}, 422, "list of texts and of lists of words"),
        ("/attentions", {"inputs": ["a"]}, {}, 422, "give a text, and no list"),
        ("/tokenize", {"inputs": [["a"]]}, {}, 422, "give a text, or a list of them"),
        ("/nowhere", {}, {}, 404, "no such route: see /openapi.json"),
        ("/health", {}, {}, 405, "this route takes GET, HEAD"),
        ("/tokenize", {"inputs": "a"}, {"content-encoding": "gzip"}, 415, "as it is"),
    ],
)
def test_a_refusal_says_what_to_give(
    model: Path, path: str, body: Any, headers: dict[str, str], status: int, says: str
) -> None:
    async def run() -> httpx.Response:
        kind, labels = ("tokens", ("O",)) if path == "/tag" else ("classification", ("a",))
        async with running([made_up(model, per_token, kind, labels)]) as (client, _, _):
            return await client.post(path, json=body, headers=headers)

    found = asyncio.run(run())
    assert found.status_code == status
    assert says in found.json()["error"]


@pytest.mark.clock
def test_a_second_signal_ends_it_without_a_stack_trace(model: Path) -> None:
    child, port = launch(model)
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"POST")
        time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=5)
    assert said == "1 connections were cut: their clients held on to them\n"


@pytest.mark.clock
def test_a_signal_stops_it_and_what_was_accepted_is_answered(model: Path) -> None:
    child, port = launch(model)
    answers: list[int] = []
    lost: list[Exception] = []
    stop = time.monotonic() + 20

    def client() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            while time.monotonic() < stop:
                try:
                    body = {"inputs": ["good film " * 20] * 8}
                    answers.append(http.post("/predict", json=body).status_code)
                except httpx.ConnectError:
                    return  # nobody listens any more: not accepted
                except httpx.TransportError as error:
                    lost.append(error)
                    return

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(answers) <= 6 and time.monotonic() < stop:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(15) == 0
    for thread in threads:
        thread.join(10)
    assert lost == []
    assert len(answers) > 6
    assert set(answers) == {200}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere: no such folder; check the path"),
        (["{model}", "--backend", "int8"], "not exported for int8; there is onnx"),
        (["x={model}", "{model}", "x={model}"], "a second model"),
        (["{model}", "--host", "256.1.1.1"], "cannot be bound"),
        (["{model}", "--host", "a" * 300], "cannot be bound"),
        (["{model}", "--port", "70000"], "70000: a port is 0 to 65535; 0 takes a free one"),
        (["{model}", "--engine", "cluster"], "--engine cluster: choose local or ray"),
        (["{model}", "--engine", "ray", "--replicas", "3-1"], "the smaller number first"),
        (["{model}", "--engine", "ray", "--replicas", "some"], "write a number, or two as 1-8"),
        (["{model}", "--api-key", ""], "--api-key: give printable ASCII"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    model: Path, words: list[str], says: str, monkeypatch: Any, capsys: Any
) -> None:
    code = command(["serve", *(word.format(model=model) for word in words)], monkeypatch)
    said = capsys.readouterr().err
    assert code == 2
    assert says in said
    assert said.count("\n") == 1


def test_without_ray_its_extra_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert command(["serve", str(model), "--engine", "ray"], monkeypatch) == 2
    assert capsys.readouterr().err == (
        "alembert: ray is not installed: pip install 'alembert[ray]'\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
def test_on_ray_it_answers_and_a_signal_stops_it(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    words = ["serve", f"served={model}", "--engine", "ray", "--port", str(port), "--threads", "1"]
    child = subprocess.Popen([sys.executable, "-m", "alembert", *words])
    try:
        with Client(f"http://127.0.0.1:{port}", retries=12) as client:
            assert len(client.predict(["good film", "film"])) == 2
        child.terminate()
        assert child.wait(60) == 0
    finally:
        child.kill()


def test_the_server_never_loads_torch(model: Path) -> None:
    program = (
        "import sys, alembert.serving.server, alembert.client.client\n"
        "from alembert.serving.served_model import load_model\n"
        f"load_model('a', {str(model)!r}); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {"torch", "transformers", "pandas"} & set(done.stdout.split()) == set()
