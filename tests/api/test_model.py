"""A model in Python has what the verbs of the command line do, and a table of itself."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from support.command_line import command
from support.runs import saved, task_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertTokenizerFast

import alembert
from alembert import Model, UserError
from alembert.evaluation.uncertainty import phrases


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Model:
    """A student that was distilled from a fine-tuned teacher, exported to int8 and timed."""
    home = tmp_path_factory.mktemp("model")
    train, test = task_file(home / "train.csv"), task_file(home / "test.csv", seed=9)
    short: Any = {"train": train, "eval": test, "max_length": 32, "epochs": 1.0}
    body = saved(home / "body", tokenizer)
    teacher = alembert.finetune(
        body, home / "teacher", **short, settings={"stages.linear.steps": 4}
    )
    made = alembert.distill(teacher, "minilm", out=home / "run", layers=1, export=False, **short)
    assert made.export("int8", data=str(test)) is made
    made.bench(
        backends=["torch", "int8"], threads=[1], length=16, seconds=0.3,
        json=made.folder / "bench.json",
    )  # fmt: skip
    return made


def test_int8_answers_once_it_is_exported(run: Model) -> None:
    assert run.session.facts.chosen == "int8"
    assert run.predict(["good film"])[0].label in run.session.labels


def test_a_run_shows_a_table_of_itself(run: Model) -> None:
    shown = run._repr_html_()
    cells = [re.findall("<td>(.*?)</td>", line) for line in shown.split("<tr>")[1:]]
    assert "<caption>run: classification</caption>" in shown
    assert cells[0][:5] == ["model", "parameters", "size on disk", "accuracy", "kept"]
    free = ["majority", "TF-IDF", "frozen embeddings"]
    assert [row[0] for row in cells[1:]] == ["teacher", "run", "run, onnx", "run, int8", *free]
    metrics = run.metrics
    assert cells[1][3] == f"{metrics['teacher']['accuracy']:.4f}"
    assert cells[2][3:5] == [
        f"{metrics['student']['accuracy']:.4f}", phrases.read(metrics)[0].share
    ]  # fmt: skip
    timed = [row[0] for row in cells[1:] if any(cell.endswith(" ms") for cell in row)]
    assert timed == ["run", "run, int8"]
    assert repr(run) == f"Model('{run.folder}')"


def test_a_saved_model_without_a_run_shows_its_size(run: Model, tmp_path: Path) -> None:
    run.save_pretrained(tmp_path / "a & b")
    shown = Model(tmp_path / "a & b")._repr_html_()
    assert "<td>size on disk</td>" in shown
    assert "<td>a &amp; b</td>" in shown


def test_metrics_are_those_of_the_verb(
    run: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(run.folder.parent / "test.csv")
    for backend in ("torch", "int8"):
        words = ["evaluate", str(run.folder), "--data", data, "--backend", backend]
        words += ["--max-length", "32", "--json"]
        capsys.readouterr()
        assert command(words, monkeypatch) == 0
        assert run.evaluate(data, max_length=32, backend=backend) == json.loads(
            capsys.readouterr().out
        )
    with pytest.raises(UserError, match="exactly one of --data and --corpus"):
        run.evaluate()


def test_a_report_and_a_card_are_written(run: Model) -> None:
    pytest.importorskip("jinja2")
    page, card = run.report()
    assert page == run.folder / "report.html"
    assert "accuracy" in page.read_text("utf-8")
    assert "| accuracy |" in card.read_text("utf-8")


def test_a_saved_copy_has_the_model_alone_and_answers_alike(run: Model, tmp_path: Path) -> None:
    teacher = Model(run.folder.parent / "teacher")  # its model lies in the run's folder itself
    for model in (run, teacher):
        to = tmp_path / model.folder.name
        model.save_pretrained(to)
        assert alembert.load(to).predict("good film") == model.predict("good film")
        assert not (to / "metrics.json").exists()
        assert not (to / "stages").exists()
        AutoModelForSequenceClassification.from_pretrained(to)
        AutoTokenizer.from_pretrained(to)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        Model("nowhere").save_pretrained(tmp_path / "copy")


def test_a_copy_does_not_go_into_a_folder_that_holds_something(run: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: is not empty: choose a new folder"):
        run.save_pretrained(run.folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="nothing: holds no model"):
        Model(tmp_path / "nothing").save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_table_is_no_list_of_texts(run: Model) -> None:
    with pytest.raises(UserError, match="DataFrame: give a text or a list of texts"):
        run.predict(pd.DataFrame({"body": ["good film"], "queue": ["up"]}))  # type: ignore[arg-type]


def test_an_unknown_backend_is_named(run: Model) -> None:
    with pytest.raises(UserError, match="export to 'int9': choose onnx, int8, openvino"):
        run.export("int9")


def test_a_damaged_export_is_removed_and_the_same_call_answers_by_torch(
    run: Model, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(run.folder.parent, home)
    graph = home / "run/student/onnx/model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    (home / "run/student/model.safetensors").unlink()
    again: Any = {"train": home / "train.csv", "eval": home / "test.csv", "max_length": 32}
    made = alembert.distill(
        home / "teacher", "minilm", out=home / "run", layers=1, epochs=1.0, export=False, **again
    )
    assert not graph.exists()
    assert made.predict(["good film"])[0].label in run.session.labels
    assert made.export("int8").session.facts.chosen == "int8"


def test_a_model_is_served_until_it_is_stopped(run: Model) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    line = f"import alembert; alembert.load({str(run.folder)!r}).serve(port={port}, threads=1)"
    child = subprocess.Popen([sys.executable, "-c", line])
    try:
        end = time.monotonic() + 30
        while True:
            try:
                client = alembert.Client(f"http://127.0.0.1:{port}", model="run", retries=9)
                assert client.predict("good film").label in run.session.labels
                break
            except httpx.ConnectError:
                assert time.monotonic() < end
        child.terminate()
        assert child.wait(15) == 0
    finally:
        child.kill()
