"""What breaks is noticed and said, and nothing finished is lost; benchmarks/faults.py does more."""

import ast
import errno
import logging
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.command_line import command
from support.models import tiny
from support.runs import corpus_file, saved, task_file
from support.stages import rows, stage, trained
from torch import Tensor
from transformers import BertTokenizerFast

from alembert.data.corpus.corpus import read_corpus
from alembert.io import hub, tensors
from alembert.io.errors import UserError
from alembert.models import checks
from alembert.models.loading import load_config, load_model, load_tokenizer
from alembert.training import checkpoint, loop
from alembert.training.monitor import Validation, Validator, validation_steps

STOP = 6  # the run is stopped after as many steps and checkpoints
SRC = Path(__file__).parents[2] / "src"


def weights(folder: Path, stopped: bool = False, steps: list[int] | None = None) -> list[Tensor]:
    """The student's weights after ten steps, a checkpoint after each. steps: those done."""
    model = tiny("bert", "classification")

    def batches(step: int) -> dict[str, Tensor]:
        if stopped and step == STOP:
            raise KeyboardInterrupt
        if steps is not None:
            steps.append(step)
        return rows(step)

    def measure() -> Validation:
        found = float(model.classifier.weight.detach().sum())  # of the weights alone
        return Validation(found, 1.0)

    trained(
        model,
        stage(steps=10),
        folder,
        None,
        batches,
        Validator(measure, "v", validation_steps(10, 5)),
    )
    return [parameter.detach() for parameter in model.parameters()]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-500] ^= 4  # a bit in the middle of a number
    path.write_bytes(content)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize(
    ("break_it", "broken", "first", "says"),
    [
        (None, (), 6, []),
        (cut, ("state",), 5, ["the run goes on from the one before"]),
        (flip, ("state",), 5, ["the run goes on from the one before"]),
        (Path.unlink, ("state",), 5, []),  # killed between two renames
        (flip, ("state.before",), 6, []),  # it is not needed, and not looked at
        (flip, ("state", "state.before"), 0, ["the stage begins anew"] * 2),
        (flip, ("best",), 0, ["the stage begins anew"]),
    ],
)
def test_a_damaged_checkpoint_is_said_and_the_one_before_ends_in_the_same_weights(
    break_it: Any,
    broken: tuple[str, ...],
    first: int,
    says: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = weights(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        weights(tmp_path / "cut", stopped=True)
    for name in broken:
        break_it(tmp_path / "cut" / "checkpoint" / f"{name}.safetensors")
    steps: list[int] = []
    with caplog.at_level(logging.WARNING):
        again = weights(tmp_path / "cut", steps=steps)
    assert steps[0] == first
    lines = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert [line.rpartition(": ")[2] for line in lines] == says
    assert all(str(tmp_path) in line for line in lines)
    assert all(torch.equal(mine, other) for mine, other in zip(again, whole, strict=True))


def test_a_checkpoint_of_a_version_without_checksums_is_taken(tmp_path: Path) -> None:
    at = tmp_path / "state.safetensors"
    save_file({"a": torch.ones(3)}, at, metadata={"facts": '{"step": 3, "best": null}'})
    assert checkpoint.newest(at) == (at, [])


@pytest.mark.usefixtures("every_step")
def test_a_disk_full_in_the_middle_of_a_checkpoint_leaves_both_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(tmp_path / "whole")
    calls = iter(range(100))

    def full(content: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(content, path, metadata=metadata)
        if next(calls) == 5:
            cut(path)
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tensors, "save_file", full)
        with pytest.raises(UserError, match=r"cannot be written \(No space left on device\): free"):
            weights(tmp_path / "full")
    state = tmp_path / "full" / "checkpoint" / checkpoint.STATE
    for path in (state, checkpoint.before(state)):
        assert checkpoint._damage(path) == ""
    assert not list(tmp_path.rglob("*.partial"))
    again = weights(tmp_path / "full")
    assert all(torch.equal(mine, other) for mine, other in zip(again, whole, strict=True))


@pytest.mark.usefixtures("every_step")
def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(tmp_path / "whole")
    jumps = iter([1e9, -1e9] * 10_000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    with pytest.raises(KeyboardInterrupt):
        weights(tmp_path / "cut", stopped=True)
    again = weights(tmp_path / "cut")
    assert all(torch.equal(mine, other) for mine, other in zip(again, whole, strict=True))
    assert '"tokens_per_second": -' not in (tmp_path / "cut/log.jsonl").read_text()


@pytest.fixture
def here(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A working folder with a teacher and texts."""
    saved(tmp_path / "teacher", tokenizer, "classification")
    task_file(tmp_path / "train.csv")
    monkeypatch.chdir(tmp_path)
    hub.reachable.cache_clear()
    yield tmp_path
    hub.reachable.cache_clear()


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
    assert said.startswith("alembert: teacher: this teacher answers with NaN or infinity, though")
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
    hub.reachable.cache_clear()
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


def test_a_thread_that_cannot_make_a_batch_ends_the_run_in_a_line(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    corpus = read_corpus(corpus_file(tmp_path / "c.txt"), tokenizer, 32, tmp_path)
    (ids,) = tmp_path.glob("*/ids.bin")

    def batches(step: int) -> dict[str, Tensor]:
        if step == 3:
            ids.write_bytes(ids.read_bytes()[:100])
        corpus[len(corpus) - 1]
        return rows(step)

    with pytest.raises(UserError, match="is damaged: delete it and prepare it again"):
        trained(tiny("bert", "classification"), stage(steps=9), tmp_path / "s", None, batches)
    assert threading.active_count() < 20


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
    assert command(DISTIL, monkeypatch) == 0
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


def test_nothing_in_the_package_can_open_a_pickle_or_tell_the_time_of_day() -> None:
    """Durations are monotonic; the one time of day is that of the server's access log."""
    found = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if name in ("torch.load", "pickle.load", "pickle.loads", "time.time"):
                    found.add((path.name, name))
            if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
                name = str(node.arg)
                if name in ("trust_remote_code", "allow_pickle") and node.value.value:
                    found.add((path.name, name))
    assert found == {("middleware.py", "time.time")}
