"""Runs whose long texts are read in windows, and what answers with their students."""

import asyncio
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.runs import saved, shrunk, task_file
from support.serving import running
from transformers import AutoConfig, BertTokenizerFast

from alembert import Session, api, load
from alembert.api.deploy import open_session
from alembert.data.splits import Files
from alembert.evaluation.predictions import load as read
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes.choose import choose_recipe
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.runs import evaluate
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.serving.served_model import load_model
from alembert.serving.service import Limits

LENGTH = 12
FILLER = "the film is and was the book is and was "


def long_file(path: Path, rows: int, seed: int) -> str:
    """Texts whose last words tell the label, and lie behind LENGTH tokens in two of three."""
    head, *lines = Path(task_file(path, rows, seed)).read_text().splitlines()
    lines = [FILLER * (i % 3) + line for i, line in enumerate(lines)]
    path.write_text("\n".join([head, *lines]) + "\n")
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    train, test = (
        long_file(tmp_path / f"{n}.csv", rows, rows) for n, rows in (("train", 60), ("test", 30))
    )
    return Files(train=train, evaluation=test, windows=True)


def texts_of(path: str) -> list[str]:
    return [line.rpartition(",")[0] for line in Path(path).read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    "name",
    [
        "distilbert",
        pytest.param("static", marks=pytest.mark.slow),
        pytest.param("tinybert", marks=pytest.mark.slow),
        pytest.param("house", marks=pytest.mark.slow),
    ],
)
def test_every_recipe_learns_long_texts_in_windows(
    name: str, tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    chosen = choose_recipe(name, load_config(teacher), layers=None if name == "static" else 1)
    recipe = with_settings(shrunk(chosen), {"stages.*.max_length": str(LENGTH)})
    job = Job(
        recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, baselines=True,
        export=True,
    )  # fmt: skip
    found = run(job)
    assert found["n"] == 30
    assert found["baselines"]["tfidf"]["accuracy"] > 0.5
    student = str(tmp_path / "run" / "student")
    assert AutoConfig.from_pretrained(student).window_length == LENGTH
    table = read(tmp_path / "run")
    assert table is not None
    assert len(table.texts) == 30
    # without a word on windows or length, everyone reads as the student has learnt
    test = str(tmp_path / "test.csv")
    judged = evaluate.judge(student, Files(train=test), None)
    assert judged.metrics == pytest.approx(found["student"])
    sessions = [Session(tmp_path / "run"), open_session(tmp_path / "run", "torch")]
    for session in sessions:
        assert session.reader.windows
        assert session.max_length == LENGTH
    assert np.allclose(sessions[1].logits(texts_of(test)), judged.logits, atol=1e-5)
    assert Session(tmp_path / "run", long="cut").max_length > LENGTH
    lines = json.loads((tmp_path / "run/bench.json").read_text())["rows"]
    assert {row["model"] for row in lines} > {"teacher", "student"}
    assert max(row["length"] for row in lines) > LENGTH  # of whole texts


def test_a_server_answers_long_texts_as_a_session(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    recipe = with_settings(
        shrunk(choose_recipe("distilbert", load_config(teacher), layers=1)),
        {"stages.*.max_length": str(LENGTH)},
    )
    run(Job(recipe=recipe, out=tmp_path / "run", teacher=teacher, files=files, export=True))
    texts = texts_of(str(tmp_path / "test.csv"))

    async def asked() -> tuple[httpx.Response, httpx.Response]:
        openers = [lambda: load_model("m", tmp_path / "run")]
        async with running(openers, Limits(tokens=200)) as (http, _, _):
            every = await http.post("/predict", json={"inputs": texts})
            one = await http.post("/predict", json={"inputs": texts[2], "raw_scores": True})
            return every, one

    every, one = asyncio.run(asked())
    assert every.status_code == 200
    expected = load(tmp_path / "run").predict(texts)
    for found, wanted in zip(every.json(), expected, strict=True):
        assert found[0]["label"] == wanted.label
        assert found[0]["score"] == pytest.approx(wanted.score, abs=1e-5)
    logits = Session(tmp_path / "run").logits(texts[2])
    assert one.json()[0]["score"] == pytest.approx(max(logits.tolist()), abs=1e-5)


@pytest.mark.slow
def test_a_server_tags_long_texts_as_a_session(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    model = saved(tmp_path / "model", tokenizer, "tokens", num_labels=3, window_length=LENGTH)
    api.export(model)
    long = [FILLER * 3 + "good", "a good film", "unbelievable " + FILLER]

    async def asked() -> httpx.Response:
        async with running([lambda: load_model("m", tmp_path / "model")]) as (http, _, _):
            return await http.post("/tag", json={"inputs": long})

    answer = asyncio.run(asked())
    assert answer.status_code == 200, answer.text
    for found, wanted in zip(answer.json(), Session(model).tag(long), strict=True):
        assert [each["label"] for each in found["words"]] == [each.label for each in wanted.words]
        assert all(each.label for each in wanted.words)


def test_tags_of_long_texts_are_learnt_and_answered(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    lines = [
        f"{word} {'B-X' if word in ('good', 'bad') else 'O'}\n" + "\n" * (i % 50 in (9, 49))
        for i, word in enumerate(["the", "good", "film", "is", "very", "bad"] * 100)
    ]  # fmt: skip
    train = tmp_path / "train.conll"
    train.write_text("".join(lines))
    body = saved(tmp_path / "body", tokenizer)
    short = {"stages.task.steps": "3", "stages.task.batch_size": "8"}
    recipe = with_settings(finetune(load_config(body)), short | {"stages.*.max_length": "12"})
    files = Files(train=str(train), evaluation=str(train), windows=True)
    recipe = with_settings(recipe, {"stages.linear.steps": "2"})
    found = run(
        Job(recipe=recipe, out=tmp_path / "run", student=body, files=files, model_at=".",
            baselines=True)
    )  # fmt: skip
    assert found["baselines"]["embeddings"]["span_f1"] >= 0
    judged = evaluate.judge(str(tmp_path / "run"), Files(train=str(train)), None)
    assert judged.metrics == pytest.approx(found["student"])
    whole = judged.data.whole
    assert max(whole.lengths) > 3 * 12
    words = [[w.split()[0] for w in part.splitlines()] for part in train.read_text().split("\n\n")]
    told = open_session(tmp_path / "run", "torch").logits([each for each in words if each])
    starts = [0, *np.cumsum(whole.lengths).tolist()]
    for text, logits in enumerate(told):
        there = whole.labels[starts[text] : starts[text + 1]] != -100
        assert np.allclose(judged.logits[text][there], logits, atol=1e-5)


@pytest.mark.slow
def test_the_whole_text_tells_more_than_its_beginning(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer, hidden_size=32)
    train, test = (str(tmp_path / name) for name in ("train.csv", "test.csv"))
    long_file(Path(train), 240, 0), long_file(Path(test), 120, 1)
    found = {}
    for windows in (True, False):
        model = api.finetune(
            body, tmp_path / f"{windows}", train=train, eval=test, max_length=LENGTH,
            windows=windows, baselines=False, learning_rate=0.003, epochs=8, precision="fp32",
            settings={"stages.linear": "null"},
        )  # fmt: skip
        found[windows] = model.metrics["student"]["accuracy"]
    assert found[True] > found[False] + 0.15


def test_a_teacher_of_other_tokens_has_other_windows(
    tmp_path: Path, tokenizer: BertTokenizerFast, files: Files
) -> None:
    teacher = saved(tmp_path / "teacher", tokenizer, "classification")
    other = BertTokenizerFast(vocab={**tokenizer.get_vocab(), "unseen": len(tokenizer)})
    student = saved(tmp_path / "student", other, vocab_size=len(other))
    recipe = with_settings(
        shrunk(choose_recipe("distilbert", load_config(teacher), layers=1)),
        {"stages.task.objective": "[{kind: SoftLabels}]"},
    )
    job = Job(
        recipe=recipe, out=tmp_path / "run", teacher=teacher, student=student, files=files
    )  # fmt: skip
    with pytest.raises(UserError, match="by which windows begin at other words: leave --windows"):
        run(job)


@pytest.mark.parametrize("junk", ["12", 12.0, [12], 0, 65, True])
def test_a_length_of_windows_that_is_none_is_named(
    junk: object, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    model = saved(tmp_path / "model", tokenizer, "classification")
    config = json.loads((tmp_path / "model/config.json").read_text()) | {"window_length": junk}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model: window_length in its config\.json is"):
        open_session(model, "torch")
    test = long_file(tmp_path / "test.csv", 9, 0)
    with pytest.raises(UserError, match=r"window_length in its config\.json is"):
        evaluate.judge(model, Files(train=test), None)
