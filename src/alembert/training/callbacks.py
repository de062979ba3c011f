"""Callbacks: a person's own code that is told how a stage goes, and the state that it keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from alembert.io.errors import UserError, leads
from alembert.io.named import name_of, named

Hook = Literal["start", "step", "validation", "end"]
State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Facts on a stage at one moment, to be read and not to be changed.

    steps is the last step as far as it is known: validation may end a stage earlier. earlier is
    the number of steps of the stages before. validation has the metric and the loss of the newest
    validation of this process, and best the metric of the student that is kept. model is the
    student; at the end of a stage it is the best one. While a task stage is trained, its word
    embeddings may hold the tokens of the task's texts alone, and of a student in shards (FSDP) it
    has the weights of the last validation.
    """

    stage: str
    step: int
    steps: int
    earlier: int
    model: PreTrainedModel
    learning_rate: float = 0.0
    validation: Mapping[str, float] = field(default_factory=dict)
    best: float | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def losses(self) -> dict[str, float]:
        """The step's "loss", each term's value by its kind, and "gradient_norm".

        They are copied from the GPU when they are asked for.
        """
        return {name: float(value) for name, value in self.tensors.items()}


class Callback:
    """Is told how a run goes: derive from it, and override what you need.

    Every stage of a run calls `start` (again when it is resumed), `step` after each step,
    `validation` after each validation and `end`. Of several processes only the main one calls
    them. Training does not depend on what they do: the random numbers of a step come from its
    number, and a callback must leave the model as it is.

    A callback that counts or collects offers it as `state_dict`, of plain JSON values. It lies in
    each checkpoint, and comes back by `load_state_dict` when the run is resumed: steps that are
    made again are then not counted twice.
    """

    def start(self, progress: Progress) -> None:
        """Is called before the first step of a stage, and where a resumed one goes on."""

    def step(self, progress: Progress) -> None:
        """Is called after each step, with its losses."""

    def validation(self, progress: Progress) -> None:
        """Is called after each validation on held-out texts, with its values."""

    def end(self, progress: Progress) -> None:
        """Is called when a stage has ended, with its best student."""

    def state_dict(self) -> State:
        """Return what the callback needs to go on, as plain JSON values."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take over what `state_dict` returned."""


class Callbacks:
    """The callbacks of a run, called in their order by the main process alone.

    trackers are called too, and have no state here.
    """

    def __init__(
        self, callbacks: Sequence[Callback] = (), trackers: Sequence[Callback] = ()
    ) -> None:
        self.own = tuple(callbacks)
        self._called = (*callbacks, *trackers) if leads() else ()
        self.earlier = 0  # steps of the stages before the one that is trained

    def tell(self, hook: Hook, progress: Progress) -> None:
        """Call this hook of each callback."""
        for callback in self._called:
            getattr(callback, hook)(progress)

    def state(self) -> dict[str, list[State]]:
        """Return each callback's state as a fact of a checkpoint; none without callbacks.

        Raises UserError for a state that JSON cannot hold.
        """
        states = []
        for callback in self.own if leads() else ():
            try:
                states.append(json.loads(json.dumps(callback.state_dict())))
            except TypeError as error:
                raise UserError(
                    f"callback {type(callback).__name__}: its state_dict is not JSON ({error}): "
                    "let it return numbers, strings, lists and dicts"
                ) from error
        return {"callbacks": states} if states else {}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Give each callback the state that is among the facts of a checkpoint or a stage."""
        if leads() and "callbacks" in facts:
            for callback, state in zip(self.own, facts["callbacks"], strict=True):
                callback.load_state_dict(state)

    def pass_by(self, facts: Mapping[str, Any]) -> None:
        """Take over the facts of a stage that an earlier process finished."""
        self.restore(facts)
        self.earlier += int(facts["step"])


def callback_of(given: str | Callback) -> Callback:
    """Return a callback given as the object, or as module:Class, which is called without arguments.

    Raises UserError for a class that is no Callback.
    """
    if isinstance(given, str):
        kind = named(given, "--callback")
        if not isinstance(kind, type) or not issubclass(kind, Callback):
            raise UserError(
                f"--callback {given}: is no class derived from alembert.Callback: derive it"
            )
        try:
            given = kind()
        except TypeError as error:
            raise UserError(
                f"--callback {given}: cannot be made without arguments ({error}): give it "
                "defaults, or hand over the object in Python"
            ) from error
    if not isinstance(given, Callback):
        raise UserError(f"callback {given!r}: is no alembert.Callback: derive its class from it")
    return given


def names_of(callbacks: Sequence[Callback]) -> list[str]:
    """Return module:Class of each callback, as a run's folder and its report name it."""
    return [name_of(type(callback), "callback") for callback in callbacks]
