"""One process of a benchmark: it loads one model in one backend and times it on request."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alembert.bench.rows import Round, Subject, weights_mb
from alembert.inference import manifest as deployed
from alembert.inference.engine import Ids, open_engine
from alembert.inference.tokenization import Reader
from alembert.io.environment import peak_mb
from alembert.io.errors import UserError
from alembert.io.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SLICE = 0.05  # seconds of a round of random ids
MOST = 20  # passes of such a round
CHUNK = 8  # batches in a round of real texts
# seconds until idle threads of onnxruntime (30 ms) and OpenMP (10 ms) stop spinning after the last
# pass, waited before the next worker is timed
REST = 0.05
Run = Callable[[Ids], Any]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The work of one process. Without texts (single ones or pairs), ids are random."""

    model: str  # as the user named it
    folder: str
    backend: str
    threads: int
    batch: int
    length: int
    texts: tuple[str | tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.model}:{self.backend}"


@dataclass(frozen=True)
class Failed:
    """The line that reports why a worker ended; mistake is true for an error of the user's."""

    line: str
    mistake: bool


def work(spec: Spec, pipe: Connection) -> None:
    """Sends a Subject when loaded, then a Round for each number received; ends with the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent kills its workers
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(spec.threads)
    try:
        subject, run = (_torch if spec.backend == "torch" else _exported)(spec)
        time_round = _timer(spec, run)
        pipe.send(subject)
        while True:
            pipe.send(time_round(pipe.recv()))
    except (EOFError, BrokenPipeError):
        pass  # the parent has ended
    except UserError as error:
        pipe.send(Failed(str(error), mistake=True))
    except Exception as error:  # the parent reports it with the name of the worker
        line = " ".join(str(error).split())[:300]
        pipe.send(Failed(f"{type(error).__name__}: {line}", mistake=False))


def _exported(spec: Spec) -> tuple[Subject, Run]:
    folder = Path(spec.folder)
    facts = deployed.read_manifest(folder)
    _check_length(spec, facts.max_length)
    engine = open_engine(folder, facts, spec.backend, spec.threads)
    size = facts.variant(spec.backend, folder).size_mb
    return Subject(
        model=spec.model,
        backend=spec.backend,
        threads=spec.threads,
        size_mb=size,
        parameters=facts.parameters,
    ), engine


def _torch(spec: Spec) -> tuple[Subject, Run]:
    import torch

    from alembert.models import checks
    from alembert.models.heads import kind_of
    from alembert.models.loading import load_config, load_model

    torch.set_num_threads(spec.threads)
    config = load_config(spec.folder)
    _check_length(spec, checks.positions(config))
    kind = kind_of(config, spec.model)
    model = load_model(spec.folder, kind)
    parameters = sum(each.numel() for each in model.parameters())
    size = weights_mb(spec.folder)
    return Subject(
        model=spec.model, backend="torch", threads=spec.threads, size_mb=size, parameters=parameters
    ), eager(model, kind)


def eager(model: "PreTrainedModel", kind: str) -> Run:
    """A function that runs the model in torch; an MLM head computes the masked positions only."""
    import torch

    from alembert.models.architectures import inputs_of

    takes = inputs_of(model)

    def run(ids: Ids) -> None:
        batch = {name: torch.from_numpy(each) for name, each in ids.items()}
        places = batch.pop("places")
        with torch.inference_mode():
            if kind == "words":
                from alembert.evaluation.predict import (
                    logits_of,  # other kinds are spared the import of metrics
                )

                logits_of(model, batch, places)
            else:
                model(**{name: batch[name] for name in takes})

    return run


def _check_length(spec: Spec, positions: int) -> None:
    if spec.length > positions:
        raise UserError(
            f"--length {spec.length} is more than the {positions} tokens that {spec.model} takes"
        )


def _timer(spec: Spec, run: Run) -> Callable[[int], Round]:
    """The function that times round k. The first pass is not counted, as it refills the caches."""
    if spec.texts:
        prepare = _reader(spec)
        starts = range(0, len(spec.texts), spec.batch)
        batches = [spec.texts[start : start + spec.batch] for start in starts]
    else:
        config = read_json(Path(spec.folder) / "config.json")
        input_ids = np.random.default_rng(0).integers(
            5, config["vocab_size"], (spec.batch, spec.length)
        )
        synthetic = ids_of(input_ids)
        prepare, batches = (lambda _: synthetic), [()]
    for batch in (batches * 3)[:3]:  # warms up
        run(prepare(batch))
    began = time.perf_counter()
    run(prepare(batches[0]))
    one_pass = time.perf_counter() - began
    passes = CHUNK if spec.texts else int(np.clip(SLICE / one_pass, 1, MOST))

    def time_round(number: int) -> Round:
        chunk = [batches[(number * passes + i) % len(batches)] for i in range(passes)]
        run(prepare(chunk[0]))
        times, cpu, tokens = [], [], 0
        for batch in chunk:
            used, start = time.process_time(), time.perf_counter()
            ids = prepare(batch)
            middle = time.perf_counter()
            run(ids)
            times.append((start, middle, time.perf_counter()))
            cpu.append(time.process_time() - used)
            tokens += int(ids["attention_mask"].sum())
        if spec.threads > 1:
            time.sleep(REST)
        return Round(
            wall=[end - start for start, _, end in times], cpu=cpu,
            tokenize=[middle - start for start, middle, _ in times] if spec.texts else [],
            texts=sum(map(len, chunk)) if spec.texts else passes * spec.batch, tokens=tokens,
            peak_rss_mb=peak_mb(),
        )  # fmt: skip

    return time_round


def ids_of(
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64] | None = None,
    token_type_ids: NDArray[np.int64] | None = None,
) -> Ids:
    """The inputs of any model from ids (B, T); an MLM model predicts one token of each text."""
    ones, zeros = np.ones_like(input_ids), np.zeros_like(input_ids)
    return {
        "input_ids": input_ids,
        "attention_mask": ones if attention_mask is None else attention_mask,
        "token_type_ids": zeros if token_type_ids is None else token_type_ids,
        "places": np.arange(len(input_ids)) * input_ids.shape[1] + min(1, input_ids.shape[1] - 1),
    }


def _reader(spec: Spec) -> Callable[[Sequence[str | tuple[str, ...]]], Ids]:
    """A function from texts to ids, cut at `length` and padded to the longest of the batch."""
    reader = Reader(Path(spec.folder), spec.length, windows=False)

    def read(texts: Sequence[str | tuple[str, ...]]) -> Ids:
        return ids_of(**reader(texts).batch(range(len(texts))))

    return read
