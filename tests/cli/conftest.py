"""What tests of the command line share: a folder with models and files to give to a verb."""

import re
from pathlib import Path

import pytest
from support.runs import corpus_file, saved, task_file
from transformers import BertTokenizerFast


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """Models and files that are right; every test has them in its folder."""
    home = tmp_path_factory.mktemp("house")
    saved(home / "teacher", tokenizer, "classification")
    saved(home / "words", tokenizer)
    names = {
        "id2label": dict(enumerate("abcde")),
        "label2id": {c: i for i, c in enumerate("abcde")},
    }
    saved(home / "five", tokenizer, "classification", **names)
    numbers = tokenizer.get_vocab()
    swapped = {word: numbers[{"good": "bad", "bad": "good"}.get(word, word)] for word in numbers}
    saved(home / "other", BertTokenizerFast(vocab=swapped))
    for name in ("mute", "broken", "wordy", "pickled", "odd", "stale"):
        saved(home / name, tokenizer, "classification")
    for path in (home / "mute").glob("*token*"):
        path.unlink()
    BertTokenizerFast(vocab=numbers | {"more": 99}).save_pretrained(home / "wordy")
    weights = home / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (home / "pickled" / "model.safetensors").rename(home / "pickled" / "pytorch_model.bin")
    for name, field, value in (
        ("odd", "num_hidden_layers", '"two"'),
        ("stale", "intermediate_size", 48),
    ):
        config = home / name / "config.json"
        config.write_text(re.sub(rf'"{field}": \d+', f'"{field}": {value}', config.read_text()))
    task_file(home / "train.csv")
    corpus_file(home / "corpus.txt")
    return home


@pytest.fixture
def here(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of one test, out of the hub's reach."""
    monkeypatch.setattr("alembert.io.hub.reachable", lambda: False)
    for item in house.iterdir():
        (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    return tmp_path
