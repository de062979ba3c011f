"""A static student is its own export: deploy.json says so, once numpy's answers equal torch's."""

from dataclasses import replace
from pathlib import Path

from alembert.export import fidelity
from alembert.export.torch_session import TorchEngine, described
from alembert.inference.manifest import FILE, Manifest, Variant, write_manifest
from alembert.inference.static import WEIGHTS, StaticEngine
from alembert.io.environment import versions
from alembert.io.errors import UserError
from alembert.io.files import keep
from alembert.models.architectures import layerless
from alembert.models.loading import load_config

BACKEND = "static"
INPUTS = StaticEngine.takes
MAX_ERROR = 1e-4  # as a share of torch's largest number


def is_static(path: str) -> bool:
    """Return whether a saved model is a static student."""
    return layerless(load_config(path))


def describe(folder: Path) -> Manifest:
    """Write deploy.json into the folder of a static student, and return its content.

    Raises UserError where numpy and torch do not agree on random texts.
    """
    model, _tokenizer, facts = described(str(folder))
    engine = StaticEngine(folder, facts.kind)
    pad = int(model.config.pad_token_id or 0)
    batches = fidelity.random_batches(INPUTS, model.config.vocab_size, pad, facts.max_length)
    outputs, reference = (
        fidelity.engine_outputs(each, facts.kind, batches)
        for each in (engine, TorchEngine(model, facts.kind, facts.pooling))
    )
    measured = fidelity.fidelity(facts.kind, outputs, reference)
    if not measured["max_error"] <= MAX_ERROR:
        raise UserError(
            f"{folder}: numpy's answers differ from torch's (largest difference "
            f"{measured['max_error']:.2g} of the largest number): this model cannot be exported"
        )
    variant = Variant(
        backend=BACKEND,
        file=WEIGHTS,
        runtime="numpy",
        precision="int8",
        size_mb=(folder / WEIGHTS).stat().st_size / 1e6,
        fidelity=measured,
    )
    manifest = replace(
        facts, inputs=INPUTS, chosen=BACKEND, variants=(variant,),
        versions=versions(["alembert", "numpy", "tokenizers"]),
        vocabulary=model.config.vocab_size,
    )  # fmt: skip
    write_manifest(folder, manifest)
    keep(folder, [FILE])
    return manifest
