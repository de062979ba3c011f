"""A saved model becomes files that run without torch, each checked against torch."""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.data import sources
from alembert.data.collate import pad
from alembert.data.labels import find_columns, is_list
from alembert.data.splits import Files
from alembert.data.tasks import Kind, Task, encode, texts_in
from alembert.export import fidelity, quantize
from alembert.export import onnx as onnx_export
from alembert.export.files import (  # fmt: skip
    FILES,
    check_installed,
    check_ours,
    files_of,
    megabytes,
    versions,
)
from alembert.inference import manifest as deployed
from alembert.inference.engine import Ids, has_bf16, open_engine
from alembert.inference.manifest import Manifest, Variant
from alembert.io.errors import UserError
from alembert.io.files import naming
from alembert.models import checks
from alembert.models.heads import kind_of, pooling_of
from alembert.models.loading import (
    label_names_of,
    load_config,
    load_model,
    load_tokenizer,
    model_folder,
)

log = logging.getLogger(__name__)

EXACT = 1e-4  # of the largest number: what fp32 may differ by
ALIKE = 0.5  # the least correlation with torch's numbers of what is kept in bf16 or int8
SEEN, COMPARED = 200, 200  # texts that calibrate int8, texts that fidelity is measured on


@dataclass(frozen=True)
class Work:
    """What one export goes by. at: the folder that is filled, and moved when all is well."""

    at: Path
    model: PreTrainedModel
    kind: str
    pooling: str
    seen: list[Ids]  # real texts, one a batch, that calibrate
    batches: list[Ids]  # what fidelity is measured on, torch's answers beside it
    true: list[fidelity.Numbers]
    shapes: list[Ids]  # made-up batches of every shape
    shapes_true: list[fidelity.Numbers]


def backends_of(int8: bool, openvino: bool, attentions: bool, texts: bool) -> list[str]:
    """What the options of the verb ask for; what is left out is said."""
    found = ["onnx", *["int8"] * int8]
    if openvino:
        found += ["openvino", "openvino-bf16", *["openvino-int8"] * texts]
        if not texts:
            log.info("openvino-int8 is left out: it needs real texts to calibrate it, --data FILE")
    return [*found, *["attentions"] * attentions]


def export(path: str, backends: Sequence[str], files: Files | None, max_length: int) -> Manifest:
    """Make these variants of a saved model (onnx always) and put them beside it at once."""
    with begun(path, backends, files, max_length) as (work, facts):
        variants = made_all(work, facts, backends)
        chosen = "int8" if any(v.backend == "int8" for v in variants) else "onnx"
        facts = replace(facts, variants=variants, chosen=chosen)
        keep(work, facts)
    return facts


@contextmanager
def begun(
    path: str, backends: Sequence[str], files: Files | None, max_length: int
) -> Iterator[tuple[Work, Manifest]]:
    """What an export goes by, and facts as yet without variants.

    Raises UserError for what cannot be exported. Whatever happens, no half-made file stays.
    """
    check_installed(backends)
    folder = Path(model_folder(path))
    if not folder.is_dir():
        raise UserError(
            f"{path}: no such folder: an export goes beside a saved model: save a model of the hub "
            "with its save_pretrained, and its tokenizer, and name that folder"
        )
    check_ours(folder, backends)
    config, tokenizer = load_config(path), load_tokenizer(path)
    checks.check_vocabulary(tokenizer, config, path)
    room, kind = checks.positions(config), kind_of(config, path)
    model = load_model(path, kind)
    pooling = pooling_of(folder) if kind == "encoder" else ""
    names = onnx_export.names_of(model, kind)
    labels = tuple(label_names_of(config) or ()) if kind not in ("words", "encoder") else ()
    facts = Manifest(
        kind, labels, room, names, model.num_parameters(), "", (), versions(backends),
        onnx_export.OPSET, pooling, config.vocab_size, config.hidden_size,
    )  # fmt: skip
    texts = _texts(files, tokenizer, min(max_length, room), names) if files else []
    shapes = fidelity.made_up(names, config.vocab_size, config.pad_token_id or 0, room)
    at = folder / ".export.partial"
    with naming(folder, "free some space or mend the folder, and export again"):
        shutil.rmtree(at, ignore_errors=True)
        for part in ("onnx", "openvino"):
            (at / part).mkdir(parents=True)
        try:
            yield _work(at, model, kind, pooling, texts, shapes), facts
        finally:
            shutil.rmtree(at, ignore_errors=True)


def _work(
    at: Path, model: PreTrainedModel, kind: str, pooling: str, texts: list[Ids],
    shapes: list[Ids],
) -> Work:  # fmt: skip
    """Some texts calibrate, others are compared; few texts do both, and without any, shapes do."""
    compared = texts[SEEN:] or texts or shapes
    shapes_true = fidelity.truth(model, kind, pooling, shapes)
    true = fidelity.truth(model, kind, pooling, compared) if texts else shapes_true
    return Work(at, model, kind, pooling, texts[:SEEN], compared, true, shapes, shapes_true)


