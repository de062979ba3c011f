"""Choice among variants: the fastest in which the model keeps its metric on a labelled file."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from alembert.data.collate import pad
from alembert.data.encoded import Encoded
from alembert.data.splits import Files, prepare_file
from alembert.data.tasks import Task
from alembert.evaluation.metrics import Logits
from alembert.evaluation.metrics import metrics as metrics_of
from alembert.evaluation.spans.scores import with_threshold
from alembert.evaluation.uncertainty import kept, phrases
from alembert.evaluation.uncertainty.intervals import Interval
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.export import export, fidelity, quantize, static
from alembert.export.export import FILES, Export
from alembert.inference.engine import Engine, Ids, open_engine
from alembert.inference.manifest import Manifest, Variant
from alembert.io.errors import UserError
from alembert.io.progress import above, counted
from alembert.models.checks import window_length
from alembert.models.loading import label_names_of, load_config, load_tokenizer

log = logging.getLogger(__name__)

ALL = ("onnx", "int8", "openvino", "openvino-bf16", "openvino-int8")
KEEP = 0.99  # the usual share of fp32's metric that a variant has to keep
TIMED, TURN = 160, 8  # texts that are timed, and texts of an engine before the next one's turn
TRIED = 48  # texts on which the error of one part in int8 is measured


@dataclass(frozen=True)
class Criterion:
    """The labelled texts and the share `keep` of the metric by which a variant is chosen."""

    data: Encoded
    task: Task
    pad: int
    keep: float

    def floor(self, fp32: float) -> float:
        """Return the lowest metric that is sufficient, given that of ONNX in fp32."""
        return fp32 - (1 - self.keep) * abs(fp32)


def choose(path: str, files: Files, keep: float, attentions: bool, max_length: int) -> Manifest:
    """Export all variants, measure each on the file, print the table and choose one.

    Raises UserError for a model without a task, and for whatever prepared_export refuses.
    """
    if not 0 < keep <= 1:
        raise UserError(f"--keep {keep:g}: a share of the metric, over 0 and at most 1")
    if static.is_static(path):
        return export.export(path, (), None, max_length)
    backends = (*ALL, *["attentions"] * attentions)
    files, window = files.as_trained(path), window_length(load_config(path), path)
    files = replace(files, windows=window is not None)
    if window is not None:
        log.info(f"{path}: reads long texts in windows of {window} tokens, and is judged by them")
        max_length = window
    with export.prepared_export(path, backends, files, max_length) as (work, manifest):
        if work.kind in ("words", "encoder"):
            raise UserError(
                f"--auto: a model of kind {work.kind!r} has no labels to choose by: export it with "
                "--int8 or --openvino and see how closely each follows torch"
            )
        names, tokenizer = label_names_of(work.model.config), load_tokenizer(path)
        data, task = prepare_file(files, tokenizer, min(max_length, manifest.max_length), names)
        if task.kind != work.kind:
            raise UserError(f"{files.train}: is for {task.kind} and {path} does {work.kind}")
        data = with_threshold(data, work.model.config.to_dict())
        criterion = Criterion(data, task, int(tokenizer.pad_token_id or 0), keep)
        manifest = _chosen(work, manifest, backends, criterion)
    _table(manifest, criterion)
    return manifest


def choose_by(path: str, criterion: Criterion, backends: Sequence[str]) -> Manifest:
    """Export to these backends, onnx first among them, and choose one as `choose` does.

    Raises UserError for whatever prepared_export refuses.
    """
    with export.prepared_export(path, backends, criterion.data, 0) as (work, manifest):
        return _chosen(work, manifest, backends, criterion)


def _chosen(
    work: Export, manifest: Manifest, backends: Sequence[str], criterion: Criterion
) -> Manifest:
    """Make the variants, choose one and put them beside the model."""
    variants = export.make_variants(work, manifest, backends)
    manifest = _measured(work, replace(manifest, variants=variants), criterion)
    if not any(
        v.precision == "int8" and _sufficient(v, manifest, criterion) for v in _candidates(manifest)
    ):
        manifest = _with_parts_in_fp32(work, manifest, criterion)
    manifest = replace(manifest, chosen=_fastest(manifest, criterion))
    export.publish(work, manifest)
    return manifest


def _measured(work: Export, manifest: Manifest, criterion: Criterion) -> Manifest:
    """Add each variant's metric, and its latency_ms and cpu_ms, medians on one thread.

    What it keeps of the metric in ONNX fp32 is added with its interval: kept, kept_low, kept_high
    and the texts n, where the share makes sense.
    """
    logits = {v.backend: _logits(work, manifest, criterion, v) for v in _candidates(manifest)}
    measured = _metrics(criterion, logits)
    engines = {name: open_engine(work.folder, manifest, name, 1) for name in logits}
    order = np.random.default_rng(1).permutation(len(criterion.data))[:TIMED].tolist()
    texts = [
        fidelity.graph_inputs(pad([criterion.data[i]], criterion.pad), manifest.inputs)
        for i in order
    ]
    windows = len(criterion.data) / criterion.data.count  # of a text, each of which is a row
    times = {
        name: {kind: ms * windows for kind, ms in found.items()}
        for name, found in timed(engines, texts).items()
    }
    variants = [
        replace(v, measured=measured[v.backend] | times[v.backend]) if v.backend in measured else v
        for v in manifest.variants
    ]
    return replace(manifest, variants=tuple(variants))


def timed(engines: dict[str, Engine], texts: Sequence[Ids]) -> dict[str, dict[str, float]]:
    """Return the median wall and CPU milliseconds a text; engines take turns at TURN texts.

    Turns of one text would time cold caches, which halves the speed of a small model.
    """
    wall: dict[str, list[float]] = {name: [] for name in engines}
    cpu: dict[str, list[float]] = {name: [] for name in engines}
    for start in range(0, len(texts), TURN):
        turn = texts[start : start + TURN]
        for name, engine in engines.items():
            engine(turn[-1])  # warms up
            for text in turn:
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                engine(text)
                wall[name].append(1000 * (time.perf_counter() - wall_start))
                cpu[name].append(1000 * (time.process_time() - cpu_start))
    return {
        name: {"latency_ms": median(wall[name]), "cpu_ms": median(cpu[name])} for name in engines
    }


def _logits(work: Export, manifest: Manifest, criterion: Criterion, variant: Variant) -> Logits:
    engine = open_engine(work.folder, replace(manifest, variants=(variant,)), variant.backend, None)
    return fidelity.logits_of(engine, manifest.inputs, criterion.data, criterion.pad)


def _metrics(criterion: Criterion, logits: dict[str, Logits]) -> dict[str, dict[str, float]]:
    """Return each backend's metric, and what it keeps of that of the first, ONNX in fp32."""
    task, data = criterion.task, criterion.data
    found = {name: {task.metric: metrics_of(task, each, data)[task.metric]}
             for name, each in logits.items()}  # fmt: skip
    rows = {name: Rows.of(task, each, data) for name, each in logits.items()}
    drawn, texts = kept.drawn_of(rows, task.metric)
    first, *others = drawn
    for name in others:
        share = drawn[name].over(drawn[first])
        if share is not None and (bounds := share.interval) is not None:
            found[name] |= {
                "kept": bounds.value, "kept_low": bounds.low, "kept_high": bounds.high, "n": texts
            }  # fmt: skip
    return found


