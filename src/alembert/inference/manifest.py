"""What an exported folder says of itself: deploy.json beside config.json and tokenizer.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alembert.io.errors import UserError
from alembert.io.files import atomic

FILE = "deploy.json"
FORMAT = 1
KINDS = ("classification", "multilabel", "regression", "tokens", "words", "encoder")
# what --backend says, beside torch, which needs no export
BACKENDS = ("onnx", "int8", "openvino", "openvino-bf16", "openvino-int8", "attentions")


@dataclass(frozen=True)
class Variant:
    """One way to run the model. `file` is relative to the folder; `precision` is what it runs in.

    fidelity (against torch fp32, on real or made texts): max_error, as a share of torch's largest
    number; correlation; agreement, the share of equal labels.
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
    kept_fp32: tuple[str, ...] = ()  # layers that int8 leaves alone
    how: str = ""  # of openvino-int8: with SmoothQuant or without; of bf16: if it was not bf16


@dataclass(frozen=True)
class Manifest:
    """kind: one of KINDS.

    inputs: the names that the graph takes, of input_ids, attention_mask, token_type_ids and, for
    words, places: (N,) int64, b * T + t of the tokens to be guessed. One output: (B, C), for tokens
    (B, T, C), for words (N, V), for an encoder the pooled (B, H).
    """

    kind: str
    labels: tuple[str, ...]
    max_length: int
    inputs: tuple[str, ...]
    parameters: int
    chosen: str  # the backend that is used unasked
    variants: tuple[Variant, ...]
    versions: dict[str, str] = field(default_factory=dict)
    opset: int = 0
    pooling: str = ""  # of an encoder: mean or cls, with "+norm" where vectors get length 1
    vocabulary: int = 0  # words that the model knows; 0, and width too, in older files
    width: int = 0  # of its hidden states, so of an encoder's vectors

    def variant(self, backend: str | None, folder: Path) -> Variant:
        """The one that was asked for, or the one that was chosen."""
        for variant in self.variants:
            if variant.backend == (backend or self.chosen):
                return variant
        there = ", ".join(variant.backend for variant in self.variants) or "none"
        raise UserError(f"{folder}: not exported for {backend or self.chosen}; there is {there}")


def write_manifest(folder: Path, facts: Manifest) -> None:
    """deploy.json, whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(facts)}, indent=2, ensure_ascii=False)
    with atomic(folder / FILE) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Raises UserError where there is none, or it cannot be read."""
    path = folder / FILE
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; check the path")
    if not path.is_file():
        raise UserError(f"{folder}: not exported: 'alembert export {folder}' makes {FILE}")
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
        found = Manifest(variants=variants, **content)
        if type(found.max_length) is not int or found.kind not in KINDS:
            raise ValueError(f"kind {found.kind!r}, max_length {found.max_length!r}")
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): export the model again") from error
