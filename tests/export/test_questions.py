"""A model that answers questions is exported, and answers as it is evaluated, on every backend."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from support.models import tiny
from support.questions import asked, learnable, squad
from support.serving import running
from transformers import BertTokenizerFast

from alembert import Session, load
from alembert.api.deploy import open_session, predict_file
from alembert.client.client import AsyncClient
from alembert.data.questions.windows import Windows
from alembert.data.splits import Files
from alembert.evaluation.spans.scores import answers_of
from alembert.export.choose import KEEP, Criterion, choose_by
from alembert.export.export import export
from alembert.inference.manifest import read_manifest
from alembert.io.answers import NEVER, Answer
from alembert.io.errors import UserError
from alembert.runs import evaluate
from alembert.serving.served_model import load_model
from alembert.serving.service import Limits

HEAD = "question answering"
LENGTH = 24  # tokens of a window


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """A model with a threshold that some questions reach, exported to ONNX and int8."""
    place = tmp_path_factory.mktemp("questions") / "model"
    model = tiny("bert", HEAD, id2label={0: "start", 1: "end"}, null_threshold=-2.0)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    export(str(place), ["onnx", "int8"], None, 64)
    return place


def pairs_of(path: str) -> list[tuple[str, str]]:
    content = json.loads(Path(path).read_text())["data"][0]["paragraphs"]
    return [(each["qas"][0]["question"], each["context"]) for each in content]


def test_a_session_answers_as_the_model_is_evaluated(home: Path, tmp_path: Path) -> None:
    path = learnable(tmp_path / "q.json", 40, impossible=4)
    long = "  ".join(context for _, context in pairs_of(path)[:4])
    questions = [(long, [asked("long", "is good", ("film", long.index("film")))])]
    for file in (path, squad(tmp_path / "long.json", questions)):
        for backend in ("torch", "onnx", "int8"):
            judged = evaluate.judge(str(home), Files(train=file), LENGTH, backend)
            assert isinstance(judged.data, Windows)
            session = open_session(home, backend, max_length=LENGTH)
            found = session.answer(pairs_of(file))
            assert [each.text for each in found] == answers_of(judged.logits, judged.data)
            for (_, context), each in zip(pairs_of(file), found, strict=True):
                assert context[each.start : each.end] == each.text
                assert 0 <= each.score <= 1
    assert "" in [each.text for each in session.answer(pairs_of(path))]
    assert read_manifest(home).null_threshold == -2.0


def test_probabilities_are_those_of_start_and_end_by_hand(home: Path) -> None:
    session = Session(home, "onnx")
    pair = ("is good", "the film")
    found = session.answer(pair)
    ids = {"input_ids": [2, *session.reader(["is good the film"]).encodings[0].ids[1:3], 3]}
    ids["input_ids"] += [*session.reader(["the film"]).encodings[0].ids[1:]]
    row = {"input_ids": np.array([ids["input_ids"]]), "attention_mask": np.ones((1, 7), np.int64)}
    row["token_type_ids"] = np.array([[0, 0, 0, 0, 1, 1, 1]])
    logits = torch.tensor(session.engine(row)[0, [0, 4, 5]])
    p = logits.softmax(dim=0)
    spans = {(i, j): float(p[i, 0] * p[j, 1]) for i, j in ((1, 1), (1, 2), (2, 2))}
    best = max(spans, key=lambda pair: float(logits[pair[0], 0] + logits[pair[1], 1]))
    lead = float(logits[0].sum() - logits[best[0], 0] - logits[best[1], 1])
    expected = float(p[0].prod()) if lead > -2.0 else spans[best]
    assert found.score == pytest.approx(expected, rel=1e-4)


def test_one_pair_has_one_answer_and_other_texts_are_refused(home: Path) -> None:
    session = Session(home)
    assert isinstance(session.answer(("is good", "the film was good")), Answer)
    with pytest.raises(UserError, match=r"text 2 .*give a pair, of a question and its context"):
        session.answer([("is good", "the film"), "the film"])
    with pytest.raises(UserError, match="predict is not for this model"):
        session.predict([("is good", "the film")])
    with pytest.raises(UserError, match="logits is not for this model"):
        session.logits([("is good", "the film")])


@pytest.mark.parametrize("backend", ["onnx", "int8"])
def test_a_server_and_its_client_answer_as_a_session(home: Path, backend: str) -> None:
    session = Session(home, backend)
    long = " ".join(f"the film was {each} and long ." for each in ("good", "bad", "new") * 9)
    pairs = [("is good", "the film was good"), ("is long", long), ("is good", "a dog")]
    pairs += [("is long", " ".join([long] * 30))]  # of more tokens than are answered at once
    expected = session.answer(pairs)
    objects = [{"question": question, "context": context} for question, context in pairs]

    async def run() -> list[Any]:
        openers = [lambda: load_model("m", home, backend)]
        async with running(openers, Limits(tokens=40)) as (http, _, app):
            client = AsyncClient("http://test")
            client._http = httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test"
            )
            bodies = [objects, [list(pair) for pair in pairs], objects[1]]
            sent = [await http.post("/answer", json={"inputs": body}) for body in bodies]
            wrong = await http.post("/predict", json={"inputs": "a film"})
            assert (wrong.status_code, "use /answer" in wrong.text) == (424, True)
            answers = [each.json() for each in sent]
            return [*answers, await client.answer(pairs), await client.answer(pairs[1])]

    by_object, by_pair, one, of_client, one_of_client = asyncio.run(run())
    assert len(session.questions.windows(pairs[1], 1).windows) > 1
    for found in (by_object, by_pair, of_client):
        assert [rounded(each) for each in found] == [rounded(each) for each in expected]
    assert rounded(one) == rounded(one_of_client) == rounded(expected[1])


def rounded(answer: Any) -> Answer:
    """An answer, or its JSON, with a score that does not tell in which batch it was computed."""
    found = answer if isinstance(answer, Answer) else Answer(**answer)
    return replace(found, score=round(found.score, 3))


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ("a film", '{"question": "...", "context": "..."}'),
        (["is good", "the film"], "or a list of them or of pairs"),
        ([["is good"]], "or a list of them or of pairs"),
        ({"question": "is good"}, "or a list of them or of pairs"),
        ([["is good", " "]], "text 1"),
        ([], "the list is empty"),
        ([["a", "b"]] * 33, "at most 32 a request"),
    ],
)
def test_other_inputs_of_a_server_are_refused_by_one_line(
    home: Path, inputs: Any, complaint: str
) -> None:
    async def run() -> httpx.Response:
        async with running([lambda: load_model("m", home)]) as (http, _, _):
            return await http.post("/answer", json={"inputs": inputs})

    answer = asyncio.run(run())
    assert answer.status_code in (413, 422)
    assert complaint in answer.json()["error"]


def test_int8_is_chosen_by_f1_on_held_out_questions(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    place = tmp_path / "model"
    tiny("distilbert", HEAD).save_pretrained(place)
    tokenizer.save_pretrained(place)
    file = learnable(tmp_path / "q.json", 30)
    judged = evaluate.judge(str(place), Files(train=file), LENGTH)
    criterion = Criterion(judged.data, judged.task, 0, KEEP)
    manifest = choose_by(str(place), criterion, ("onnx", "int8"))
    measured = {each.backend: each.measured["f1"] for each in manifest.variants}
    assert measured["onnx"] == pytest.approx(judged.metrics["f1"])
    if manifest.chosen == "int8":
        assert measured["int8"] >= criterion.floor(measured["onnx"])
    assert manifest.null_threshold == NEVER


def test_a_file_of_questions_gets_its_answers(home: Path, tmp_path: Path) -> None:
    rows = [{"question": "is good", "context": f"the film was good {n}"} for n in range(5)]
    source, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert predict_file(home, str(source), out).rows == 5
    told = [json.loads(line) for line in out.read_text().splitlines()]
    model = load(home)
    found = model.answer([(row["question"], row["context"]) for row in rows])
    assert [each["prediction"] for each in told] == [each.text for each in found]
    assert set(told[0]) == {"question", "context", "prediction", "start", "end", "score"}
