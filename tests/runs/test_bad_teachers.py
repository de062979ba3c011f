"""A teacher that is broken, out of reach or hostile is named, and nothing of it is run."""

import pickle
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from support.command_line import command
from support.models import tiny
from support.runs import saved, task_file
from transformers import BertTokenizerFast

from alembert.io import hub
from alembert.io.errors import UserError
from alembert.models import checks
from alembert.models.loading import load_config, load_model, load_tokenizer


@pytest.fixture
def here(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A working folder with a teacher and texts."""
    saved(tmp_path / "teacher", tokenizer, "classification")
    task_file(tmp_path / "train.csv")
    monkeypatch.chdir(tmp_path)
    hub._seen.clear()
    yield tmp_path
    hub._seen.clear()


DISTIL = "distill distilbert --teacher teacher --train train.csv --max-length 32 --out run"
DISTIL += " --set stages.task.steps=2"


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_teacher_of_broken_weights_is_named_before_anything_is_trained(
    value: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = here / "teacher/model.safetensors"
    found = load_file(file)
    found["bert.encoder.layer.1.output.dense.weight"][3, 5] = float(value)
    save_file(found, file, metadata={"format": "pt"})
    capsys.readouterr()
    assert command(DISTIL, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("alembert: teacher: its weights are broken: bert.encoder.layer.1.output")
    assert "train it again" in said
    assert not Path("run").exists()


def test_a_teacher_that_overflows_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / "teacher/model.safetensors"
    found = load_file(file)
    found["bert.embeddings.LayerNorm.weight"].fill_(3e38)
    save_file(found, file, metadata={"format": "pt"})
    capsys.readouterr()
    assert command(DISTIL, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("alembert: teacher: this teacher's outputs are NaN or infinite, though")
    assert not Path("run").exists()


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "mobilebert", "modernbert"])
def test_a_teacher_of_numbers_is_taken(kind: str) -> None:
    checks.check_finite(tiny(kind, "classification"), kind)


@pytest.mark.clock
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("takes_calls", [True, False])
def test_a_hub_that_does_not_answer_is_one_line_in_bounded_time(
    takes_calls: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub._seen.clear()
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if takes_calls:
            listening.listen(16)
        port = listening.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        began = time.monotonic()
        capsys.readouterr()
        assert command(DISTIL.replace("teacher teacher", "teacher no/one"), monkeypatch) == 2
        said = capsys.readouterr().err
        assert said.startswith("alembert: no/one: no such folder, and the hub cannot be reached;")
        assert said.endswith("or name a folder that save_pretrained made\n")
        assert said.count("\n") == 1
        assert time.monotonic() - began < 10


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_no_pickle_and_no_code_of_a_model_or_a_run_is_ever_opened(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = here / "opened"
    teacher = here / "teacher"
    (here / "run").mkdir()
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin", "tokenizer.pkl"):
        (teacher / name).write_bytes(pickle.dumps(Bomb(opened)))
    code = f"from pathlib import Path\nPath({str(opened)!r}).touch()\n"
    (teacher / "modeling_bert.py").write_text(code)
    for name, classes in (
        ("config.json", {"AutoConfig": "modeling_bert.C", "AutoModel": "modeling_bert.M"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["modeling_bert.T", "modeling_bert.T"]}),
    ):
        text = (teacher / name).read_text().rstrip().removesuffix("}")
        mapped = str(classes).replace("'", '"')
        (teacher / name).write_text(f'{text.rstrip()}, "auto_map": {mapped}}}')
    assert load_config("teacher").auto_map
    assert command(f"{DISTIL} --no-export", monkeypatch) == 0
    load_model("teacher", "classification")
    load_tokenizer("teacher")
    assert not opened.exists()


def test_a_model_that_is_code_alone_is_refused(here: Path) -> None:
    config = here / "teacher/config.json"
    text = config.read_text().replace('"model_type": "bert"', '"model_type": "mine"')
    text = text.rstrip().removesuffix("}").rstrip()
    config.write_text(f'{text}, "auto_map": {{"AutoConfig": "code.C"}}}}')
    (here / "teacher/code.py").write_text("open('opened', 'w')")
    with pytest.raises(UserError, match="teacher: cannot be read as a saved model"):
        load_config("teacher")
    assert not Path("opened").exists()
