"""Hostile models: JSON beside the weights of a saved or exported model, changed at any depth."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from support.hostile import JSON, SCALARS, Attack, changed, tried
from support.runs import saved
from transformers import BertTokenizerFast

from alembert.inference.session import Session
from alembert.models.heads import kind_of, pooling_of
from alembert.models.loading import label_names_of, load_config, load_model, load_tokenizer
from alembert.runs.record import size_of

ABSURD = st.sampled_from(
    [0, -1, 1, 2, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), True, None, [], {},
     "two", "../x", "/etc/passwd", [1], {"0": 5}, "\ud83d"]
)  # fmt: skip
VALUES = st.one_of(ABSURD, ABSURD, SCALARS, JSON)


@st.composite
def bent(draw: st.DrawFn, plain: Any) -> bytes:
    """JSON with a few values at any depth given other values, or gone, or all its bytes changed."""
    plain = json.loads(json.dumps(plain))
    for _ in range(draw(st.integers(1, 3))):
        at = plain
        while isinstance(at, dict | list) and at:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 2)):
                at = at[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del at[key]
            else:
                at[key] = copy.deepcopy(draw(VALUES))
            break
    content = json.dumps(plain).encode()
    return draw(changed(content)) if draw(st.integers(0, 5)) == 0 else content


def config(drawn: bytes, tokenizer: BertTokenizerFast, home: Path) -> None:
    model_of(home / "m", tokenizer)
    (home / "m" / "config.json").write_bytes(drawn)
    path = str(home / "m")

    def use() -> None:
        found = load_config(path)
        label_names_of(found)
        load_model(path, kind_of(found, path))

    tried(use)
    tried(lambda: size_of(path))
    tried(lambda: load_model(path, "encoder"))


def tokenizing(drawn: tuple[str, bytes], tokenizer: BertTokenizerFast, home: Path) -> None:
    name, content = drawn
    model_of(home / "m", tokenizer)
    (home / "m" / name).write_bytes(content)
    tried(lambda: load_tokenizer(str(home / "m"))("good film"))


def pooled(drawn: tuple[str, bytes], tokenizer: BertTokenizerFast, home: Path) -> None:
    name, content = drawn
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_bytes(content)
    tried(lambda: pooling_of(home))


def deployed(drawn: bytes, tokenizer: BertTokenizerFast, home: Path) -> None:
    tokenizer.save_pretrained(home)
    (home / "deploy.json").write_bytes(drawn)
    tried(lambda: Session(home))


_made: dict[str, dict[str, bytes]] = {}


def model_of(path: Path, tokenizer: BertTokenizerFast) -> None:
    """A tiny saved model, made once and then written from memory."""
    if not _made:
        saved(path, tokenizer, "classification")
        _made["files"] = {file.name: file.read_bytes() for file in path.iterdir()}
        shutil.rmtree(path)
    path.mkdir()
    for name, content in _made["files"].items():
        (path / name).write_bytes(content)


CONFIG = {
    "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 16,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99,
    "max_position_embeddings": 64, "type_vocab_size": 2, "hidden_act": "gelu", "pad_token_id": 0,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
    "layer_norm_eps": 1e-12, "classifier_dropout": None, "problem_type": None, "dtype": "float32",
    "id2label": {"0": "down", "1": "flat", "2": "up"}, "transformers_version": "5.0.0",
    "label2id": {"down": 0, "flat": 1, "up": 2}, "tie_word_embeddings": True, "is_decoder": False,
    "add_cross_attention": False, "use_cache": True, "chunk_size_feed_forward": 0,
    "output_attentions": False, "return_dict": True, "torch_dtype": "float32",
    "attn_implementation": "eager", "quantization_config": None, "auto_map": {"AutoModel": "a.B"},
}  # fmt: skip
DEPLOYED = {
    "format": 1, "kind": "classification", "labels": ["a", "b"], "max_length": 64,
    "inputs": ["input_ids", "attention_mask", "token_type_ids"], "parameters": 12, "chosen": "onnx",
    "variants": [
        {"backend": "onnx", "file": "onnx/model.onnx", "runtime": "onnxruntime", "how": "",
         "precision": "fp32", "size_mb": 0.1, "fidelity": {"max_error": 0.1}, "measured": {},
         "kept_fp32": ["a"], "bits": 0}
    ],
    "versions": {"torch": "2"}, "opset": 17, "pooling": "", "vocabulary": 99, "width": 16,
}  # fmt: skip
TOKENIZING = {
    "tokenizer_config.json": {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512,
        "unk_token": "[UNK]", "pad_token": "[PAD]", "truncation_side": "right",
        "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}},
        "extra_special_tokens": ["[X]"], "backend": "tokenizers", "auto_map": None,
    },
    "special_tokens_map.json": {"unk_token": "[UNK]", "additional_special_tokens": ["[X]"]},
    "added_tokens.json": {"[Y]": 99},
}  # fmt: skip
POOLED = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
}


def of_files(contents: dict[str, Any]) -> st.SearchStrategy[tuple[str, bytes]]:
    """(name, content) of one of these files, bent."""
    return st.sampled_from(list(contents)).flatmap(
        lambda name: st.tuples(st.just(name), bent(contents[name]))
    )


ATTACKS: dict[str, Attack] = {
    "config": Attack(bent(CONFIG), config),
    "tokenizer": Attack(of_files(TOKENIZING), tokenizing),
    "pooling": Attack(of_files(POOLED), pooled),
    "deploy": Attack(bent(DEPLOYED), deployed),
}
