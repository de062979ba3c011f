"""A static student is its own export: deploy.json says so, once numpy's answers equal torch's."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from alembert.export import fidelity
from alembert.export.torch_session import TorchEngine, described
from alembert.inference.manifest import FILE, Manifest, Variant, write_manifest
from alembert.inference.static import WEIGHTS, StaticEngine
from alembert.io.environment import versions
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep, write_json
from alembert.models.architectures import layerless
from alembert.models.loading import load_config, model_path

BACKEND = "static"
MODULES = "sentence_transformers.models"
INPUTS = StaticEngine.takes
MAX_ERROR = 1e-4  # as a share of torch's largest number


def is_static(path: str) -> bool:
    """Return whether a model that is saved on this machine is a static student."""
    return (Path(model_path(path)) / "config.json").is_file() and layerless(load_config(path))


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


def save_vectors(path: str, to: Path) -> None:
    """Save a static student's vectors as a folder that Model2Vec and sentence-transformers open.

    Both average them over a text's tokens and give the mean the length 1. Raises UserError for a
    model that is not of that form: one with vectors of pairs of tokens.
    """
    config = load_config(path)
    if not layerless(config) or config.bigrams:
        what = "vectors of pairs of tokens" if layerless(config) else "layers"
        raise UserError(
            f"{path}: has {what}, which Model2Vec has no place for: distil one with the recipe "
            "static and --set student.bigrams=0"
        )
    folder = Path(model_path(path))
    tensors = load_file(folder / WEIGHTS)
    part = "static.embeddings" if "static.embeddings.log_weights" in tensors else "embeddings"
    weights = np.exp(tensors[f"{part}.log_weights"].astype(np.float32))
    weights[config.special_token_ids] = 0
    rows, scales = (tensors[f"{part}.word_embeddings.{name}"] for name in ("rows", "scales"))
    modules = [
        {"idx": 0, "name": "0", "path": ".", "type": f"{MODULES}.StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": f"{MODULES}.Normalize"},
    ]
    settings = {
        "model_type": "model2vec", "architectures": ["StaticModel"], "normalize": True,
        "hidden_dim": config.hidden_size, "embedding_dtype": "int8", "seq_length": 1_000_000,
    }  # fmt: skip
    with atomic(to) as partial:
        (partial / "1_Normalize").mkdir(parents=True)
        save_file({"embeddings": rows, "weights": weights * scales}, partial / WEIGHTS)
        shutil.copyfile(folder / "tokenizer.json", partial / "tokenizer.json")
        write_json(partial / "modules.json", modules)
        write_json(partial / "config.json", settings)
