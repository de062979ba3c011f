"""Losses against the authors' own numbers, against values worked out by hand, and by identities."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import tiny
from torch import Tensor

from alembert.io.errors import UserError
from alembert.models.logits import VocabularyLogits
from alembert.models.trace import Trace
from alembert.objectives import functional, fused_linear
from alembert.objectives.label_terms import LogitsMSE, SoftLabels
from alembert.objectives.layer_terms import AttentionMSE
from alembert.training.distillation import Distillation

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> tuple[dict[str, Any], dict[str, float]]:
    content = json.loads((GOLDEN / f"{name}.json").read_text())
    inputs = {
        k: torch.tensor(v) if isinstance(v, list) else v for k, v in content["inputs"].items()
    }
    return inputs, content["expected"]


def as_words(logits: Tensor, where: Tensor) -> VocabularyLogits:
    """Logits (B, T, V) as a vocabulary whose matrix is the identity."""
    return VocabularyLogits(logits[where], torch.eye(logits.shape[-1]), None, where)


@pytest.mark.parametrize("name", ["distilbert_step", "distilbert_step_restricted"])
def test_the_triple_loss_is_that_of_the_authors_code(name: str) -> None:
    given, expected = golden(name)
    mask, labels = given["attention_mask"], given["labels"]
    where = labels != -100 if given["restrict_ce_to_mask"] else mask.bool()
    student, teacher = (
        as_words(given["student_logits"], where),
        as_words(given["teacher_logits"], where),
    )
    ce = fused_linear.fused_linear_loss(
        student, fused_linear.soft_labels(teacher, given["temperature"])
    )
    masked = labels != -100
    hidden = as_words(given["student_logits"], masked)
    mlm = fused_linear.fused_linear_loss(hidden, fused_linear.hard_labels(labels[masked]))
    mse = fused_linear.fused_linear_loss(student, fused_linear.logits_mse(teacher))
    cos = functional.hidden_cosine(given["student_hidden"], given["teacher_hidden"], mask)
    assert float(ce) == pytest.approx(expected["ce"], rel=1e-5)
    assert float(mlm) == pytest.approx(expected["mlm"], rel=1e-5)
    assert float(mse) == pytest.approx(expected["mse"], rel=1e-5)
    assert float(cos) == pytest.approx(expected["cos"], rel=1e-5)
    weights = given["weights"]
    total = weights["ce"] * ce + weights["mlm"] * mlm + weights["mse"] * mse + weights["cos"] * cos
    assert float(total) == pytest.approx(expected["total"], rel=1e-5)


def test_tinybert_layer_losses_are_those_of_the_authors_code() -> None:
    given, expected = golden("tinybert")
    keys = given["attention_mask"].bool()[:, None, None, :]  # there, masked keys are set to 0
    student, teacher = (
        torch.where(keys, given[f"{who}_scores"], 0.0) for who in ("student", "teacher")
    )
    assert float(functional.attention_mse(student, teacher)) == pytest.approx(expected["attention"])
    projected = torch.nn.functional.linear(
        given["student_hidden"], given["projection_weight"], given["projection_bias"]
    )
    hidden = functional.hidden_mse(projected, given["teacher_hidden"])
    assert float(hidden) == pytest.approx(expected["hidden"], rel=1e-6)


def test_tinybert_prediction_loss_is_ours_plus_the_teachers_entropy() -> None:
    given, expected = golden("tinybert")
    student, teacher = given["student_class_logits"], given["teacher_class_logits"]
    probabilities = teacher.softmax(-1)
    entropy = -(probabilities * probabilities.log()).sum(-1).mean()
    ours = (functional.soft_labels(student, teacher, 1.0) + entropy) / student.shape[-1]
    assert float(ours) == pytest.approx(expected["prediction"], rel=1e-5)


def test_textbrewer_cross_entropy_is_ours_over_t_squared_plus_entropy() -> None:
    given, expected = golden("textbrewer")
    t = given["temperature"]
    softened = (given["teacher_logits"] / t).softmax(-1)
    entropy = -(softened * softened.log()).sum(-1).mean()
    ours = (
        functional.soft_labels(given["student_logits"], given["teacher_logits"], t) / t**2 + entropy
    )
    assert float(ours) == pytest.approx(expected["kd_ce"], rel=1e-5)


def test_textbrewer_attention_is_ours_summed_over_heads_as_it_counts() -> None:
    given, expected = golden("textbrewer")
    student, teacher = given["student_attention"], given["teacher_attention"]
    ours = functional.attention_mse(student, teacher, given["attention_mask"])
    assert float(ours) == pytest.approx(expected["attention"], rel=1e-5)


def test_soft_labels_of_two_classes_by_hand() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3), 0.0]])
    # softened by 2 the teacher says 3/4, 1/4 and the student 1/2, 1/2
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(functional.soft_labels(student, teacher, 2.0)) == pytest.approx(4 * kl, rel=1e-6)


def test_a_student_that_agrees_has_no_loss() -> None:
    x = torch.randn(2, 3, 5)
    assert float(functional.soft_labels(x[0], x[0], 3.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(functional.hidden_cosine(x, 7 * x)) == pytest.approx(0.0, abs=1e-6)
    assert float(functional.hidden_mse(x, x)) == 0.0
    assert float(functional.soft_bernoulli(x[0], x[0], 2.0)) == pytest.approx(0.0, abs=1e-6)


def test_rows_without_a_label_have_no_loss_and_no_gradient() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = functional.hard_labels(logits, torch.full((3,), -100))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()
    scores = torch.randn(3, requires_grad=True)
    assert float(functional.squared_error(scores, torch.full((3,), math.nan)).detach()) == 0.0
    mixed = functional.squared_error(torch.tensor([1.0, 5.0]), torch.tensor([3.0, math.nan]))
    assert float(mixed) == 4.0


def test_multilabel_losses_count_known_labels_only() -> None:
    logits, labels = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, math.nan]])
    assert float(functional.hard_bernoulli(logits, labels)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "loss", [functional.hidden_cosine, functional.hidden_mse, functional.attention_mse]
)
def test_padding_content_never_matters(loss: Any) -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    shape = (2, 3, 4, 4) if loss is functional.attention_mse else (2, 4, 4)
    student, teacher = torch.randn(shape), torch.randn(shape)
    before = loss(student, teacher, mask)
    if loss is functional.attention_mse:
        hidden = (mask[:, :, None] * mask[:, None, :] == 0)[:, None].expand(shape)
    else:
        hidden = (mask == 0)[..., None].expand(shape)
    for poison in (1e4, math.nan):
        changed = torch.where(hidden, torch.tensor(poison), student)
        torch.testing.assert_close(loss(changed, teacher, mask), before)


@pytest.mark.parametrize("term", [SoftLabels(), LogitsMSE()])
def test_padding_of_a_token_task_has_no_answer_to_imitate(term: SoftLabels | LogitsMSE) -> None:
    mine, theirs = torch.randn(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    batch = {"attention_mask": mask, "labels": torch.zeros(2, 4, dtype=torch.long)}
    other = torch.where(mask[..., None].bool(), mine, 100.0)
    values = [term(Trace(logits=x), Trace(logits=theirs), (), batch) for x in (mine, other)]
    assert values[0] == values[1]


def test_attention_of_unequal_heads_is_refused() -> None:
    student, teacher = tiny("bert", num_attention_heads=1), tiny("bert")
    with pytest.raises(UserError, match="1 attention heads of the student with 4"):
        Distillation(student, teacher, (AttentionMSE(),), words=True)
