"""The latency of a shape on this machine: random weights, timed from a text to its answer."""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from alembert.bench.interleaved import Answer, answer_of
from alembert.data.texts.raw import Asked, RawRows
from alembert.export import onnx as onnx_export
from alembert.export import quantize, static
from alembert.export.export import FILES
from alembert.export.torch_session import session_of_loaded
from alembert.inference.engine import Ids, open_engine
from alembert.inference.manifest import Manifest, Variant
from alembert.inference.session import Session
from alembert.initialization.static import static_student, words_of
from alembert.initialization.student import from_scratch
from alembert.io import checksums
from alembert.io.files import cache, keep_json, read_json
from alembert.models.loading import label_names_of, load_model
from alembert.models.static.config import STATIC

log = logging.getLogger(__name__)

END_TO_END = "from a held-out text to its answer, one at a time, one thread"

ROWS = 1024  # of the embedding matrix; reading from a larger one takes as long
TEXTS = 64  # that a model answers in a round
ROUNDS, FEWEST = 10, 3  # rounds of each model, and the fewest of a slow one
SECONDS = 2.0  # of all rounds of a model


@dataclass(frozen=True)
class Latency:
    """Milliseconds of CPU time a text, and the time that the measurement took.

    teacher_ms are those of the teacher in the same rounds, where it was timed, too.
    """

    ms: float
    cpu_s: float
    wall_s: float
    teacher_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A teacher in torch to time in turns with students, and the config that its time depends on.

    A speedup measured so is the same on a busy machine, which slows both down.
    """

    session: Session
    config: str

    @classmethod
    def of(cls, teacher: str, kind: str, sample: "Sample") -> "Reference":
        """Return a saved teacher: eager, fp32, one thread."""
        model = load_model(teacher, kind).eval()
        session = session_of_loaded(model, teacher, sample.max_length, sample.long)
        return cls(session=session, config=model.config.to_json_string())


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The texts that every model is timed on, one at a time, and how they are read."""

    texts: tuple[Asked, ...]
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    long: str = "cut"  # or "window"

    @property
    def reading(self) -> dict[str, Any]:
        """The keywords of a session that reads the texts so."""
        return {"max_length": self.max_length, "long": self.long}

    @cached_property
    def digest(self) -> str:
        """The identity of what is read: the texts, the tokenizer and the length."""
        parts = [self.texts, self.tokenizer.backend_tokenizer.to_str(), self.max_length]
        parts += [self.long] * (self.long != "cut")
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def sample_of(
    rows: RawRows, tokenizer: PreTrainedTokenizerBase, max_length: int, length: int | None,
    windows: bool = False,
) -> Sample:  # fmt: skip
    """Return a sample of the rows; each text is repeated and cut to `length` tokens if given."""
    texts = rows.sample(TEXTS)
    if length is None:
        long_texts = "window" if windows else "cut"
        return Sample(
            texts=tuple(texts), tokenizer=tokenizer, max_length=max_length, long=long_texts
        )
    long = tuple(_repeated(text, tokenizer, length) for text in texts)
    return Sample(texts=long, tokenizer=tokenizer, max_length=length)


