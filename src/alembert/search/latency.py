"""The latency of a shape on this machine: random weights in onnxruntime's int8, timed."""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from transformers import PreTrainedModel

from alembert.bench.worker import eager, ids_of
from alembert.export import onnx as onnx_export
from alembert.export import quantize
from alembert.export.export import FILES
from alembert.inference.engine import Ids, open_engine
from alembert.inference.manifest import Manifest, Variant
from alembert.initialization.student import from_scratch
from alembert.io import checksums
from alembert.io.files import cache, keep_json, read_json
from alembert.models.loading import label_names_of
from alembert.models.precision import torch_threads

log = logging.getLogger(__name__)

ROWS = 1024  # of the embedding matrix; reading from a larger one takes as long
WARM, ROUNDS, PASSES = 20, 10, 20


@dataclass(frozen=True)
class Latency:
    """Milliseconds of CPU time a text, and the time that the measurement took."""

    ms: float
    cpu_s: float
    wall_s: float


def latency_of(
    student: dict[str, Any], kind: str, labels: tuple[str, ...], length: int
) -> tuple[Latency, bool]:
    """Return the latency of a student of these config fields, and whether it was cached.

    The key in the user's cache has shape, head, length, processor and runtime.
    """
    rows = min(int(student["vocab_size"]), max(ROWS, int(student.get("pad_token_id", 0)) + 1))
    fields = student | {"vocab_size": rows}
    parts = [1, fields, kind, len(labels), length, onnxruntime.__version__,
             torch.cpu.get_capabilities().get("cpu_name")]  # fmt: skip
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    at = cache("latency") / key / "latency.json"
    for name in checksums.damaged(at.parent):
        log.warning(f"{at.parent / name}: is damaged: the shape is timed again")
        shutil.rmtree(at.parent)
    if at.is_file():
        return Latency(**read_json(at)), True
    with spent() as cost, tempfile.TemporaryDirectory() as home:
        ms = _random(Path(home), fields, kind, labels, length)
    latency = Latency(ms, **cost)
    keep_json(at, latency.__dict__)
    return latency, False


def _random(
    home: Path, fields: dict[str, Any], kind: str, labels: tuple[str, ...], length: int
) -> float:
    model = from_scratch(fields, kind, labels, seed=0).eval()
    source, file = home / FILES["onnx"][0], FILES["int8"][0]
    source.parent.mkdir(parents=True)
    onnx_export.export(model, kind, source)
    quantize.dynamic_int8(source, home / file)
    names = onnx_export.input_names(model, kind)
    variant = Variant(
        backend="int8", file=file, runtime="onnxruntime", precision="int8", size_mb=0.0
    )
    manifest = Manifest(
        kind=kind,
        labels=tuple(label_names_of(model.config) or ()),
        max_length=length,
        inputs=names,
        parameters=0,
        chosen="int8",
        variants=(variant,),
    )
    return timed(open_engine(home, manifest, "int8", 1), length, int(fields["vocab_size"]))


def of_teacher(model: PreTrainedModel, kind: str, length: int) -> float:
    """Return the CPU milliseconds of one random text in torch: eager, fp32, one thread."""
    with torch_threads(1):
        return timed(eager(model.eval(), kind), length, int(model.config.vocab_size))


def timed(run: Callable[[Ids], Any], length: int, vocabulary: int) -> float:
    """Return the milliseconds of the thread's CPU time for one random text of `length` tokens.

    It is the least of all rounds' medians, which other processes disturb least.
    """
    drawn = np.random.default_rng(0).integers(5, vocabulary, (1, length))
    ids, medians = ids_of(drawn), []
    for _ in range(WARM):
        run(ids)
    for _ in range(ROUNDS):
        spent = []
        for _ in range(PASSES):
            began = time.thread_time()
            run(ids)
            spent.append(time.thread_time() - began)
        medians.append(float(np.median(spent)))
    return 1000 * min(medians)


@contextmanager
def spent() -> Iterator[dict[str, float]]:
    """Yield a dictionary that has the block's cpu_s and wall_s at its end."""
    cost: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    yield cost
    cost |= {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
