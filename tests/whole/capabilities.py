"""The list of what Alembert can do, made from the code: capabilities.txt, an entry a line.

`PYTHONPATH=tests python -m whole.capabilities` rewrites the list; test_capabilities.py
compares it with the code. Where in the package a thing lies makes no difference to its entry.
"""

import dataclasses
import inspect
import io
import tomllib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from typer.testing import CliRunner
from whole.entries import (
    fields,
    keywords,
    methods,
    options,
    parameters,
    routes,
    said,
    typed,
)

# The one table of where things lie: when a thing moves, its line here changes and nothing else.
import alembert
from alembert import api
from alembert.api import Model
from alembert.augmentation.writing import WRITERS
from alembert.bench.rows import Ratio, Row
from alembert.client.client import AsyncClient, Client
from alembert.data.corpus.paragraphs import STREAMS
from alembert.data.encoded import Encoded
from alembert.data.formats import FORMATS, PACKED
from alembert.data.labels import LABELS, LOOSE_PAIRS, PAIRS, SCORES, TAGS, TEXTS, WORDS
from alembert.data.questions.windows import Question, Windows
from alembert.data.sources import GLUE
from alembert.data.tasks import METRICS, Task
from alembert.evaluation.metrics import metrics
from alembert.evaluation.predict import evaluate_masked_words
from alembert.export.export import FILES
from alembert.inference import Session
from alembert.inference.manifest import KINDS, Manifest, Variant
from alembert.io import answers
from alembert.io.answers import QUESTIONS
from alembert.models.architectures import ANATOMIES
from alembert.models.heads import POOLINGS
from alembert.models.layer_map import NAMES
from alembert.models.loading import HEADS
from alembert.objectives import attention_kl, functional
from alembert.objectives.term import Term
from alembert.recipes import RECIPES
from alembert.recipes.schema import Recipe
from alembert.serving.app import app_of
from alembert.serving.keys import Keys
from alembert.serving.schemas import TYPES
from alembert.serving.service import Limits
from alembert.training.callbacks import Callback, Progress

CLASSES = (Model, Session, Client, AsyncClient, Term, Callback, Progress)
LIST = Path(__file__).with_name("capabilities.txt")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
ASKED = ("GET /", "GET /openapi.json", "GET /health", "GET /metrics", "GET /info", "GET /nowhere",
         "POST /predict", "GET /predict", "OPTIONS /predict")  # fmt: skip


