"""The loop of a stage: dropout, micro batches, and what a step that broke leaves behind."""

import math
import threading
from pathlib import Path

import pytest
import torch
from support.models import tiny, words
from support.runs import corpus_file
from support.stages import CALM, HARD, rows, stage, trained
from torch import Tensor
from transformers import BertTokenizerFast

from alembert.data.corpus.corpus import read_corpus
from alembert.io.errors import UserError
from alembert.io.tensors import facts_of
from alembert.models.precision import torch_threads
from alembert.objectives.label_terms import HardLabels, LogitsMSE, SoftLabels
from alembert.objectives.layer_terms import AttentionMSE, HiddenCosine, HiddenMSE
from alembert.objectives.objective import Objective
from alembert.training import checkpoint
from alembert.training.callbacks import Callbacks
from alembert.training.distillation import Distillation
from alembert.training.monitor import (
    Length,
    Schedule,
    Validation,
    Validator,
    length_of,
    validation_steps,
)


def test_a_loaded_student_is_trained_with_its_dropout_and_its_teacher_answers_without(
    tmp_path: Path,
) -> None:
    student, teacher = tiny("bert", "classification"), tiny("bert", "classification", seed=1)
    seen: dict[str, set[bool]] = {"student": set(), "teacher": set()}
    for name, model in (("student", student), ("teacher", teacher)):
        dropout = model.base_model.encoder.layer[0].output.dropout
        dropout.register_forward_hook(lambda m, _, __, name=name: seen[name].add(m.training))
    trained(student, stage((SoftLabels(),)), tmp_path, teacher)
    assert seen == {"student": {True}, "teacher": {False}}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    ("head", "objective"),
    [
        ("classification", (HardLabels(), SoftLabels(), LogitsMSE(), HiddenCosine())),
        ("tokens", (HardLabels(), SoftLabels(), LogitsMSE())),
        ("words", (HardLabels(), SoftLabels(), LogitsMSE(), HiddenMSE(), AttentionMSE())),
        ("words", (SoftLabels(rows="masked"),)),
    ],
)
def test_micro_batches_change_nothing_but_memory(
    head: str, objective: Objective, size: int, tmp_path: Path
) -> None:
    batch = rows(0) if head == "classification" else words(4)
    if head == "tokens":
        batch["labels"] = torch.where(batch["labels"] > 0, batch["labels"] % 2, -100)
    more = {"data": "corpus", "masking": {}} if head == "words" else {}
    ends = []
    for micro in (None, size):
        student, teacher = tiny("bert", head, **CALM), tiny("bert", head, seed=1, **CALM)
        at = stage(objective, micro_batch_size=micro, epsilon=1.0, **more)
        trained(student, at, tmp_path / f"{micro}", teacher, lambda _: batch)
        ends.append(torch.cat([p.detach().flatten() for p in student.parameters()]))
    before = torch.cat([p.flatten() for p in tiny("bert", head).parameters()])
    step = (ends[0] - before).abs().max()
    assert (ends[0] - ends[1]).abs().max() < 1e-3 * step


@pytest.mark.parametrize("broken", ["weights", "gradient"])
def test_a_step_that_broke_reaches_no_file(broken: str, tmp_path: Path) -> None:
    model = tiny("bert", "classification")

    def batches(step: int) -> dict[str, Tensor]:
        if step == 5 and broken == "weights":
            torch.nn.init.constant_(model.classifier.weight, float("nan"))
        if step == 5:
            model.classifier.weight.register_hook(lambda g: g * float("inf"))
        return rows(step)

    with pytest.raises(
        UserError, match=r"step [67]: the (loss|gradient)( \(that of .*\))? is (nan|inf)"
    ):
        trained(
            model,
            stage(steps=12),
            tmp_path,
            None,
            batches,
            Validator(lambda: Validation(0.5, 1.0), "accuracy", validation_steps(12, 4)),
        )
    for name in ("state", "best"):
        checkpoint.load(
            tmp_path / "checkpoint" / f"{name}.safetensors",
            kept := Distillation(tiny("bert", "classification"), None, HARD, words=False),
            None,
        )
        assert all(p.isfinite().all() for p in kept.parameters())


