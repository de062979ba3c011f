"""A static student is its own export, and its vectors open in other tools."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models import tiny
from transformers import BertTokenizerFast

from alembert.api.model import Model
from alembert.export import static
from alembert.export.export import export
from alembert.inference import Session
from alembert.inference.manifest import read_manifest
from alembert.io.errors import UserError
from alembert.models.building import checked_config, draw_model

TEXTS = ["the film was good", "bad", "very unusual music and 9 tables"]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, tokenizer: BertTokenizerFast) -> Make:
    """Saves a static sentence encoder with random numbers."""

    def saved(**more: object) -> Path:
        fields: dict[str, object] = {
            "model_type": "static", "vocab_size": 99, "hidden_size": 6, "sep_token_id": 3,
            "special_token_ids": [0, 2, 3],
        }  # fmt: skip
        model = draw_model(checked_config(fields | more), "encoder", seed=0)
        torch.nn.init.normal_(model.embeddings.log_weights, std=0.5)
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return saved


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_its_export_is_the_folder_itself(make: Make) -> None:
    folder = make()
    manifest = export(str(folder), ["onnx", "int8"], None, 128)
    assert manifest == read_manifest(folder)
    assert (manifest.chosen, [v.file for v in manifest.variants]) == (
        "static",
        ["model.safetensors"],
    )
    assert manifest.variants[0].fidelity["max_error"] < 1e-4
    assert not (folder / "onnx").exists()


def test_the_folder_of_vectors_averages_to_the_students(make: Make, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = make()
    static.describe(folder)
    Model(folder).save_vectors(tmp_path / "vectors")
    tensors, session = load_file(tmp_path / "vectors/model.safetensors"), Session(folder)
    table = tensors["embeddings"] * tensors["weights"][:, None]
    means = [table[[t.id for t in row.tokens if not t.special]].mean(0)
             for row in session.tokenize(TEXTS)]  # fmt: skip
    np.testing.assert_allclose(unit(np.stack(means)), unit(session.embed(TEXTS)), atol=1e-5)


@pytest.mark.skipif(find_spec("model2vec") is None, reason="model2vec is not installed")
def test_model2vec_gives_the_same_vectors(make: Make, tmp_path: Path) -> None:
    from model2vec import StaticModel

    folder = make()
    static.describe(folder)
    Model(folder).save_vectors(tmp_path / "vectors")
    theirs = StaticModel.from_pretrained(tmp_path / "vectors").encode(TEXTS)
    np.testing.assert_allclose(theirs, unit(Session(folder).embed(TEXTS)), atol=1e-5)


@pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)
def test_sentence_transformers_gives_the_same_vectors(make: Make, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = make()
    static.describe(folder)
    Model(folder).save_vectors(tmp_path / "vectors")
    theirs = SentenceTransformer(str(tmp_path / "vectors"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, unit(Session(folder).embed(TEXTS)), atol=1e-5)


def test_vectors_of_pairs_of_tokens_and_layers_have_no_place_there(
    make: Make, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    with pytest.raises(UserError, match=r"set student\.bigrams=0"):
        static.save_vectors(str(make(bigrams=5)), tmp_path / "vectors")
    tiny("bert", "encoder").save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="has layers, which Model2Vec has no place for"):
        static.save_vectors(str(tmp_path / "bert"), tmp_path / "vectors")