def made_all(work: Work, facts: Manifest, backends: Sequence[str]) -> tuple[Variant, ...]:
    """The variants that follow the model; one that does not is left out, and said."""
    found = []
    for backend in backends:
        variant = made(work, facts, backend)
        if variant.fidelity.get("correlation", 1.0) < ALIKE:
            log.info(f"{backend} is left out: its answers are not the model's any more")
            continue
        found.append(variant)
    return tuple(found)


def made(work: Work, facts: Manifest, backend: str, spare: tuple[str, ...] = ()) -> Variant:
    """One variant, written and checked; onnx comes first. spare: parts that int8 leaves in fp32."""
    began = time.perf_counter()
    file, runtime, precision = FILES[backend]
    source, how = work.at / FILES["onnx"][0], ""
    if backend == "int8":
        quantize.dynamic_int8(source, work.at / file, spare)
    elif backend == "openvino-int8":
        how = _calibrated(work, facts)
    elif backend == "openvino-bf16" and not has_bf16():
        how = "measured in fp32: this processor has no bf16"
        log.info(f"openvino-bf16 is {how}")
    elif backend in ("onnx", "attentions"):
        both = backend == "attentions"
        onnx_export.export(work.model, work.kind, work.at / file, work.pooling, both)
    variant = Variant(
        backend, file, runtime, precision, megabytes(work.at, file), kept_fp32=spare, how=how
    )
    found = _checked(work, facts, variant)
    error, alike = found["max_error"], found.get("correlation", 1.0)
    log.info(
        f"{backend:14} {variant.size_mb:7.1f} MB  max error {error:.1e}, correlation {alike:.5f}  "
        f"({time.perf_counter() - began:.0f} s)"
    )
    return replace(variant, fidelity=found)


def _checked(work: Work, facts: Manifest, variant: Variant) -> dict[str, float]:
    """Fidelity of a variant; UserError where it gives no numbers, or fp32 that is not torch's."""
    engine = open_engine(work.at, replace(facts, variants=(variant,)), variant.backend, None)
    everywhere = fidelity.fidelity(
        work.kind, fidelity.said(engine, work.kind, work.shapes), work.shapes_true
    )
    real = fidelity.fidelity(work.kind, fidelity.said(engine, work.kind, work.batches), work.true)
    most = EXACT if variant.precision == "fp32" else np.inf
    for found in (everywhere, real):
        if not found["max_error"] <= most:
            raise UserError(
                f"{variant.file} answers otherwise than torch (largest difference "
                f"{found['max_error']:.2g} of the largest number) in {variant.backend}: nothing "
                "was kept; this model cannot be exported so"
            )
    return real


def _calibrated(work: Work, facts: Manifest) -> str:
    """openvino/model_int8.xml with or without SmoothQuant, whichever is closer to torch."""
    source, errors = work.at / FILES["onnx"][0], {}
    file = work.at / FILES["openvino-int8"][0]
    for smooth in (False, True):
        home = work.at / f"smooth-{smooth}" / "openvino"
        quantize.calibrated_int8(source, home / file.name, work.seen, smooth)
        variant = Variant("openvino-int8", FILES["openvino-int8"][0], "openvino", "int8", 0)
        engine = open_engine(home.parent, replace(facts, variants=(variant,)), "openvino-int8")
        errors[smooth] = fidelity.error(fidelity.said(engine, work.kind, work.batches), work.true)
    best = min(errors, key=lambda smooth: errors[smooth])
    for each in (work.at / f"smooth-{best}" / "openvino").iterdir():
        each.replace(file.parent / each.name)
    return "SmoothQuant" if best else "without SmoothQuant"


def keep(work: Work, facts: Manifest) -> None:
    """Put the files in their places, the facts last; what an older export left goes."""
    folder, exported = work.at.parent, deployed.FILE
    new = {each for variant in facts.variants for each in files_of(variant.file)}
    old = {each for file, _, _ in FILES.values() for each in files_of(file)}
    ours = (folder / exported).is_file()
    deployed.write_manifest(work.at, facts)
    for each in sorted(new):
        (folder / each).parent.mkdir(exist_ok=True)
    (folder / exported).unlink(missing_ok=True)  # until the end nothing is said to be exported
    for each in sorted(new):
        (work.at / each).replace(folder / each)
    for each in old - new if ours else ():
        (folder / each).unlink(missing_ok=True)
    (work.at / exported).replace(folder / exported)


def _texts(
    files: Files, tokenizer: PreTrainedTokenizerBase, max_length: int, names: Sequence[str]
) -> list[Ids]:
    """Texts of the file, in random order, one a batch; labels are not read."""
    rows = sources.read(files.train, "test")
    where = find_columns(rows, files.train, files.text, files.text_pair, labelled=False)
    kind: Kind = "tokens" if is_list(rows, where.text) else "classification"
    task = Task(kind, (), "", where.text_pair is not None)
    for column in filter(None, (where.text, where.text_pair)):
        texts_in(rows, column, files.train)  # refused by its row in the file, not in the sample
    order = np.random.default_rng(0).permutation(len(rows))[: SEEN + COMPARED]
    chosen = rows.select(order.tolist())
    data = encode(chosen, task, where, tokenizer, max_length, files.train, labelled=False)
    pad_id = int(tokenizer.pad_token_id or 0)
    return [fidelity.graph_inputs(pad([data[i]], pad_id), names) for i in range(len(data))]
