"""A narrow student starts as its teacher seen through fewer dimensions."""

import pytest
import torch
from support.models import still, tiny, words
from transformers import PreTrainedModel

from alembert.initialization.pca import init_by_pca
from alembert.initialization.student import from_teacher
from alembert.models.architectures import sharpness
from alembert.models.building import config_of, draw_model
from alembert.models.layer_map import layer_map
from alembert.models.trace import Reads, no_grad_trace
from alembert.recipes.tinybert import student_config

EVERY = Reads(hidden=frozenset({0, 1, 2}), attention=frozenset({1, 2}))


def inputs() -> dict[str, torch.Tensor]:
    return {k: v for k, v in words(batch=12, tokens=9).items() if k != "labels"}


def even(teacher: PreTrainedModel) -> PreTrainedModel:
    """The teacher with norms that treat every dimension alike."""
    for name, parameter in teacher.named_parameters():
        if "LayerNorm.weight" in name:
            torch.nn.init.ones_(parameter)
        if "LayerNorm.bias" in name:
            torch.nn.init.zeros_(parameter)
    return teacher


def narrowed(teacher: PreTrainedModel, width: int, basis: str) -> PreTrainedModel:
    depth = int(teacher.config.num_hidden_layers)
    config = student_config(teacher.config, depth, width)
    config["intermediate_size"] = max(int(teacher.config.intermediate_size) * width // 16, 1)
    student = draw_model(
        config_of(config | {"layer_norm_eps": teacher.config.layer_norm_eps}), "encoder", 0
    )
    init_by_pca(student, teacher, layer_map("uniform", depth, depth), inputs(), basis)
    return student.eval()


def scores(model: PreTrainedModel, layer: int) -> torch.Tensor:
    return no_grad_trace(model, inputs(), EVERY).scores(layer)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "deberta-v2"])
def test_through_all_its_units_a_teacher_is_seen_whole(kind: str) -> None:
    teacher = tiny(kind, "encoder")
    teacher = teacher if kind == "mpnet" else still(teacher)  # an MPNet keeps its distances
    student = narrowed(teacher, 16, "units")
    mine, theirs = (no_grad_trace(m, inputs(), EVERY) for m in (student, teacher))
    real = inputs()["attention_mask"].bool()
    for k in (0, 1, 2):
        torch.testing.assert_close(mine.hidden[k][real], theirs.hidden[k][real], atol=2e-3, rtol=0)
    both = real[:, None, :, None] & real[:, None, None, :]
    sharp = sharpness(teacher.config)
    gap = torch.where(both, mine.scores(1) - sharp * theirs.scores(1), 0.0)
    assert gap.abs().max() < 5e-3


def test_of_a_narrower_mpnet_the_heads_that_are_left_keep_their_distances() -> None:
    teacher = tiny("mpnet", "encoder")
    config = student_config(teacher.config, 2, 8) | {"num_attention_heads": 2}
    student = draw_model(config_of(config), "encoder", 0)
    init_by_pca(student, teacher, layer_map("uniform", 2, 2), inputs(), "components")
    mine, theirs = (model.encoder.relative_attention_bias.weight for model in (student, teacher))
    torch.testing.assert_close(mine, theirs[:, :2])


def test_through_all_its_components_a_teacher_is_seen_turned() -> None:
    teacher = even(tiny("bert", "encoder"))
    student = narrowed(teacher, 16, "components")
    mine, theirs = (no_grad_trace(m, inputs(), EVERY) for m in (student, teacher))
    real = inputs()["attention_mask"].bool()
    for k in (0, 1, 2):  # lengths and angles stay under a turn
        here, there = mine.hidden[k][real], theirs.hidden[k][real]
        torch.testing.assert_close(here @ here.T, there @ there.T, atol=2e-2, rtol=1e-3)


@pytest.mark.parametrize("basis", ["components", "units"])
def test_half_as_wide_it_tells_texts_apart_as_its_teacher_does_and_chance_does_not(
    basis: str,
) -> None:
    teacher = even(tiny("bert", "encoder", hidden_size=64, intermediate_size=128))
    config = student_config(teacher.config, 2, 32)
    pairs, real = layer_map("uniform", 2, 2), inputs()["attention_mask"].bool()
    students = [draw_model(config_of(config), "encoder", 0).eval() for _ in range(2)]
    init_by_pca(students[0], teacher, pairs, inputs(), basis)
    theirs = no_grad_trace(teacher, inputs(), EVERY).hidden[2][real]
    alike = []
    for student in students:
        mine = no_grad_trace(student, inputs(), EVERY).hidden[2][real]
        angles = [torch.corrcoef(hidden - hidden.mean(0)).flatten() for hidden in (mine, theirs)]
        alike.append(float(torch.corrcoef(torch.stack(angles))[0, 1]))
    assert alike[0] > alike[1] + 0.2


@pytest.mark.parametrize("heads", [2, 8])
def test_other_numbers_of_heads_start_too(heads: int) -> None:
    teacher = tiny("bert", "encoder")
    config = student_config(teacher.config, 1, 8) | {"num_attention_heads": heads}
    student = from_teacher(config, "encoder", (), teacher, "uniform", 0, inputs())
    assert all(torch.isfinite(parameter).all() for parameter in student.parameters())
