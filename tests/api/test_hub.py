"""A model is pushed to the hub with its card: to a local stand-in of the hub's HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub import TOKEN, Hub, stand_in
from support.runs import saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.io import hub as io_hub
from alembert.io.errors import UserError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, at the address where huggingface_hub looks for the hub."""
    with stand_in() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # LFS instead
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield hub


@pytest.mark.slow
def test_a_model_is_pushed_with_its_export_and_its_card(
    hub: Hub, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    body = saved(tmp_path / "body", tokenizer)
    train, test = task_file(tmp_path / "train.csv"), task_file(tmp_path / "test.csv", seed=9)
    model = alembert.finetune(
        body, tmp_path / "run", train=train, eval=test, max_length=32, epochs=1.0
    ).export()
    address = model.push_to_hub("me/tickets", private=True, token=TOKEN)
    assert address == f"{hub.address}/me/tickets"
    assert (hub.private, hub.commits) == ({"me/tickets": True}, 1)
    files = hub.files["me/tickets"]
    # the run's folder is the model's, and of the run nothing goes to the hub
    assert {*files} == {
        "README.md", "config.json", "deploy.json", "model.safetensors", "onnx/model.onnx",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for name, content in files.items():
        assert content == (tmp_path / "run" / name).read_bytes()
    assert files["README.md"].startswith(b"---\n")
    assert b"accuracy" in files["README.md"]
    assert len(hub.large) >= 2  # the weights and the graph went by LFS
    # again, after the card was edited: one more commit, with the card as it was edited
    card = tmp_path / "run" / "README.md"
    card.write_text("# Mine\n")
    model.push_to_hub("me/tickets", token=TOKEN)
    assert (files["README.md"], hub.commits, hub.private["me/tickets"]) == (b"# Mine\n", 2, True)


def test_a_saved_model_without_a_run_is_pushed_as_it_is(
    hub: Hub, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    saved(tmp_path / "m", tokenizer)
    (tmp_path / "m" / "notes.txt").write_text("mine")
    alembert.load(tmp_path / "m").push_to_hub("org/m", token=TOKEN)
    assert {*hub.files["org/m"]} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip


def test_what_cannot_be_pushed_is_refused_in_a_line(
    hub: Hub, tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = alembert.load(saved(tmp_path / "m", tokenizer))
    with pytest.raises(UserError, match=r"me/m: the hub refused it .*401.*: log in by `hf auth"):
        model.push_to_hub("me/m", token="hf_wrong")
    with pytest.raises(UserError, match=r"a b: is no name for the hub .*: write user/name"):
        model.push_to_hub("a b", token=TOKEN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no model to push"):
        alembert.load(tmp_path / "empty").push_to_hub("me/m", token=TOKEN)
    assert hub.files == {}
    monkeypatch.setattr(io_hub, "_seen", {})
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="me/m: the hub cannot be reached"):
        model.push_to_hub("me/m", token=TOKEN)