def _repeated(text: Asked, tokenizer: PreTrainedTokenizerBase, length: int) -> Asked:
    """Return a text, or both of a pair, after itself so often that it has `length` tokens."""
    times = -(-length // max(len(_ids(text, tokenizer, add_special_tokens=False)), 1))
    if isinstance(text, list):
        return text * times
    if isinstance(text, str):
        return " ".join([text] * times)
    first, second = (" ".join([part] * times) for part in text)
    return first, second


def _ids(text: Asked, tokenizer: PreTrainedTokenizerBase, **how: bool) -> list[int]:
    parts = text if isinstance(text, tuple) else (text,)
    words = isinstance(text, list)
    ids: list[int] = tokenizer(*parts, is_split_into_words=words, **how)["input_ids"]
    return ids


def latency_of(
    student: dict[str, Any], kind: str, labels: tuple[str, ...], sample: Sample,
    teacher: Reference | None = None,
) -> tuple[Latency, bool]:  # fmt: skip
    """Return the latency of a student of these config fields, and whether it was cached.

    The key in the user's cache has shape, head, texts, tokenizer, processor and runtime, and the
    config of the teacher that it is timed beside, if there is one.
    """
    parts = [2, student, kind, len(labels), sample.digest, onnxruntime.__version__,
             torch.cpu.get_capabilities().get("cpu_name")]  # fmt: skip
    parts += [teacher.config] if teacher is not None else []
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    at = cache("latency") / key / "latency.json"
    for name in checksums.damaged(at.parent):
        log.warning(f"{at.parent / name}: is damaged: the shape is timed again")
        shutil.rmtree(at.parent)
    if at.is_file():
        return Latency(**read_json(at)), True
    with spent() as cost, tempfile.TemporaryDirectory() as home:
        sessions = [_random(Path(home), student, kind, labels, sample)]
        sessions += [teacher.session] if teacher is not None else []
        ms, *of_teacher = in_turns(sessions, sample)
    latency = Latency(ms, **cost, teacher_ms=of_teacher[0] if of_teacher else None)
    keep_json(at, latency.__dict__)
    return latency, False


def _random(
    home: Path, student: dict[str, Any], kind: str, labels: tuple[str, ...], sample: Sample
) -> Session:
    """Return a session of random weights: a graph in int8, or a static student."""
    sample.tokenizer.save_pretrained(home)
    if student["model_type"] == STATIC:
        rows = [np.array(_ids(text, sample.tokenizer)) for text in sample.texts]
        size, lengths = int(student["vocab_size"]), [len(row) for row in rows]
        words = words_of(sample.tokenizer, np.concatenate(rows), lengths, size)
        static_student(student, kind, labels, None, words, seed=0).save_pretrained(home)
        return Session(home, facts=static.describe(home), **sample.reading)
    least = min(int(student["vocab_size"]), max(ROWS, int(student.get("pad_token_id", 0)) + 1))
    model = from_scratch(student | {"vocab_size": least}, kind, labels, seed=0).eval()
    source, file = home / FILES["onnx"][0], FILES["int8"][0]
    source.parent.mkdir(parents=True, exist_ok=True)
    onnx_export.export(model, kind, source)
    quantize.dynamic_int8(source, home / file)
    variant = Variant(
        backend="int8", file=file, runtime="onnxruntime", precision="int8", size_mb=0.0
    )
    facts = Manifest(
        kind=kind,
        labels=tuple(label_names_of(model.config) or ()),
        max_length=sample.max_length,
        inputs=onnx_export.input_names(model, kind),
        parameters=0,
        chosen="int8",
        variants=(variant,),
    )
    graph = open_engine(home, facts, "int8", 1)

    def few(ids: Ids) -> NDArray[np.float32]:
        return graph(ids | {"input_ids": ids["input_ids"] % least})

    return Session(home, facts=facts, engine=few, long=sample.long)


def beside_teacher(
    folder: Path, backend: str, teacher: Reference, sample: Sample
) -> tuple[float, float]:
    """Return the CPU milliseconds of a text of an exported model and of its teacher in torch."""
    student = Session(folder, backend, **sample.reading)
    ms, teacher_ms = in_turns([student, teacher.session], sample)
    return ms, teacher_ms


def in_turns(sessions: Sequence[Session], sample: Sample) -> list[float]:
    """Return the milliseconds of the thread's CPU time of one text of each, from text to answer.

    It is the mean over all texts in the calmest round, which other processes disturb least. In each
    round all of them answer all texts.
    """
    rounds = zip(*(_rounds(answer_of(each), sample.texts) for each in sessions), strict=False)
    return [1000 * min(seconds) / len(sample.texts) for seconds in zip(*rounds, strict=True)]


def of_answers(answer: Answer, sample: Sample) -> float:
    """Return the milliseconds of the thread's CPU time that one answer takes, as `in_turns`."""
    return 1000 * min(_rounds(answer, sample.texts)) / len(sample.texts)


def _rounds(answer: Answer, texts: Sequence[Asked]) -> Iterator[float]:
    """Yield the seconds of each round; one before it warms up."""
    for text in texts:
        answer(text)
    began = time.perf_counter()
    for number in range(ROUNDS):
        if number >= FEWEST and time.perf_counter() - began > SECONDS:
            return
        start = time.thread_time()
        for text in texts:
            answer(text)
        yield time.thread_time() - start


@contextmanager
def spent() -> Iterator[dict[str, float]]:
    """Yield a dictionary that has the block's cpu_s and wall_s at its end."""
    cost: dict[str, float] = {}
    cpu, wall = time.process_time(), time.perf_counter()
    yield cost
    cost |= {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
