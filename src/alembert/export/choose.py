"""Which variant of a model runs: the fastest that keeps its metric on a file of real texts."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from alembert.data.collate import pad
from alembert.data.splits import Files, prepare_file
from alembert.data.tasks import Encoded, Task
from alembert.evaluation import predict
from alembert.evaluation.metrics import metrics as metrics_of
from alembert.export import export, fidelity, quantize
from alembert.export.export import Work
from alembert.export.files import FILES
from alembert.inference.engine import Engine, Ids, open_engine
from alembert.inference.manifest import Manifest, Variant
from alembert.io.errors import UserError
from alembert.models.loading import label_names_of, load_tokenizer

log = logging.getLogger(__name__)

ALL = ("onnx", "int8", "openvino", "openvino-bf16", "openvino-int8")
TIMED, TURN = 160, 8  # texts that are timed, and how many an engine takes in its turn
TRIED = 48  # texts that a part's cost is measured on


@dataclass(frozen=True)
class Judge:
    """The labelled texts that choose."""

    data: Encoded
    task: Task
    pad: int
    keep: float

    def floor(self, fp32: float) -> float:
        """The least metric that is good enough."""
        return fp32 - (1 - self.keep) * abs(fp32)


def choose(path: str, files: Files, keep: float, attentions: bool, max_length: int) -> Manifest:
    """Export all variants, measure each on the file, choose; the table is printed.

    Raises UserError for a model without a task, and for what exporting.begun refuses.
    """
    if not 0 < keep <= 1:
        raise UserError(f"--keep {keep:g}: a share of the metric, over 0 and at most 1")
    backends = (*ALL, *["attentions"] * attentions)
    with export.begun(path, backends, files, max_length) as (work, facts):
        if work.kind in ("words", "encoder"):
            raise UserError(
                f"--auto: a model of kind {work.kind!r} has no labels to judge by: export it with "
                "--int8 or --openvino and see how closely each follows torch"
            )
        names, tokenizer = label_names_of(work.model.config), load_tokenizer(path)
        data, task = prepare_file(files, tokenizer, min(max_length, facts.max_length), names)
        if task.kind != work.kind:
            raise UserError(f"{files.train}: is for {task.kind} and {path} does {work.kind}")
        judge = Judge(data, task, int(tokenizer.pad_token_id or 0), keep)
        variants = export.made_all(work, facts, backends)
        facts = _judged(work, replace(facts, variants=variants), judge)
        if not any(v.precision == "int8" and _holds(v, facts, judge) for v in _candidates(facts)):
            facts = _spared(work, facts, judge)
        facts = replace(facts, chosen=_fastest(facts, judge))
        export.keep(work, facts)
    _table(facts, judge)
    return facts


def _judged(work: Work, facts: Manifest, judge: Judge) -> Manifest:
    """The variants with what was measured: metric, latency_ms and cpu_ms (medians, one thread)."""
    metrics = {v.backend: _metric(work, facts, judge, v) for v in _candidates(facts)}
    engines = {name: open_engine(work.at, facts, name, 1) for name in metrics}
    order = np.random.default_rng(1).permutation(len(judge.data))[:TIMED].tolist()
    texts = [fidelity.graph_inputs(pad([judge.data[i]], judge.pad), facts.inputs) for i in order]
    times = timed(engines, texts)
    variants = [
        replace(v, measured={judge.task.metric: metrics[v.backend], **times[v.backend]})
        if v.backend in metrics
        else v
        for v in facts.variants
    ]
    return replace(facts, variants=tuple(variants))


def timed(engines: dict[str, Engine], texts: Sequence[Ids]) -> dict[str, dict[str, float]]:
    """Milliseconds a text, wall and process CPU time, medians; engines take turns at TURN texts.

    A turn of one would time cold caches, which halves the speed of a small model.
    """
    wall: dict[str, list[float]] = {name: [] for name in engines}
    cpu: dict[str, list[float]] = {name: [] for name in engines}
    for start in range(0, len(texts), TURN):
        turn = texts[start : start + TURN]
        for name, engine in engines.items():
            engine(turn[-1])  # warms up
            for text in turn:
                began, used = time.perf_counter(), time.process_time()
                engine(text)
                wall[name].append(1000 * (time.perf_counter() - began))
                cpu[name].append(1000 * (time.process_time() - used))
    return {
        name: {"latency_ms": median(wall[name]), "cpu_ms": median(cpu[name])} for name in engines
    }


def _metric(work: Work, facts: Manifest, judge: Judge, variant: Variant) -> float:
    engine = open_engine(work.at, replace(facts, variants=(variant,)), variant.backend, None)
    logits = predict.predict_by(
        lambda batch: engine(fidelity.graph_inputs(batch, facts.inputs)), judge.data, judge.pad
    )
    return metrics_of(judge.task, logits, judge.data)[judge.task.metric]


def _candidates(facts: Manifest) -> list[Variant]:
    return [variant for variant in facts.variants if variant.backend in ALL]


def _holds(variant: Variant, facts: Manifest, judge: Judge) -> bool:
    fp32 = _candidates(facts)[0].measured[judge.task.metric]
    return variant.measured[judge.task.metric] >= judge.floor(fp32)


def _fastest(facts: Manifest, judge: Judge) -> str:
    """By CPU time: other processes disturb it least."""
    good = [v for v in _candidates(facts) if _holds(v, facts, judge)]
    return min(good, key=lambda v: v.measured["cpu_ms"]).backend


def _spared(work: Work, facts: Manifest, judge: Judge) -> Manifest:
    """int8 with the parts that cost most in fp32: the first count of 1, 2, 4 ... that holds.

    Where that does not hold either, the facts as they were.
    """
    costs = _costs(work, facts)
    worst = sorted(costs, key=lambda part: -costs[part])
    shown = ", ".join(f"{part} {costs[part]:.2g}" for part in worst[:3])
    log.info(f"no int8 variant keeps {judge.keep:.1%}; what costs most in int8: {shown}")
    half = max(len(worst) // 2, 1)
    for count in [*(2**k for k in range(half.bit_length()) if 2**k < half), half]:
        spare = tuple(sorted(worst[:count]))
        variant = export.made(work, facts, "int8", spare)
        metric = _metric(work, facts, judge, variant)
        log.info(f"int8 with {count} of {len(worst)} parts in fp32: {metric:.4f}")
        variants = tuple(variant if v.backend == "int8" else v for v in facts.variants)
        variant = replace(variant, measured={judge.task.metric: metric})
        if _holds(variant, facts, judge):
            return _judged(work, replace(facts, variants=variants), judge)
    log.info(f"int8 does not hold with {count} of {len(worst)} parts in fp32: it is not chosen")
    quantize.dynamic_int8(work.at / FILES["onnx"][0], work.at / FILES["int8"][0])
    return facts


def _costs(work: Work, facts: Manifest) -> dict[str, float]:
    """Root mean square change of the logits when a part alone is in int8, for each part."""
    source, trial = work.at / FILES["onnx"][0], "onnx/trial.onnx"
    costs = {}
    for part in tqdm(quantize.parts(source), desc="each part alone in int8", leave=False):
        quantize.dynamic_int8(source, work.at / trial, only=part)
        alone = replace(facts, variants=(Variant("int8", trial, "onnxruntime", "int8", 0),))
        engine = open_engine(work.at, alone, "int8", None)
        found = fidelity.said(engine, work.kind, work.batches[:TRIED])
        costs[part] = fidelity.error(found, work.true[:TRIED])
    return costs


def _table(facts: Manifest, judge: Judge) -> None:
    """Every variant: size, metric, what it keeps, time a text."""
    metric, fp32 = judge.task.metric, _candidates(facts)[0].measured
    rows = Table("variant", "MB", metric, "kept", "CPU ms", "to onnx", "")
    for v in _candidates(facts):
        kept = f"{v.measured[metric] / fp32[metric]:.1%}" if fp32[metric] > 0 else "-"
        rows.add_row(
            v.backend, f"{v.size_mb:.1f}", f"{v.measured[metric]:.4f}", kept,
            f"{v.measured['cpu_ms']:.2f}", f"{fp32['cpu_ms'] / v.measured['cpu_ms']:.2f}x",
            "chosen" if v.backend == facts.chosen else "",
        )  # fmt: skip
    Console().print(rows)
