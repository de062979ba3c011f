"""Callbacks are told how a stage goes, and their state goes on where a killed stage stopped."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import tiny
from support.stages import rows, stage, trained
from torch import Tensor

from alembert.io.errors import UserError
from alembert.io.tensors import facts_of
from alembert.training.callbacks import Callback, Callbacks, Progress, callback_of, names_of
from alembert.training.monitor import Validation, Validator

TEXT = """
from alembert.training.callbacks import Callback
class Quiet(Callback):
    pass
class Demanding(Callback):
    def __init__(self, path):
        pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "told.py").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("told", None)


class Diary(Callback):
    """Writes down all that it is told, and draws random numbers meanwhile."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Progress]] = []
        self.seen: list[int] = []

    def start(self, progress: Progress) -> None:
        self.lines.append(("start", progress))

    def step(self, progress: Progress) -> None:
        torch.rand(7)
        random.random()
        self.lines.append(("step", progress))
        self.seen.append(progress.step)

    def validation(self, progress: Progress) -> None:
        self.lines.append(("validation", progress))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def test_each_hook_is_called_at_its_time_with_the_facts(tmp_path: Path) -> None:
    diary, student = Diary(), tiny("bert", "classification")
    validator = Validator(lambda: Validation(0.75, 1.5), "accuracy", {2, 4})
    trained(student, stage(steps=4), tmp_path, validator=validator, callbacks=Callbacks([diary]))
    assert [hook for hook, _ in diary.lines] == [
        "start", "step", "step", "validation", "step", "step", "validation",
    ]  # fmt: skip
    start, first, *_, last = (progress for _, progress in diary.lines)
    assert (start.step, start.steps, start.stage, start.best) == (0, 4, "s", None)
    assert first.model is student
    assert first.losses.keys() == {"loss", "HardLabels", "gradient_norm"}
    assert first.losses["loss"] == first.losses["HardLabels"] > 0
    assert (first.validation, first.learning_rate) == ({}, 1e-3)
    assert (last.validation, last.best) == ({"accuracy": 0.75, "loss": 1.5}, 0.75)


def test_training_does_not_depend_on_a_callback(tmp_path: Path) -> None:
    ends = []
    for name, callbacks in (("with", Callbacks([Diary()])), ("without", None)):
        student = tiny("bert", "classification")
        trained(student, stage(steps=6), tmp_path / name, callbacks=callbacks)
        ends.append(torch.cat([p.detach().flatten() for p in student.parameters()]))
    assert torch.equal(*ends)
    assert "callbacks" not in facts_of(tmp_path / "without/checkpoint/state.safetensors")


def test_a_killed_stage_tells_no_step_twice(tmp_path: Path) -> None:
    validator = Validator(lambda: Validation(0.5, 1.0), "accuracy", {5, 10})

    def dies(step: int) -> dict[str, Tensor]:
        if step == 8:
            raise KeyboardInterrupt
        return rows(step)

    first, second = Diary(), Diary()
    with pytest.raises(KeyboardInterrupt):
        trained(tiny("bert", "classification"), stage(steps=10), tmp_path, None, dies, validator,
                Callbacks([first]))  # fmt: skip
    trained(tiny("bert", "classification"), stage(steps=10), tmp_path, validator=validator,
            callbacks=Callbacks([second]))  # fmt: skip
    assert first.seen[-1] > 5
    assert second.lines[0][1].step == 5
    assert second.seen == list(range(1, 11))


def test_a_state_that_is_not_json_is_refused(tmp_path: Path) -> None:
    class Holding(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"weights": torch.ones(2)}

    with pytest.raises(UserError, match=r"callback Holding: its state_dict is not JSON .*Tensor"):
        trained(tiny("bert", "classification"), stage(), tmp_path, callbacks=Callbacks([Holding()]))


def test_another_process_than_the_main_one_calls_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    diary = Diary()
    callbacks = Callbacks([diary])
    callbacks.tell("start", Progress(stage="s", step=0, steps=1, earlier=0, model=None))
    callbacks.restore({"callbacks": [{"seen": [3]}]})
    assert (diary.lines, diary.seen, callbacks.state()) == ([], [], {})


@pytest.mark.usefixtures("module")
def test_a_callback_is_given_by_name_or_as_the_object() -> None:
    made = callback_of("told:Quiet")
    assert names_of([made, Diary()]) == ["told:Quiet", f"{Diary.__module__}:Diary"]
    assert callback_of(made) is made


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("told:Loud", "told has no Loud: fix the name"),
        ("pathlib:Path", "is no class derived from alembert.Callback"),
        ("told:Demanding", r"cannot be made without arguments .*'path'.*: give it defaults, or"),
        ("told", "write it as module:name"),
        (3, "callback 3: is no alembert.Callback"),
    ],
)
def test_what_is_no_callback_is_refused_in_a_line(given: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        callback_of(given)
