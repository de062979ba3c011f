"""What lies beside weights is checked before anything is allocated or opened."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.runs import saved
from transformers import BertTokenizerFast

from alembert.io.errors import UserError
from alembert.models.building import checked_config
from alembert.models.checks import INDEX
from alembert.models.heads import pooling_of
from alembert.models.loading import has_head, load_config, load_model, load_tokenizer


@pytest.fixture
def model(tmp_path: Path, tokenizer: BertTokenizerFast) -> Path:
    saved(tmp_path / "model", tokenizer, "classification")
    return tmp_path / "model"


def with_fields(model: Path, **fields: Any) -> None:
    config = model / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("num_attention_heads", 0, "num_attention_heads is 0, not a whole number from 1 to 10,000"),
        ("num_attention_heads", -2, "is -2, not a whole number"),
        ("num_hidden_layers", 0, "num_hidden_layers is 0, not"),
        ("num_hidden_layers", 10**9, "is 1000000000, not a whole number from 1 to 256"),
        ("num_hidden_layers", 2.5, r"is 2\.5, not"),
        ("num_hidden_layers", "2", "is '2', not"),
        ("num_hidden_layers", None, "is None, not"),
        ("num_hidden_layers", True, "is True, not"),
        ("num_hidden_layers", [2], r"is \[2\], not"),
        ("hidden_size", 0, "hidden_size is 0"),
        ("hidden_size", 10**9, "hidden_size is 1000000000, not"),
        ("vocab_size", 10**12, "vocab_size is 1000000000000, not"),
        ("max_position_embeddings", -1, "max_position_embeddings is -1"),
        ("intermediate_size", float("nan"), "intermediate_size is nan"),
        (
            "id2label",
            {"0": 1, "1": 2, "2": 3},
            r"id2label is \{'0': 1, '1': 2, '2': 3\}, not names",
        ),
        ("id2label", {"0": "a", "1": None, "2": "c"}, "id2label is .* not names"),
        ("id2label", {"1": "a", "2": "b", "3": "c"}, "id2label is .* not names by number"),
        ("id2label", ["a", "b", "c"], r"id2label is \['a', 'b', 'c'\], not names by number"),
        ("id2label", {}, r"id2label is \{\}, not"),
        ("label2id", {"a": "0"}, "label2id is .* not numbers by name"),
        ("label2id", ["a"], "label2id is"),
        ("architectures", "BertModel", "architectures is 'BertModel', not a list of names"),
        ("architectures", [5], "architectures is"),
        ("problem_type", [None], "problem_type is .* not a name"),
        ("transformers_weights", "a.safetensors", "transformers_weights is 'a.safetensors', and"),
    ],
)
def test_a_config_that_no_model_has_is_named_with_its_field(
    field: str, value: Any, reason: str, model: Path
) -> None:
    with_fields(model, **{field: value})
    for use in (load_config, load_tokenizer, lambda path: load_model(path, "classification")):
        with pytest.raises(UserError, match=rf"model/config\.json: .*{reason}.*: fix the file"):
            use(str(model))


@pytest.mark.parametrize(
    "content", ["[" * 10_000, "[]", "5", "null", '{"id2label": {"0": "\\ud83d"}}']
)
def test_a_config_that_holds_no_fields_is_refused(content: str, model: Path) -> None:
    (model / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"model/config\.json: .*fix the file, or save the model"):
        load_config(str(model))


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": 100_000, "num_attention_heads": 100},
        {"intermediate_size": 1_000_000},
        {"vocab_size": 10_000_000},
        {"max_position_embeddings": 10_000_000},
        {"num_hidden_layers": 200, "intermediate_size": 100_000},
    ],
)
def test_a_config_larger_than_its_weights_is_refused_before_anything_is_allocated(
    fields: dict[str, int], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_fields(model, **fields)
    monkeypatch.setattr(
        "transformers.BertForSequenceClassification.from_pretrained",
        lambda *_, **__: pytest.fail("loaded"),
    )
    reason = r"config\.json: describes [\d,]+ parameters and the weights hold 7,[\d,]+: fix"
    with pytest.raises(UserError, match=reason):
        load_model(str(model), "classification")
    with pytest.raises(UserError, match=reason):
        has_head(str(model), "words")


def test_a_head_that_the_file_lacks_is_still_made(model: Path) -> None:
    labels = [str(number) for number in range(1000)]
    made = load_model(str(model), "classification", labels=labels, fresh_head=True)
    assert made.config.num_labels == 1000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hidden_size": 10**9, "num_attention_heads": 10}, r"student\.hidden_size is 1000000000"),
        ({"vocab_size": 10**30}, r"student\.vocab_size is 1000000"),
        (
            {"hidden_size": 10**6, "num_attention_heads": 10, "num_hidden_layers": 100},
            r"has [\d,]{15,} parameters, which are [\d,]+ GB in fp32, and this machine has \d+ GB",
        ),
    ],
)
def test_a_recipes_student_that_no_memory_holds_is_refused(
    fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        checked_config({"model_type": "bert"} | fields)


def split(model: Path, names: Callable[[str], str]) -> None:
    """The weights in one file beside an index that says where each lies."""
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    save_file(tensors, model / "a.safetensors", metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: names(name) for name in tensors}}
    (model / INDEX).write_text(json.dumps(index))


def test_weights_in_several_files_are_read(model: Path) -> None:
    before = load_model(str(model), "classification").state_dict()
    split(model, lambda _: "a.safetensors")
    after = load_model(str(model), "classification").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("pytorch_model.bin", r"names 'pytorch_model\.bin', which is no safetensors and is never"),
        ("../a.safetensors", r"names a file outside the folder, '\.\./a\.safetensors': fix"),
        ("/tmp/a.safetensors", "names a file outside the folder, '/tmp/a"),
        ("link.safetensors", "names a file outside the folder, 'link"),
        ("gone.safetensors", r"names 'gone\.safetensors', which is not there"),
        ("a\0.safetensors", "names a file outside the folder"),
        (5, "names '5', which is no safetensors"),
        (None, "names 'None', which is no"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(named: Any, reason: str, model: Path) -> None:
    opened = model.parent / "opened"

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (opened,)

    split(model, lambda name: named if "classifier" in name else "a.safetensors")
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (model.parent / "a.safetensors").write_bytes((model / "a.safetensors").read_bytes())
    (model / "link.safetensors").symlink_to(model.parent / "a.safetensors")
    with pytest.raises(UserError, match=reason):
        load_model(str(model), "classification")
    assert not opened.exists()


@pytest.mark.parametrize(
    "content", ["[]", '{"weight_map": []}', "{", '{"weight_map": {}}', "[" * 9999]
)
def test_an_index_that_is_none_is_refused(content: str, model: Path) -> None:
    split(model, lambda _: "a.safetensors")
    (model / INDEX).write_text(content)
    with pytest.raises(UserError, match=rf"{INDEX}: .*fix the file"):
        load_model(str(model), "classification")


def test_files_that_the_hubs_cache_links_are_inside(model: Path) -> None:
    repository = model.parent / "models--a--b"
    snapshot, blobs = repository / "snapshots" / "0f", repository / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    split(model, lambda _: "a.safetensors")
    for file in model.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    load_model(str(snapshot), "classification")


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        (2**40).to_bytes(8, "little") + b"{}",
        (10_000).to_bytes(8, "little") + b"[" * 10_000,
        (65).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}'[:65],
        (68).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}',
        b"",
    ],
)
def test_a_header_of_weights_that_lies_is_refused(header: bytes, model: Path) -> None:
    (model / "model.safetensors").write_bytes(header + b"\0\0\0\0")
    with pytest.raises(UserError, match="model"):
        load_model(str(model), "classification")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modules.json", "[5]"),
        ("modules.json", '{"a": 1}'),
        ("modules.json", "[" * 10_000),
        ("1_Pooling/config.json", "[5]"),
    ],
)
def test_a_pooling_of_other_types_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{Path(name).name}.*: fix it"):
        pooling_of(tmp_path)


def test_a_tokenizers_length_that_is_no_number_is_refused(model: Path) -> None:
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": ""}))
    with pytest.raises(UserError, match=r"tokenizer_config.json: model_max_length is '' and has t"):
        load_tokenizer(str(model))
