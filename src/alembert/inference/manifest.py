"""deploy.json, the description of an exported folder, beside config.json and tokenizer.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import model_folder, write_text

FILE = "deploy.json"
FORMAT = 1
KINDS = ("classification", "multilabel", "regression", "tokens", "words", "encoder")
# the values of --backend, beside torch, which needs no export
BACKENDS = ("onnx", "int8", "openvino", "openvino-bf16", "openvino-int8", "attentions")


def exported_folder(folder: str | Path) -> Path:
    """The folder of an exported model, which is student/ in a run folder."""
    return model_folder(folder, FILE)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One exported graph of the model; `file` is relative to the folder.

    fidelity, against torch in fp32 on real or synthetic texts: max_error, as a share of torch's
    largest logit; correlation; agreement, the share of equal labels.
    """

    backend: str  # one of BACKENDS
    file: str
    runtime: str  # onnxruntime or openvino
    precision: str  # fp32, bf16 or int8
    size_mb: float
    fidelity: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(
        default_factory=dict
    )  # by --auto: metric, latency_ms, cpu_ms
    kept_fp32: tuple[str, ...] = ()  # layers that are not quantised to int8
    bits: int = 0  # of int8's weights: 8, or 7 where sums of 8 would overflow; 0: not recorded
    how: str = ""  # openvino-int8: with SmoothQuant or without; openvino-bf16: if not in bf16


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of deploy.json; kind is one of KINDS.

    inputs are the graph's: input_ids, attention_mask, token_type_ids and, for kind "words", places
    (N,) int64, b * T + t of the masked tokens. Its output is (B, C), or (B, T, C) for "tokens",
    (N, V) for "words", and the pooled (B, H) for "encoder".
    """

    kind: str
    labels: tuple[str, ...]
    max_length: int
    inputs: tuple[str, ...]
    parameters: int
    chosen: str  # the default backend
    variants: tuple[Variant, ...]
    versions: dict[str, str] = field(default_factory=dict)
    opset: int = 0
    pooling: str = ""  # an encoder's: mean or cls, with "+norm" where vectors get length 1
    vocabulary: int = 0  # the size of the model's vocabulary; 0 in older files, as is width
    width: int = 0  # the hidden size, which is that of an encoder's vectors

    def variant(self, backend: str | None, folder: Path) -> Variant:
        """The variant of a backend, by default the chosen one; UserError if there is none."""
        for variant in self.variants:
            if variant.backend == (backend or self.chosen):
                return variant
        exported = ", ".join(variant.backend for variant in self.variants) or "none"
        raise UserError(f"{folder}: not exported for {backend or self.chosen}; there is {exported}")


def write_manifest(folder: Path, facts: Manifest) -> None:
    """Writes deploy.json atomically."""
    text = json.dumps({"format": FORMAT, **asdict(facts)}, indent=2, ensure_ascii=False)
    write_text(folder / FILE, text + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Reads deploy.json. Raises UserError when there is none, or it cannot be read."""
    path = folder / FILE
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path")
    if not path.is_file():
        raise UserError(f"{folder}: not exported: 'alembert export {folder}' makes {FILE}")
    checksums.check(path, "export the model again")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise UserError(f"{path}: of another version: export the model again")
        variants = tuple(
            Variant(**{**each, "kept_fp32": tuple(each["kept_fp32"])})
            for each in content.pop("variants")
        )
        for name in ("labels", "inputs"):
            content[name] = tuple(content[name])
        manifest = Manifest(variants=variants, **content)
        if type(manifest.max_length) is not int or manifest.kind not in KINDS:
            raise ValueError(f"kind {manifest.kind!r}, max_length {manifest.max_length!r}")
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): export the model again") from error
