"""The export of a saved model to files that run without torch, each checked against torch."""

import importlib.util
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.data.collate import pad
from alembert.data.encoded import Encoded
from alembert.data.labels import find_columns, is_list
from alembert.data.splits import Files
from alembert.data.tasks import Kind, Task, encode
from alembert.data.texts.raw import texts_in
from alembert.export import fidelity, layout, quantize, static
from alembert.export import onnx as onnx_export
from alembert.export.torch_session import Loaded, TorchEngine, described
from alembert.inference.engine import Ids, has_bf16, open_engine
from alembert.inference.manifest import FILE as MANIFEST
from alembert.inference.manifest import Manifest, Variant, write_manifest
from alembert.io import checksums
from alembert.io.environment import int8_overflows, missing, versions
from alembert.io.errors import UserError
from alembert.io.files import keep, keep_checksums, naming
from alembert.io.progress import doing
from alembert.models import loading

log = logging.getLogger(__name__)

FILES = {  # backend: file, runtime, precision
    "onnx": ("onnx/model.onnx", "onnxruntime", "fp32"),
    "int8": ("onnx/model_quantized.onnx", "onnxruntime", "int8"),
    "openvino": ("onnx/model.onnx", "openvino", "fp32"),
    "openvino-bf16": ("onnx/model.onnx", "openvino", "bf16"),
    "openvino-int8": ("openvino/model_int8.xml", "openvino", "int8"),
    "attentions": ("onnx/model_attentions.onnx", "onnxruntime", "fp32"),
}
EARLIER = ("onnx/model_int8.onnx",)  # names that version 0.2 gave
PACKAGES = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino", "nncf")}
MAX_ERROR = 1e-4  # of fp32, as a share of torch's largest number
MIN_CORRELATION = 0.5  # of bf16's or int8's numbers with torch's
CALIBRATING, COMPARED = 200, 200  # texts that calibrate int8, texts for fidelity


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export in progress: its model and batches; `folder` is filled and moved at the end."""

    folder: Path
    model: PreTrainedModel
    kind: str
    pooling: str
    calibration: list[Ids]  # real texts, one a batch
    batches: list[Ids]  # texts for fidelity
    reference: list[fidelity.Numbers]  # torch's output for each of them
    shapes: list[Ids]  # batches of random tokens in many shapes
    shapes_reference: list[fidelity.Numbers]


def backends_of(int8: bool, openvino: bool, attentions: bool, texts: bool) -> list[str]:
    """Return the backends for the verb's options; `texts` is whether --data was given."""
    backends = ["onnx", *["int8"] * int8]
    if openvino:
        backends += ["openvino", "openvino-bf16", *["openvino-int8"] * texts]
        if not texts:
            log.info("openvino-int8 is left out: it needs real texts to calibrate it, --data FILE")
    return [*backends, *["attentions"] * attentions]


def export(
    path: str,
    backends: Sequence[str],
    files: Files | None,
    max_length: int,
    to: Path | None = None,
    loaded: Loaded | None = None,
) -> Manifest:
    """Make variants of a saved model, onnx always among them, and put them beside it at once.

    They are put into the folder `to` instead, where it is given. A model and a tokenizer that are
    loaded already are not loaded again.
    """
    if static.is_static(path):
        log.info(f"{path}: a static student answers as it is saved, by numpy")
        return static.describe(Path(loading.model_path(path)))
    files = files and files.as_trained(path)
    with prepared_export(path, backends, files, max_length, to, loaded) as (work, manifest):
        variants = make_variants(work, manifest, backends)
        chosen = "int8" if any(v.backend == "int8" for v in variants) else "onnx"
        manifest = replace(manifest, variants=variants, chosen=chosen)
        publish(work, manifest)
    return manifest


