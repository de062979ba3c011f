"""Hostile run folders and graphs: files of a run bent at any depth, ONNX that claims anything."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.hostile import ODD, TYPES, Attack, changed, tried
from support.hostile_models import bent
from transformers import BertTokenizerFast

from alembert.api import load
from alembert.inference.graph import check_onnx
from alembert.report import page

LOSSES = {"step": 10, "loss": 0.5, "SoftLabels": 0.25, "valid_accuracy": 0.75}
FILES: dict[str, Any] = {
    "metrics.json": {
        "metric": "accuracy", "task": "classification", "student": {"accuracy": 0.75, "f1": 0.5},
        "teacher": {"accuracy": 0.875}, "parameters": {"student": 12, "teacher": 24},
        "retention": 0.857, "ensemble": {"accuracy": 0.9}, "n": 60, "headline": "accuracy",
        "deployed": {"backend": "int8", "accuracy": 0.7}, "teacher_int8": {"accuracy": 0.8},
        "intervals": {
            "student": [0.5, 1.0], "retention": [0.8, 0.9], "difference": [-0.2, 0.1],
            "gain_kept": {"value": 0.7, "low": 0.5, "high": 0.9},
        },
    },
    "bench.json": {"rows": [
        {"model": role, "backend": "torch", "threads": 1, "batch": 1, "cpu_ms": {"median": ms},
         "latency_ms": {"median": ms},
         "ratios": [{"to": "teacher:torch", "value": 2.0, "same": False}]}
        for role, ms in (("teacher", 4.0), ("student", 2.0))
    ]},
    "environment.json": {
        "arguments": {
            "teacher": "nowhere", "more_teachers": ["a"], "callbacks": ["a:B"], "seed": 0,
            "files": {"train": "t.csv", "evaluation": "e.csv", "task": None, "text": "text"},
        },
        "command": ["alembert", "distill"], "versions": {"torch": "2"}, "hardware": {"cpu": "x"},
    },
    "recipe.yaml": {
        "name": "r", "paper": "p", "deviations": ["d"], "run": {"seed": 0},
        "stages": [{
            "name": "task", "data": "task", "objective": [{"weight": 1.0, "kind": "SoftLabels"}],
            "steps": None, "epochs": 1.0, "batch_size": 8, "learning_rate": 0.001,
            "max_length": 32,
        }],
    },
    "stages/01-task/facts.json": {"step": 10, "seconds": 1.5, "best": 0.5, "best_step": 5},
    "stages/01-task/log.jsonl": LOSSES,
    "search.json": {
        "metric": "accuracy", "winner": {"name": "a"}, "cost": {"timing": {"cpu_s": 1.0}},
        "shapes": [
            {"name": "a", "latency_ms": 1.0, "fits": True},
            {"name": "b", "latency_ms": None, "fits": False},
        ],
        "rungs": [{"share": 0.1, "values": {"a": 0.5}, "front": ["a"]}],
        "full": [{"name": "a", "held_out": 0.5, "latency_ms": 1.0}],
        "baselines": [{"name": "tfidf", "held_out": 0.25, "latency_ms": 0.5, "model": "m"}],
        "front": ["a"], "candidates": 2, "too_high": 0.1,
    },
    "predictions": {
        "kind": "classification", "labels": ["up", "<img onerror=alert(1)>"], "total": 2
    },
}  # fmt: skip
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), ["good film", "<img src=x onerror=alert(1)>"]),
    "label": (pa.list_(pa.int64()), [[0], [1]]),
    "teacher": (pa.list_(pa.float32()), [[1.0, -1.0], [0.5, 2.0]]),
    "student": (pa.list_(pa.float32()), [[1.0, -1.0], [3.0, 2.0]]),
}


@st.composite
def predictions(draw: st.DrawFn) -> bytes:
    """A table of predictions, mostly with columns of other types, other lengths, or none."""
    columns = {name: pa.array(values, kind) for name, (kind, values) in COLUMNS.items()}
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([*COLUMNS, "words", "model"]))
        kind, values = draw(st.sampled_from([
            *TYPES, (pa.list_(pa.float32()), st.lists(st.floats(width=32), max_size=3)),
            (pa.list_(pa.int64()), st.lists(st.integers(-1, 2), min_size=1, max_size=2)),
        ]))  # fmt: skip
        columns.pop(name, None)
        if draw(st.booleans()):
            cells = draw(st.lists(st.none() | values, min_size=2, max_size=2))
            columns[name] = pa.array(cells, kind)
    facts = draw(st.just(json.dumps(FILES["predictions"]).encode()) | bent(FILES["predictions"]))
    table = pa.table(columns).replace_schema_metadata({"alembert": facts})
    held = io.BytesIO()
    pq.write_table(table, held)
    return draw(st.just(held.getvalue()) | changed(held.getvalue()))


@st.composite
def folder(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of a run, of which one or two are bent."""
    odd = draw(st.lists(st.sampled_from(list(FILES)), min_size=1, max_size=2, unique=True))
    files = {
        name: draw(bent(plain)) if name in odd else json.dumps(plain).encode()
        for name, plain in FILES.items()
        if name != "predictions"
    }
    files["predictions.parquet"] = draw(predictions())
    return files


def run_folder(drawn: dict[str, bytes], tokenizer: BertTokenizerFast, home: Path) -> None:
    for name, content in drawn.items():
        (home / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "run" / name).write_bytes(content)  # YAML reads JSON as well

    def reported() -> None:
        text = page.make([home / "run"], home / "page.html").read_text(encoding="utf-8")
        assert "<img" not in text, "markup of a name reached the page"

    tried(reported)
    tried(lambda: load(home / "run").metrics)
    tried(lambda: load(home / "run")._repr_html_())


@st.composite
def graph(draw: st.DrawFn) -> bytes:
    """A graph of a node or two whose tensors claim odd shapes and data in odd places."""
    number = st.sampled_from([0, 1, 2, 4, -1, 10**6, 10**12, 2**62])
    shapes = st.lists(number, max_size=3)
    tensors = []
    for name in ("w", "s"):
        tensor = TensorProto(name=name, dims=draw(shapes), data_type=draw(st.integers(0, 17)))
        if draw(st.booleans()):
            tensor.raw_data = np.array(draw(shapes), np.int64).tobytes()
        else:
            tensor.int64_data.extend(draw(shapes))
        if draw(st.integers(0, 3)) == 0:
            tensor.data_location = TensorProto.EXTERNAL
            where = draw(st.sampled_from(["../x", "/etc/passwd", "model.onnx", "", *ODD[:9]]))
            tensor.external_data.add(key="location", value=where.replace("\x00", ""))
        tensors.append(tensor)
    operations = ["ConstantOfShape", "Expand", "Tile", "Identity", "Reshape", "Constant"]
    nodes = [
        helper.make_node(draw(st.sampled_from(operations)), ["w", "s"][: draw(number) % 3], ["y"])
    ]
    made = helper.make_graph(nodes, "g", [], [], tensors)
    content = helper.make_model(made).SerializeToString()
    return draw(st.just(content) | changed(content) | st.binary(max_size=60))


def opened(content: bytes, tokenizer: BertTokenizerFast, home: Path) -> None:
    (home / "model.onnx").write_bytes(content)
    tried(lambda: check_onnx(home / "model.onnx"))


ATTACKS = {"run": Attack(folder(), run_folder), "onnx": Attack(graph(), opened)}
