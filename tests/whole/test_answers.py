"""One family of answers: Model, Session, Client and the command line say the same of a text."""

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from support.command_line import command
from support.models import tiny
from support.serving import LABELS, made_up, running
from transformers import BertTokenizerFast

from alembert import Client, Model, Session
from alembert.client import AsyncClient
from alembert.export.export import export
from alembert.io.answers import Guess, Labels, Prediction, Score, Tag, Tags, Token
from alembert.serving import schemas
from alembert.serving.app import app_of
from alembert.serving.served_model import load_model
from alembert.serving.service import Limits

TEXT = "the film was [MASK] good"
KINDS: dict[str, tuple[str, Any, dict[str, Any]]] = {  # kind: verb, type, config of the model
    "classification": ("predict", Prediction, {"id2label": {0: "down", 1: "flat", 2: "up"}}),
    "multilabel": ("predict", Labels, {"id2label": {0: "a", 1: "b", 2: "c"},
                                       "problem_type": "multi_label_classification"}),
    "regression": ("predict", Score, {"id2label": {0: "score"}, "problem_type": "regression"}),
    "tokens": ("tag", Tags, {"id2label": {0: "B-thing", 1: "I-thing", 2: "O"}}),
    "words": ("fill_mask", list, {}),
    "encoder": ("embed", np.ndarray, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """An exported model of every kind."""
    path = tmp_path_factory.mktemp("kinds")
    for kind, (_, _, config) in KINDS.items():
        tiny("bert", kind, **config).save_pretrained(path / kind)
        tokenizer.save_pretrained(path / kind)
        export(str(path / kind), ["onnx"], None, 64)
    return path


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[TestClient]:
    openers = [partial(load_model, kind, home / kind) for kind in KINDS]
    with TestClient(app_of(openers, Limits(), wait=True)[0]) as http:
        yield http


def plain(answer: Any) -> Any:
    """A vector as a list of numbers, which is what a client gets; other answers as they are."""
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_the_same_answer_everywhere(
    kind: str, home: Path, served: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    verb, made, _ = KINDS[kind]
    client = Client("http://test", model=kind)
    client._http = served
    askers = (Session(home / kind), Model(home / kind), client)
    more: dict[str, list[Any]] = {"predict": [("a", "b"), [("a", "b")]], "tag": [[["a", "b"]]]}
    for texts in (TEXT, [TEXT], *more.get(verb, ())):
        first, *others = (getattr(asker, verb)(texts) for asker in askers)
        assert [plain(each) for each in others] == [plain(first)] * 2
        assert len(first) == 1 if isinstance(texts, list) else isinstance(first, made)
    first = getattr(askers[0], verb)(TEXT)
    capsys.readouterr()  # what the making of the models said
    assert command(["predict", str(home / kind), TEXT, "--json"], monkeypatch) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields.pop("text") == TEXT
    shown = {"encoder": {"vector": plain(first)}, "words": {"masks": first}}.get(kind, first)
    assert fields == json.loads(json.dumps(shown, default=dataclasses.asdict))


def test_an_asynchronous_client_gives_the_same_answers(home: Path) -> None:
    async def asked() -> list[Any]:
        found = []
        openers = [partial(load_model, kind, home / kind) for kind in KINDS]
        async with running(openers) as (_, _, app):
            for kind, (verb, _, _) in KINDS.items():
                client = AsyncClient("http://test", model=kind)
                client._http = httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://test"
                )
                async with client:
                    found.append(await getattr(client, verb)(TEXT))
        return found

    truth = [plain(getattr(Session(home / kind), KINDS[kind][0])(TEXT)) for kind in KINDS]
    assert asyncio.run(asked()) == truth


def test_raw_scores_choose_the_same_labels(served: TestClient) -> None:
    client = Client("http://test", model="multilabel")
    client._http = served
    texts = ["the film was good", "a book", "very unusual music", "bad"]
    raw, usual = client.predict(texts, raw_scores=True), client.predict(texts)
    assert [each.labels for each in raw] == [each.labels for each in usual]
    assert [each.scores for each in raw] != [each.scores for each in usual]


def test_a_prediction_reads_as_a_label_and_its_score() -> None:
    assert repr(Prediction("up", 0.9, {"up": 0.9, "down": 0.1})) == (
        "Prediction(label='up', score=0.9)"
    )


def test_of_labels_with_equal_scores_all_predict_the_first(home: Path) -> None:
    def equal(inputs: dict[str, Any]) -> Any:
        return np.zeros((len(inputs["input_ids"]), 3), np.float32)

    opener = made_up(home / "words", equal)
    with TestClient(app_of([opener], Limits(), wait=True)[0]) as http:
        client = Client("http://test")
        client._http = http
        assert client.predict("a film") == opener().session.predict("a film")
        assert client.predict("a film").label == LABELS[0]


def test_the_servers_json_has_the_fields_of_the_family() -> None:
    """The server's own schemas may leave fields out; those that it has are of the same type."""
    for schema, kind, renamed in (
        (schemas.Prediction, Prediction, {}),
        (schemas.SimpleToken, Token, {"stop": "end"}),  # the name of text-embeddings-inference
    ):
        types = {field.name: field.type for field in dataclasses.fields(kind)}
        for name, field in schema.model_fields.items():
            assert types[renamed.get(name, name)] == field.annotation


@pytest.mark.parametrize(("kind", "schema"), [(Guess, "Guess"), (Tag, "Tag"), (Tags, "Tags")])
def test_the_document_of_the_server_is_made_from_the_family(
    kind: Any, schema: str, served: TestClient
) -> None:
    described = served.get("/openapi.json").json()["components"]["schemas"][schema]
    assert set(described["properties"]) == {field.name for field in dataclasses.fields(kind)}
