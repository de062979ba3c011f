"""The loop of a stage: dropout, micro batches, and what a step that broke leaves behind."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from models import tiny, words
from torch import Tensor
from transformers import PreTrainedModel

from alembert import checkpoint
from alembert.distillation import Distillation
from alembert.errors import UserError
from alembert.objective import (
    AttentionMSE,
    HardLabels,
    HiddenCosine,
    HiddenMSE,
    LogitsMSE,
    Objective,
    SoftLabels,
)
from alembert.recipe import Stage
from alembert.train import Batches, train
from alembert.watching import Watch

HARD = (HardLabels(),)
CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def stage(objective: Objective = HARD, **more: object) -> Stage:
    fields = {"name": "s", "data": "task", "steps": 1, "learning_rate": 1e-3} | more
    return Stage.model_validate(fields | {"objective": objective})


def rows(step: int) -> dict[str, Tensor]:
    """Four texts, one of them unlabelled."""
    ids = torch.randint(5, 99, (4, 6), generator=torch.Generator().manual_seed(step))
    mask = torch.ones_like(ids)
    mask[0, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, -100, 1, 1])}


def trained(
    model: PreTrainedModel,
    at: Stage,
    folder: Path,
    teacher: PreTrainedModel | None = None,
    batches: Batches = rows,
    watch: Watch | None = None,
) -> None:
    module = Distillation(model, teacher, at.objective, words="masking" in at.model_fields_set)
    AcceleratorState._reset_state()  # an earlier test's precision would be kept
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    assert at.steps is not None
    train(module, at, batches, at.steps, folder, seed=0, accelerator=accelerator, watch=watch)


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

    with pytest.raises(UserError, match=r"step [67]: the (loss|gradient) is (nan|inf)"):
        trained(model, stage(steps=12), tmp_path, None, batches, Watch(lambda: 0.5, "accuracy", 4))
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

    def measure() -> float:
        seen.append(student.classifier.bias.detach().clone())
        return VALUES[len(seen) - 1]

    at = stage(steps=50, patience=2)
    trained(student, at, tmp_path, watch=Watch(measure, "accuracy", 10, 2))
    assert len(seen) == 4  # equal is not better
    torch.testing.assert_close(student.classifier.bias, seen[1], rtol=0, atol=0)
    facts = checkpoint.facts(tmp_path / "checkpoint/state.safetensors")
    assert facts == {"step": 20, "best": 0.6, "best_step": 10, "since": 2}
    again = tiny("bert", "classification")  # killed before its model was saved
    trained(again, at, tmp_path, watch=Watch(measure, "accuracy", 10, 2))
    assert len(seen) == 4
    torch.testing.assert_close(again.classifier.bias, seen[1], rtol=0, atol=0)


def test_patience_goes_on_counting_where_a_killed_stage_stopped(tmp_path: Path) -> None:
    looked: list[int] = []

    def measure() -> float:
        looked.append(len(looked))
        return 0.5

    def dies(step: int) -> dict[str, Tensor]:
        if step == 12:
            raise KeyboardInterrupt
        return rows(step)

    at, watch = stage(steps=50, patience=3), Watch(measure, "accuracy", 10, 3)
    with pytest.raises(KeyboardInterrupt):
        trained(tiny("bert", "classification"), at, tmp_path, None, dies, watch)
    trained(tiny("bert", "classification"), at, tmp_path, watch=watch)
    facts = checkpoint.facts(tmp_path / "checkpoint/state.safetensors")
    assert (facts["step"], facts["since"], len(looked)) == (20, 3, 4)


def test_patience_without_looks_is_refused() -> None:
    with pytest.raises(ValueError, match="stage 's' is not looked at"):
        stage((HiddenCosine(),), patience=1)