@contextmanager
def prepared_export(
    path: str,
    backends: Sequence[str],
    texts: Files | Encoded | None,
    max_length: int,
    to: Path | None = None,
    loaded: Loaded | None = None,
) -> Iterator[tuple[Export, Manifest]]:
    """Yield a workspace, and a manifest without variants; the working folder is then removed.

    texts are a file's, or encoded ones. The export goes beside the model, or into `to`. Raises
    UserError for a model that cannot be exported, and where its folder cannot be written.
    """
    if wrong := [name for name in backends if name not in FILES]:
        raise UserError(f"export to {wrong[0]!r}: choose {', '.join(FILES)}")
    if (name := missing_package(backends)) is not None:
        raise UserError(missing(name, "deploy"))
    folder = to or Path(loading.model_path(path))
    if not folder.is_dir():
        raise UserError(
            f"{path}: no such folder: an export goes beside a saved model: save a model of the hub "
            "with its save_pretrained, and its tokenizer, and name that folder"
        )
    _check_ours(folder, backends)
    model, tokenizer, facts = described(path, loaded)
    names = onnx_export.input_names(model, facts.kind)
    manifest = replace(
        facts, inputs=names, chosen="", versions=_exporter_versions(backends),
        opset=onnx_export.OPSET, vocabulary=model.config.vocab_size,
    )  # fmt: skip
    if isinstance(texts, Files):
        texts = _encoded(texts, tokenizer, min(max_length, facts.max_length))
    elif texts is not None:
        texts = texts.take(_drawn(len(texts)))
    sample = [] if texts is None else _one_by_one(texts, int(tokenizer.pad_token_id or 0), names)
    pad_id = model.config.pad_token_id or 0
    shapes = fidelity.random_batches(names, manifest.vocabulary, pad_id, facts.max_length)
    at = folder / ".export.partial"
    with naming(folder, "free some space or make the folder writable, and export again"):
        shutil.rmtree(at, ignore_errors=True)
        for part in ("onnx", "openvino"):
            (at / part).mkdir(parents=True)
        try:
            yield _export(at, model, facts.kind, facts.pooling, sample, shapes), manifest
        finally:
            shutil.rmtree(at, ignore_errors=True)


def _export(
    at: Path, model: PreTrainedModel, kind: str, pooling: str, texts: list[Ids],
    shapes: list[Ids],
) -> Export:  # fmt: skip
    """Divide texts into those that calibrate and those compared; too few of them do both.

    Without texts, the random batches are compared.
    """
    compared = texts[CALIBRATING:] or texts or shapes
    engine = TorchEngine(model, kind, pooling)
    from_shapes = fidelity.engine_outputs(engine, kind, shapes)
    reference = fidelity.engine_outputs(engine, kind, compared) if texts else from_shapes
    calibration = texts[:CALIBRATING]
    return Export(
        folder=at,
        model=model,
        kind=kind,
        pooling=pooling,
        calibration=calibration,
        batches=compared,
        reference=reference,
        shapes=shapes,
        shapes_reference=from_shapes,
    )


def make_variants(work: Export, manifest: Manifest, backends: Sequence[str]) -> tuple[Variant, ...]:
    """Return the variants whose outputs correlate with torch's; others are left out."""
    variants = []
    for backend in backends:
        with doing(f"exporting to {backend}"):
            variant = make_variant(work, manifest, backend)
        if variant.fidelity.get("correlation", 1.0) < MIN_CORRELATION:
            log.info(f"{backend} is left out: its outputs differ too much from the model's")
            continue
        variants.append(variant)
    return tuple(variants)


def make_variant(
    work: Export, manifest: Manifest, backend: str, in_fp32: tuple[str, ...] = ()
) -> Variant:
    """Write one variant and check it; onnx has to be first. in_fp32: parts that int8 leaves out."""
    start = time.perf_counter()
    file, runtime, precision = FILES[backend]
    source, how = work.folder / FILES["onnx"][0], ""
    bits = 0
    if backend == "int8":
        quantize.dynamic_int8(source, work.folder / file, in_fp32)
        bits = 7 if int8_overflows() else 8
    elif backend == "openvino-int8":
        how = _write_calibrated(work, manifest)
    elif backend == "openvino-bf16" and not has_bf16():
        how = "measured in fp32: this processor has no bf16"
        log.info(f"openvino-bf16 is {how}")
    elif backend in ("onnx", "attentions"):
        both = backend == "attentions"
        onnx_export.export(work.model, work.kind, work.folder / file, work.pooling, both)
    variant = Variant(
        backend=backend,
        file=file,
        runtime=runtime,
        precision=precision,
        size_mb=_megabytes(work.folder, file),
        kept_fp32=in_fp32,
        bits=bits,
        how=how,
    )
    measured = _checked(work, manifest, variant)
    error, correlation = measured["max_error"], measured.get("correlation", 1.0)
    log.info(
        f"{backend:14} {variant.size_mb:7.1f} MB  max error {error:.1e}, correlation "
        f"{correlation:.5f}  ({time.perf_counter() - start:.0f} s)"
    )
    return replace(variant, fidelity=measured)


def _checked(work: Export, manifest: Manifest, variant: Variant) -> dict[str, float]:
    """Return a variant's fidelity; UserError for NaN, and for fp32 that differs from torch."""
    engine = open_engine(work.folder, replace(manifest, variants=(variant,)), variant.backend, None)
    limit = MAX_ERROR if variant.precision == "fp32" else np.inf
    pairs = ((work.shapes, work.shapes_reference), (work.batches, work.reference))
    for batches, reference in pairs:
        outputs = fidelity.engine_outputs(engine, work.kind, batches)
        measured = fidelity.fidelity(work.kind, outputs, reference)
        if not measured["max_error"] <= limit:
            raise UserError(
                f"{variant.file} differs from torch (largest difference "
                f"{measured['max_error']:.2g} of the largest number) in {variant.backend}: nothing "
                "was written; this model cannot be exported so"
            )
    return measured  # on texts