VALUES = [0.5, 0.6, 0.6, 0.1, 0.9]  # what is seen on the held-out slice, look by look


def test_a_stage_ends_when_its_patience_does_and_keeps_its_best(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    student = tiny("bert", "classification")

    def measure() -> Validation:
        seen.append(student.classifier.bias.detach().clone())
        return Validation(VALUES[len(seen) - 1], 1.0)

    at = stage(steps=50, patience=2)
    trained(
        student, at, tmp_path, validator=Validator(measure, "accuracy", validation_steps(50, 10), 2)
    )
    assert len(seen) == 4  # equal is not better
    torch.testing.assert_close(student.classifier.bias, seen[2], rtol=0, atol=0)  # the later one
    facts = facts_of(tmp_path / "checkpoint/state.safetensors")
    assert facts.items() >= {"step": 20, "best": 0.6, "best_step": 15, "since": 2}.items()
    again = tiny("bert", "classification")  # killed before its model was saved
    trained(
        again, at, tmp_path, validator=Validator(measure, "accuracy", validation_steps(50, 10), 2)
    )
    assert len(seen) == 4
    torch.testing.assert_close(again.classifier.bias, seen[2], rtol=0, atol=0)


def test_patience_goes_on_counting_where_a_killed_stage_stopped(tmp_path: Path) -> None:
    looked: list[int] = []

    def measure() -> Validation:
        looked.append(len(looked))
        return Validation(0.5, 1.0)

    def dies(step: int) -> dict[str, Tensor]:
        if step == 12:
            raise KeyboardInterrupt
        return rows(step)

    at, validator = (
        stage(steps=50, patience=3),
        Validator(measure, "accuracy", validation_steps(50, 10), 3),
    )
    with pytest.raises(KeyboardInterrupt):
        trained(tiny("bert", "classification"), at, tmp_path, None, dies, validator)
    trained(tiny("bert", "classification"), at, tmp_path, validator=validator)
    facts = facts_of(tmp_path / "checkpoint/state.safetensors")
    assert (facts["step"], facts["since"], len(looked)) == (20, 3, 4)


def test_patience_without_looks_is_refused() -> None:
    with pytest.raises(ValueError, match="stage 's' has no validation"):
        stage((HiddenCosine(),), data="corpus", patience=1)


def test_a_lower_loss_is_better_too_and_noise_is_not_a_lower_loss(tmp_path: Path) -> None:
    losses = [1.0, 0.9, 0.89, 0.885, 0.8]  # the third and fourth are within 0.02
    seen: list[int] = []

    def measure() -> Validation:
        seen.append(len(seen))
        return Validation(0.5, losses[len(seen) - 1])

    validator = Validator(measure, "accuracy", validation_steps(50, 10), 2)
    trained(
        tiny("bert", "classification"), stage(steps=50, patience=2), tmp_path, validator=validator
    )
    assert len(seen) == 4


@pytest.mark.parametrize(("error", "kept"), [(0.0, 10), (0.05, 20), (0.2, 25)])
def test_of_looks_within_a_standard_error_of_the_highest_the_latest_is_kept(
    error: float, kept: int, tmp_path: Path
) -> None:
    values = iter([0.5, 0.8, 0.6, 0.76, 0.7])
    validator = Validator(
        lambda: Validation(next(values), 1.0, error), "accuracy", validation_steps(25, 5)
    )
    trained(tiny("bert", "classification"), stage(steps=25), tmp_path, validator=validator)
    facts = facts_of(tmp_path / "checkpoint/best.safetensors")
    assert facts["best_step"] == kept


OPEN = {"steps": None, "warmup": 1 / 6, "until": {
    "floor": {"steps": 12}, "cap": {"steps": 60}, "patience": 2, "cooldown": 0.5,
}}  # fmt: skip


def test_the_rate_falls_slowly_until_validation_stops_rising_and_then_to_zero() -> None:
    at = stage(**OPEN)
    schedule = Schedule(at, Length(12, 60))
    # half of the floor warms up: 1/7 ... 6/7, then 1, then sqrt(12 / step) to two thirds of the cap
    assert [schedule.factor(k) for k in (0, 5, 6, 12)] == [1 / 7, 6 / 7, 1.0, 1.0]
    assert schedule.factor(27) == pytest.approx(2 / 3)
    assert schedule.factor(50) == pytest.approx(math.sqrt(12 / 40) * 10 / 20)
    cooled = Schedule(at, Length(12, 60), cooling=48)
    assert cooled.end == 60
    assert [cooled.factor(k) for k in (48, 54, 59)] == pytest.approx([1 / 2, 1 / 4, 1 / 24])
    assert Schedule(at, Length(12, 60), cooling=20).end == 30
    assert [schedule.may_cool(k) for k in (7, 8, 39, 40)] == [False, True, True, False]


@pytest.mark.parametrize("killed_at", [None, 9, 23, 27])
def test_a_stage_of_open_length_is_the_same_when_it_was_killed(
    killed_at: int | None, tmp_path: Path
) -> None:
    """Better at step 5, 10, 15, then no more: two looks later the rate falls, for 13 steps."""
    validator = Validator(
        lambda: Validation(0.5, losses[min(next(count), 3)]), "accuracy", range(5, 61, 5), 2
    )
    losses = [1.0, 0.8, 0.6, 0.6]
    ends = []
    for stop in (None, killed_at):
        count = iter(range(99))
        model = tiny("bert", "classification")

        def batches(step: int, stop: int | None = stop) -> dict[str, Tensor]:
            if step == stop:
                raise KeyboardInterrupt
            return rows(step)

        folder = tmp_path / f"{stop}"
        if stop is not None:
            with pytest.raises(KeyboardInterrupt):
                trained(model, stage(**OPEN), folder, None, batches, validator)
            saved = facts_of(folder / "checkpoint/state.safetensors")["step"]
            count = iter(range(saved // 5, 99))
            model = tiny("bert", "classification")
        trained(model, stage(**OPEN), folder, validator=validator)
        facts = facts_of(folder / "checkpoint/state.safetensors")
        assert (facts["cooling"], facts["step"]) == (25, 38)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*ends)


def test_the_length_grows_with_rows_and_classes() -> None:
    until = {"floor": {"epochs": 1, "steps": 100, "steps_a_class": 4},
             "cap": {"epochs": 10, "steps": 600, "steps_a_class": 20}}  # fmt: skip
    at = stage(steps=None, until=until)
    assert length_of(at, 570, 2) == Length(108, 640)  # 18 steps an epoch
    assert length_of(at, 10_003, 77) == Length(408, 3130)  # 313
    assert length_of(at, 63_349, 2) == Length(1980, 19_800)
    assert length_of(stage(steps=None, epochs=1.5), 100) == Length(6, 6)


def test_a_stage_has_one_length() -> None:
    for more in ({"epochs": 1.0}, {"until": OPEN["until"]}, {"steps": None}):
        with pytest.raises(ValueError, match="exactly one of steps, epochs and until"):
            stage(**{"steps": 1} | more)
    with pytest.raises(ValueError, match="a patience of its own"):
        stage(**OPEN, patience=2)


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


def test_the_thread_that_makes_batches_leaves_the_cores_to_the_steps(tmp_path: Path) -> None:
    making, computing, later = list[int](), list[int](), list[int]()

    class Watched(Callbacks):
        def tell(self, *given: object) -> None:
            computing.append(torch.get_num_threads())

    def batches(step: int) -> dict[str, Tensor]:
        torch.ones(1 << 16).exp()  # large enough for several threads
        making.append(torch.get_num_threads())
        return rows(step)

    with torch_threads(3):
        student = tiny("bert", "classification")
        trained(student, stage((HardLabels(),)), tmp_path, batches=batches, callbacks=Watched())
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    assert set(making) == {1}
    assert set(computing) == {3}
    assert later == [3]
