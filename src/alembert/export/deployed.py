"""What is deployed at the end of a run: exports of student and teacher, their logits and times."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from alembert.bench.interleaved import Answer, Timed, answer_of, further, time_in_turns
from alembert.bench.rows import Row, Subject, weights_mb
from alembert.data.encoded import Encoded
from alembert.evaluation.metrics import Logits
from alembert.export import fidelity, static
from alembert.export.choose import Criterion, choose_by
from alembert.export.export import export, missing_package
from alembert.export.torch_session import Loaded, session_of_loaded
from alembert.inference.engine import open_engine
from alembert.inference.manifest import FILE as MANIFEST
from alembert.inference.manifest import Manifest, read_manifest
from alembert.inference.session import Session
from alembert.io import checksums
from alembert.io.answers import Text
from alembert.io.environment import int8_overflows, missing, versions
from alembert.io.errors import UserError
from alembert.io.files import cache, keep
from alembert.io.locks import waited_for
from alembert.models.loading import digest_of, model_path

log = logging.getLogger(__name__)

BACKENDS = ("onnx", "int8")
TEACHER = "teacher"  # the role with which all others are compared


@dataclass(frozen=True)
class Exported:
    """A folder with the export of a model, and its manifest."""

    folder: Path
    manifest: Manifest

    def logits(self, data: Encoded, pad: int, backend: str | None = None) -> Logits:
        """Return the logits of a variant, by default the chosen one, on encoded rows."""
        engine = open_engine(self.folder, self.manifest, backend, None)
        return fidelity.logits_of(engine, self.manifest.inputs, data, pad)


def found(folder: Path) -> Exported | None:
    """Return the export that lies in a folder; None without one."""
    if not (folder / MANIFEST).is_file():
        return None
    return Exported(folder, read_manifest(folder))


def can_export() -> bool:
    """Return whether the packages are installed; a line says how to install a missing one."""
    if (name := missing_package(BACKENDS)) is None:
        return True
    log.info(f"no int8 export: {missing(name, 'deploy')}")
    return False


def export_student(folder: Path, criterion: Criterion) -> None:
    """Export a student to the fastest of ONNX in fp32 and int8 that keeps its metric.

    A model that cannot be exported gets a line that says why.
    """
    try:
        manifest = choose_by(str(folder), criterion, BACKENDS)
    except UserError as error:
        log.info(f"no int8 export: {error}")
        return
    chosen = manifest.variant(None, folder)
    fp32, name = manifest.variant("onnx", folder).measured, criterion.task.metric
    in_fp32 = f", {len(chosen.kept_fp32)} parts in fp32" if chosen.kept_fp32 else ""
    log.info(
        f"deployed: {chosen.backend}, {chosen.size_mb:.1f} MB{in_fp32}; held-out {name} "
        f"{chosen.measured[name]:.4f}, in fp32 {fp32[name]:.4f}"
    )


def exported_teacher(path: str, loaded: Loaded) -> Exported | None:
    """Return the teacher's export in the user's cache, made once for its weights.

    loaded: its model and its tokenizer. Returns None, and a line says why, for a teacher that
    cannot be exported.
    """
    parts = [1, digest_of(path), int8_overflows(), versions(("onnxruntime", "torch", "onnx"))]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache("exports") / key
    folder.mkdir(parents=True, exist_ok=True)
    with waited_for(folder / ".lock", f"waiting for the export of {path} by another process"):
        if damaged := checksums.damaged(folder):
            log.warning(f"{folder / damaged[0]}: is damaged: {path} is exported again")
            for each in folder.iterdir():
                if each.name != ".lock":
                    shutil.rmtree(each) if each.is_dir() else each.unlink()
        if not (folder / MANIFEST).is_file():
            log.info(f"exporting the teacher once, to compare with: {folder}")
            try:
                loaded[1].save_pretrained(folder)
                keep(folder, sorted(p.name for p in folder.iterdir() if p.name[0] != "."))
                export(path, BACKENDS, None, 0, folder, loaded)
            except UserError as error:
                log.info(f"the teacher's int8 is left out: {error}")
                return None
    return found(folder)


def time_run(
    models: Mapping[str, tuple[PreTrainedModel, str]],
    exports: Mapping[str, Exported],
    texts: Sequence[Text],
    max_length: int,
    others: Mapping[str, Answer],
    long: str = "cut",
) -> list[Row]:
    """Return rows of teacher, student and others, timed in turns from a text to its answer.

    models maps a role to the model and where it was loaded from; it is timed in torch and in the
    variants of its export. Returns no rows, and a line says why, where a model cannot be asked.
    """
    timed: list[Timed] = []
    lengths: list[int] = []
    try:
        for role, (model, path) in models.items():
            session = session_of_loaded(model, path, max_length, long)
            rows = session.reader(texts, words=session.kind == "tokens")
            lengths = np.bincount(rows.owners, weights=rows.lengths).astype(int).tolist()
            size = weights_mb(model_path(path))
            timed.append(_timed(session, role, "torch", size))
            if (exported := exports.get(role)) is not None:
                timed += _variants(exported, role, session.max_length, long)
        references = [each.name for each in timed if each.subject.model == TEACHER]
        return time_in_turns([*timed, *further(others)], texts, lengths, references)
    except UserError as error:
        log.info(f"the models are not timed: {error}")
        return []


def _variants(exported: Exported, role: str, max_length: int, long: str) -> list[Timed]:
    sizes = {variant.backend: variant.size_mb for variant in exported.manifest.variants}
    return [
        _timed(
            Session(exported.folder, name, long=long, max_length=max_length), role, name,
            sizes[name],
        )
        for name in (*BACKENDS, static.BACKEND)
        if name in sizes
    ]  # fmt: skip


def _timed(session: Session, role: str, backend: str, size_mb: float) -> Timed:
    subject = Subject(
        model=role, backend=backend, threads=1, size_mb=size_mb,
        parameters=session.facts.parameters,
    )  # fmt: skip
    return Timed(subject=subject, answer=answer_of(session))