def _write_calibrated(work: Export, manifest: Manifest) -> str:
    """Write openvino/model_int8.xml with or without SmoothQuant, whichever is closer to torch."""
    source, errors = work.folder / FILES["onnx"][0], {}
    file = work.folder / FILES["openvino-int8"][0]
    for smooth in (False, True):
        home = work.folder / f"smooth-{smooth}" / "openvino"
        quantize.calibrated_int8(source, home / file.name, work.calibration, smooth)
        variant = Variant(
            backend="openvino-int8",
            file=FILES["openvino-int8"][0],
            runtime="openvino",
            precision="int8",
            size_mb=0,
        )
        engine = open_engine(home.parent, replace(manifest, variants=(variant,)), "openvino-int8")
        outputs = fidelity.engine_outputs(engine, work.kind, work.batches)
        errors[smooth] = fidelity.rmse(outputs, work.reference)
    best = min(errors, key=lambda smooth: errors[smooth])
    for each in (work.folder / f"smooth-{best}" / "openvino").iterdir():
        each.replace(file.parent / each.name)
    return "SmoothQuant" if best else "without SmoothQuant"


def publish(work: Export, manifest: Manifest) -> None:
    """Move the files beside the model, the manifest last, and remove those of an older export."""
    target = work.folder.parent
    new = {each for variant in manifest.variants for each in _files_of(variant.file)}
    old = {each for file, _, _ in FILES.values() for each in _files_of(file)} | set(EARLIER)
    exported_before = (target / MANIFEST).is_file()
    write_manifest(work.folder, manifest)
    for each in sorted(new):
        (target / each).parent.mkdir(exist_ok=True)
    (target / MANIFEST).unlink(missing_ok=True)  # a half-moved export does not count as one
    for each in sorted(new):
        (work.folder / each).replace(target / each)
    for each in old - new if exported_before else ():
        (target / each).unlink(missing_ok=True)
    keep(target, sorted(new))
    if work.kind == "encoder":
        layout.describe_pooling(target, work.pooling, manifest.width, manifest.max_length)
    keep_checksums(target, {MANIFEST: checksums.sha256_of(work.folder / MANIFEST)})
    (work.folder / MANIFEST).replace(target / MANIFEST)


def _encoded(files: Files, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoded:
    """Return some texts of the file, drawn at random; labels are not read."""
    source = files.train.with_role("eval")
    rows, name = source.rows, source.name
    columns = find_columns(rows, name, files.text, files.text_pair, labelled=False)
    kind: Kind = "tokens" if is_list(rows, columns.text) else "classification"
    task = Task(kind, (), "", columns.text_pair is not None)
    for column in columns.texts:
        texts_in(rows, column, name)  # an error names the row of the file, not the sample's
    sample = rows.select(_drawn(len(rows)).tolist())
    return encode(sample, task, columns, tokenizer, max_length, name, labelled=False)


def _drawn(count: int) -> NDArray[np.int64]:
    """Return the numbers of some of so many rows, in random order."""
    return np.random.default_rng(0).permutation(count)[: CALIBRATING + COMPARED]


def _one_by_one(data: Encoded, pad_id: int, names: Sequence[str]) -> list[Ids]:
    return [fidelity.graph_inputs(pad([data[i]], pad_id), names) for i in range(len(data))]


def missing_package(backends: Sequence[str]) -> str | None:
    """Return a package that these backends need and that is not installed, or None."""
    for runtime in sorted({FILES[backend][1] for backend in backends}):
        for name in PACKAGES[runtime]:
            if importlib.util.find_spec(name) is None:
                return name
    return None


def _check_ours(folder: Path, backends: Sequence[str]) -> None:
    """Raise UserError where another program's export would be overwritten."""
    if (folder / MANIFEST).is_file():
        return
    for file in (FILES[backend][0] for backend in backends):
        if (folder / file).exists():
            raise UserError(
                f"{folder / file}: is there already, and no {MANIFEST} says that it is an "
                "export of this model: move it away"
            )


def _files_of(file: str) -> list[str]:
    """Return a variant's files: OpenVINO has the weights in a second one."""
    return [file, file.removesuffix(".xml") + ".bin"] if file.endswith(".xml") else [file]


def _megabytes(at: Path, file: str) -> float:
    """Return a variant's size in megabytes."""
    return sum((at / each).stat().st_size for each in _files_of(file)) / 1e6


def _exporter_versions(backends: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages that make an export."""
    names = ["alembert", "torch", "transformers", *PACKAGES["onnxruntime"]]
    if any(FILES[backend][1] == "openvino" for backend in backends):
        names += PACKAGES["openvino"]
    return versions(names)