def collected() -> list[str]:
    """Every entry in order; its first word says what kind of thing it is."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    module, _, main = project["scripts"]["alembert"].partition(":")
    command = import_module(module)
    found = {
        *(f"extra {name}" for name in project["optional-dependencies"]),
        *options(typer.main.get_command(command.app), "alembert"),
        *exit_codes(getattr(command, main)),
        *recipes(command.app),
        *fields("field", Recipe.model_json_schema()),
        *tables(),
        *measured(),
        *served(),
        *fields("field", Term.model_json_schema()),
        *(entry for kind in CLASSES for entry in methods(kind)),
        *(f"public name {name}" for name in alembert.__all__),
        *(f"python {name}{parameters(getattr(api, name))}" for name in api.__all__),
        *(entry for name in api.__all__ for entry in keywords(getattr(api, name))),
        *said(Path(str(alembert.__file__)).parent),
    }
    return sorted(found)


def exit_codes(main: Callable[[], None]) -> Iterator[str]:
    """What the command line exits with, found by running it."""
    for what, words, out in (
        ("success", ["recipes"], io.StringIO()),
        ("an unknown option", ["--nonsense"], io.StringIO()),
        ("a refusal", ["recipes", "show", "nonsense"], io.StringIO()),
        ("Ctrl-C", ["recipes"], Mock(**{"write.side_effect": KeyboardInterrupt})),
    ):
        terminal = {"argv": ["alembert", *words], "stdout": out, "stderr": io.StringIO()}
        with patch.multiple("sys", **terminal), patch.dict("os.environ"):
            try:
                main()
            except SystemExit as end:
                yield f"exit code of {what}: {end.code or 0}"


def recipes(app: typer.Typer) -> Iterator[str]:
    """The shipped recipes and their stages, as `alembert recipes show` prints them."""
    for name in RECIPES:
        recipe = yaml.safe_load(CliRunner().invoke(app, ["recipes", "show", name]).stdout)
        init = ", ".join(f"{key} {value}" for key, value in recipe["init"].items())
        student, projections = recipe["student"]["model_type"], recipe["projections"]
        augments = ", augments texts" if "augment" in recipe else ""
        yield f"recipe {name}: {student}, {init}, projections {projections}{augments}"
        for stage in recipe["stages"]:
            terms = ", ".join(term["kind"] for term in stage["objective"])
            masked = " with masked words" if "masking" in stage else ""
            yield f"recipe {name}, stage {stage['name']}: {stage['data']}{masked}; {terms}"


def tables() -> Iterator[str]:
    """What the package keeps in tables: words for layers, models, files, columns and answers."""
    named: dict[str, Iterable[Any]] = {
        "layer map": NAMES, "head": HEADS, "kind of exported model": KINDS,
        "pooling": POOLINGS.values(), "format of data": FORMATS, "format of packed data": PACKED,
        "format of a streamed corpus": STREAMS, "format of augmented data": WRITERS,
        "column of a text": TEXTS, "column of a pair": map(" and ".join, (*PAIRS, *LOOSE_PAIRS)),
        "column of a label": LABELS, "column of a score": SCORES, "column of words": WORDS,
        "column of tags": TAGS,
    }  # fmt: skip
    yield from (f"{kind}: {name}" for kind, names in named.items() for name in names)
    yield from (f"error type {name}: {status}" for status, name in TYPES.items())
    for name, parts in ANATOMIES.items():
        copied = "its layers can be taken over" if parts.copies else "its layers are not taken over"
        yield f"architecture {name}: {copied}{', relative positions' if parts.relative else ''}"
    for name, (file, runtime, precision) in FILES.items():
        yield f"backend {name}: {file}, {runtime}, {precision}"
    for name, task in GLUE.items():
        columns, labels = " and ".join(task.names), ", ".join(task.labels) or "scores"
        yield f"GLUE task {name}: {task.folder}, {columns}; {labels}; {task.metric}"
    for module in (functional, attention_kl):
        for name, loss in inspect.getmembers(module, inspect.isfunction):
            if loss.__module__ == module.__name__ and not name.startswith("_"):
                yield f"loss {name}{parameters(loss)}"
    kinds = [kind for _, kind in inspect.getmembers(answers, dataclasses.is_dataclass)]
    for kind in (*kinds, Manifest, Variant, Row, Ratio):
        for field in dataclasses.fields(kind):
            yield f"record {kind.__name__}.{field.name}: {typed(field.type)}"


def measured() -> Iterator[str]:
    """The metrics of each kind of task and of masked words, found by measuring two rows."""
    labels = {"classification": np.arange(2), "regression": np.arange(2.0),
              "multilabel": np.eye(2), "tokens": np.arange(2), QUESTIONS: np.zeros(2)}  # fmt: skip
    question = Question(
        id="id", text="who", context="", offsets=np.zeros((0, 2), np.int32), answers=()
    )
    windows = {"questions": (question, question), "of": np.arange(2), "places": np.zeros(2, int)}
    for kind, (headline, *_) in METRICS.items():
        asks = kind == QUESTIONS
        rows = (Windows if asks else Encoded)(
            input_ids=np.zeros(2, np.int32),
            lengths=[1, 1],
            labels=labels[kind],
            per_token=asks or kind == "tokens",
            **(windows if asks else {}),
        )
        logits = np.eye(2, 1 if kind == "regression" else 2, dtype=np.float32)
        said = [row[None] for row in logits] if rows.per_token else logits
        found = metrics(Task(kind, ("O", "B-x"), headline, pair=False), said, rows)
        yield f"task {kind}: {headline}"
        yield from (f"metric of {kind}: {name}" for name in found)
    found = evaluate_masked_words(
        lambda batch, _: batch["labels"].new_zeros(len(batch["labels"]), 2).float(), rows,
        lambda batch, _: batch | {"labels": batch["input_ids"]}, pad_token_id=0,
    )  # fmt: skip
    yield from (f"metric of masked words: {name}" for name in found)


def served() -> Iterator[str]:
    """The server's answers, counters and routes, asked of one that has no model yet."""
    app, _ = app_of([], Limits(), Keys("right"), origins=["http://page"])
    head = {"origin": "http://page", "access-control-request-method": "POST"}
    with_key, without = TestClient(app, headers={"authorization": "Bearer right"}), TestClient(app)
    for what in ASKED:
        for key, client in (("with the key", with_key), ("without", without)):
            answer = client.request(*what.split(), headers=head)
            names = ", ".join(sorted(set(answer.headers) - {"content-length", "content-type"}))
            yield f"answer to {what} {key}: {answer.status_code}; {names or 'no headers'}"
    for counter in text_string_to_metric_families(with_key.get("/metrics").text):
        if not counter.name.startswith("process_") and not counter.name.endswith("_created"):
            yield f"counter {counter.name}: {counter.type}"
    yield from routes(with_key.get("/openapi.json").json())


if __name__ == "__main__":
    LIST.write_text("".join(f"{entry}\n" for entry in collected()), encoding="utf-8")
