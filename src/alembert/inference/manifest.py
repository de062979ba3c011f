"""deploy.json, the description of an exported folder, beside config.json and tokenizer.json."""

import json
import math
from dataclasses import MISSING, asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from alembert.io import checksums
from alembert.io.answers import NEVER, QUESTIONS
from alembert.io.errors import UserError
from alembert.io.files import inside, model_folder, read_json, write_text

FILE = "deploy.json"
FORMAT = 1
LONGEST = 1_000_000  # the most tokens of a text that a manifest may name
KINDS = ("classification", "multilabel", "regression", "tokens", QUESTIONS, "words", "encoder")
PER_TOKEN = ("tokens", QUESTIONS)  # kinds whose graph gives logits (B, T, C)
# the values of --backend, beside torch, which needs no export
BACKENDS = ("onnx", "int8", "openvino", "openvino-bf16", "openvino-int8", "attentions", "static")


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
    runtime: str  # onnxruntime, openvino, or numpy of a static student
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
    (N,) int64, b * T + t of the masked tokens. Its first output is (B, C), or (B, T, C) for kinds
    PER_TOKEN, (N, V) for "words", and the pooled (B, H) for "encoder".
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
    null_threshold: float = NEVER  # of questions: how much better "no answer" has to be
    window_length: int = 0  # tokens of the windows in which it has learnt long texts; 0: truncated

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
    content = read_json(path, "export the model again")
    if isinstance(content, dict) and content.pop("format", None) != FORMAT:
        raise UserError(f"{path}: of another version: export the model again")
    try:
        manifest: Manifest = _made(Manifest, content)
        if manifest.kind not in KINDS or not 0 < manifest.max_length <= LONGEST:
            raise ValueError(f"kind {manifest.kind!r}, max_length {manifest.max_length}")
        if not 0 <= manifest.window_length <= manifest.max_length:
            raise ValueError(f"window_length {manifest.window_length}")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}): export the model again") from error
    for variant in manifest.variants:
        inside(folder, variant.file)
    return manifest


def _made(kind: type[Any], content: Any) -> Any:
    """A dataclass of this kind of a JSON object; ValueError for a field of another type."""
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.40} where fields are expected")
    fields = {}
    for name, value in content.items():
        wanted = get_type_hints(kind).get(name)
        if not _fits(value, wanted):
            raise ValueError(f"{name} is {value!r:.40}")
        if wanted == tuple[Variant, ...]:
            value = [_made(Variant, each) for each in value]
        fields[name] = tuple(value) if isinstance(value, list) else value
    if missing := sorted(set(_required(kind)) - set(fields)):
        raise ValueError(f"no {missing[0]!r} in it")
    return kind(**fields)


def _required(kind: type[Any]) -> list[str]:
    return [f.name for f in dataclass_fields(kind) if f.default is f.default_factory is MISSING]


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a JSON value has the type of a field: a scalar, a list or an object of scalars."""
    inner = get_args(wanted)
    if get_origin(wanted) is tuple:
        return isinstance(value, list) and (
            inner[0] is Variant or all(_fits(each, inner[0]) for each in value)
        )
    if get_origin(wanted) is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    if wanted is float:
        return type(value) in (int, float) and math.isfinite(value)
    if wanted is int:
        return type(value) is int and 0 <= value < 2**63
    return wanted is str and isinstance(value, str)
