"""MobileBERT's and IB-BERT's layers start at least squares answers to their teacher's."""

from typing import Any

import pytest
import torch
from support.models import tiny, words
from torch import nn
from transformers import PreTrainedModel

from alembert.initialization.bottleneck import fit_mlm_head
from alembert.initialization.least_squares import ridge
from alembert.initialization.student import from_teacher
from alembert.models.building import draw_model
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import AttentionKL, FeatureMap
from alembert.recipes import recipe_of
from alembert.training.distillation import Distillation


def sample(batch: int = 60, seed: int = 0) -> dict[str, torch.Tensor]:
    return {k: v for k, v in words(batch, 9, seed).items() if k != "labels"}


def bert(kind: str = "bert", **more: Any) -> PreTrainedModel:
    """Drawn so that its attention is far from even, over words that differ in few directions."""
    fields = {"hidden_size": 32, "intermediate_size": 64} | more
    model = tiny(kind, "encoder", std=0, **fields)
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=0.3)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        rows = torch.randn(len(table), 3) @ torch.randn(3, table.shape[1])
        table.copy_(nn.functional.layer_norm(rows, rows.shape[1:]))
    return model


def gaps(student: PreTrainedModel, teacher: PreTrainedModel, projections: Any) -> list[float]:
    """Feature maps of both layers, attention of the first, on other texts than it was fitted to."""
    found = []
    for term in (*(FeatureMap(layers=((k, k),)) for k in (1, 2)), AttentionKL(layers=((1, 1),))):
        module = Distillation(student, teacher, (term,), words=True, projections=projections)
        module.eval().start_projections(sample())
        found.append(module(sample(20, 1))[0].item())
    return found


def test_ridge_finds_the_line_through_the_points() -> None:
    # y = 2 a - b + 3, by hand
    inputs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    targets = torch.tensor([[3.0], [5.0], [2.0], [5.0]])
    weight, bias = ridge(inputs, targets, 0.0)
    torch.testing.assert_close(weight, torch.tensor([[2.0, -1.0]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(bias, torch.tensor([3.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "kind", "more"),
    [
        ("mobilebert", "bert", {}),
        ("mobilebert-tiny", "bert", {}),
        ("mobilebert", "bert", {"normalization_type": "layer_norm", "hidden_act": "gelu"}),
        ("mobilebert", "bert", {"hidden_size": 24, "intra_bottleneck_size": 8}),
        ("mobilebert", "roberta", {}),
        ("mobilebert", "albert", {}),
        ("ibbert", "bert", {}),
    ],
)
def test_layers_start_nearer_to_their_teachers_than_drawn_ones(
    name: str, kind: str, more: dict[str, Any]
) -> None:
    teacher = bert(kind)
    recipe = recipe_of(name, teacher.config)
    fields = recipe.student | more
    wide = fields["hidden_size"] == teacher.config.hidden_size
    projections = "none" if wide else "layer"
    student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, sample()).eval()
    fitted = gaps(student, teacher, projections)
    layers = draw_model(student.config, "encoder", 0).base_model.encoder
    student.base_model.encoder.load_state_dict(layers.state_dict())
    for mine, other in zip(fitted, gaps(student, teacher, projections), strict=True):
        assert mine < other


def test_an_ibbert_as_wide_as_its_teacher_attends_as_it_does() -> None:
    teacher = bert()
    fields = recipe_of("ibbert", teacher.config, hidden_size=32).student
    student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, sample()).eval()
    assert gaps(student, teacher, "none")[2] < 0.002  # of layer 1: its input is the teacher's


def test_layers_that_cannot_be_compared_stay_as_they_were_drawn() -> None:
    teacher = bert()
    recipe = recipe_of("mobilebert", teacher.config)
    for more in ({"num_attention_heads": 2}, {"intra_bottleneck_size": 64}):
        fields = recipe.student | more
        student = from_teacher(fields, "encoder", (), teacher, "uniform", 0, sample())
        plain = draw_model(student.config, "encoder", 0)
        mine, theirs = (m.base_model.encoder.state_dict() for m in (student, plain))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("bert", {}),
        ("bert", {"hidden_size": 24, "intra_bottleneck_size": 8}),
        ("bert", {"hidden_act": "gelu"}),
        ("roberta", {}),
        ("albert", {}),  # a matrix narrower than what the student has beside its words
        ("electra", {"embedding_size": 16}),  # its words fill fewer dimensions
        ("ibbert", {}),
    ],
)
def test_a_thin_students_masked_words_start_nearer_to_the_teachers(
    kind: str, more: dict[str, Any]
) -> None:
    sizes = ("hidden_size", "true_hidden_size", "intra_bottleneck_size")
    teacher = tiny(kind, "words", **dict.fromkeys(sizes, 32), embedding_size=8)
    fields = recipe_of("mobilebert", teacher.config).student | {"embedding_size": 8} | more
    student = from_teacher(fields, "words", (), teacher, "uniform", 0, sample(200)).eval()
    module = Distillation(student, teacher, (SoftLabels(),), words=True).eval()
    before = module(words(20, 9, 1))[0].item()
    fit_mlm_head(student, teacher, sample(200))
    assert module(words(20, 9, 1))[0].item() < 0.5 * before
    assert student.get_parameter("cls.predictions.transform.LayerNorm.weight").abs().max() < 20
