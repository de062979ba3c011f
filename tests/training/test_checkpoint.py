"""A damaged checkpoint, a full disk and a clock that jumps change no weight that a run ends in."""

import errno
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.models import tiny
from support.stages import rows, stage, trained
from torch import Tensor

from alembert.io import tensors
from alembert.io.errors import UserError
from alembert.training import checkpoint, loop
from alembert.training.monitor import Validation, Validator, validation_steps

STOP = 6  # the run is stopped after as many steps and checkpoints


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
        (cut, ("state",), 5, ["the run resumes from the one before"]),
        (flip, ("state",), 5, ["the run resumes from the one before"]),
        (Path.unlink, ("state",), 5, []),  # killed between two renames
        (flip, ("state.before",), 6, []),  # it is not needed, and not looked at
        (flip, ("state", "state.before"), 0, ["the stage starts again"] * 2),
        (flip, ("best",), 0, ["the stage starts again"]),
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