def _candidates(manifest: Manifest) -> list[Variant]:
    return [variant for variant in manifest.variants if variant.backend in ALL]


def _sufficient(variant: Variant, manifest: Manifest, criterion: Criterion) -> bool:
    fp32 = _candidates(manifest)[0].measured[criterion.task.metric]
    return variant.measured[criterion.task.metric] >= criterion.floor(fp32)


def _fastest(manifest: Manifest, criterion: Criterion) -> str:
    """Return the sufficient backend with the least CPU time; wall time is noisier."""
    good = [v for v in _candidates(manifest) if _sufficient(v, manifest, criterion)]
    return min(good, key=lambda v: v.measured["cpu_ms"]).backend


def _with_parts_in_fp32(work: Export, manifest: Manifest, criterion: Criterion) -> Manifest:
    """Leave the parts with the largest errors in fp32: 1, 2, 4 ... of them, until int8 suffices.

    Returns the manifest unchanged where half of the parts do not suffice either.
    """
    errors = _int8_errors(work, manifest)
    worst = sorted(errors, key=lambda part: -errors[part])
    shown = ", ".join(f"{part} {errors[part]:.2g}" for part in worst[:3])
    log.info(f"no int8 variant keeps {criterion.keep:.1%}; what costs most in int8: {shown}")
    half = max(len(worst) // 2, 1)
    for count in [*(2**k for k in range(half.bit_length()) if 2**k < half), half]:
        in_fp32 = tuple(sorted(worst[:count]))
        variant = export.make_variant(work, manifest, "int8", in_fp32)
        logits = _logits(work, manifest, criterion, variant)
        metric = metrics_of(criterion.task, logits, criterion.data)[criterion.task.metric]
        log.info(f"int8 with {count} of {len(worst)} parts in fp32: {metric:.4f}")
        fp32, *others = (v for v in manifest.variants if v.backend != "int8")
        variants = (fp32, variant, *others)  # int8 as a whole may have been left out
        variant = replace(variant, measured={criterion.task.metric: metric})
        if _sufficient(variant, manifest, criterion):
            return _measured(work, replace(manifest, variants=variants), criterion)
    log.info(f"int8 does not hold with {count} of {len(worst)} parts in fp32: it is not chosen")
    quantize.dynamic_int8(work.folder / FILES["onnx"][0], work.folder / FILES["int8"][0])
    return manifest


def _int8_errors(work: Export, manifest: Manifest) -> dict[str, float]:
    """Return for each part the root mean square error of the logits with that part in int8."""
    source, trial = work.folder / FILES["onnx"][0], "onnx/trial.onnx"
    errors = {}
    for part in counted(quantize.parts(source), "each part alone in int8", "parts"):
        quantize.dynamic_int8(source, work.folder / trial, only=part)
        alone = replace(
            manifest,
            variants=(
                Variant(
                    backend="int8", file=trial, runtime="onnxruntime", precision="int8", size_mb=0
                ),
            ),
        )
        engine = open_engine(work.folder, alone, "int8", None)
        outputs = fidelity.engine_outputs(engine, work.kind, work.batches[:TRIED])
        errors[part] = fidelity.rmse(outputs, work.reference[:TRIED])
    return errors


def _table(manifest: Manifest, criterion: Criterion) -> None:
    """Print size, metric, retention and time a text of every variant."""
    metric, fp32 = criterion.task.metric, _candidates(manifest)[0].measured
    rows = Table("variant", "MB", metric, "kept", "CPU ms", "to onnx", "")
    for v in _candidates(manifest):
        retention = "-"
        if "kept" in v.measured:
            of = v.measured
            found = Interval(of["kept"], of["kept_low"], of["kept_high"])
            retention = phrases.share(found, int(of["n"]))
        rows.add_row(
            v.backend, f"{v.size_mb:.1f}", f"{v.measured[metric]:.4f}", retention,
            f"{v.measured['cpu_ms']:.2f}", f"{fp32['cpu_ms'] / v.measured['cpu_ms']:.2f}x",
            "chosen" if v.backend == manifest.chosen else "",
        )  # fmt: skip
    with above():
        Console(markup=False).print(rows)
