"""IB-BERT: an inverted-bottleneck teacher for MobileBERT, made from any BERT (arXiv 2004.02984)."""

from typing import Any

from transformers import PreTrainedConfig

from alembert.objectives.layer_terms import AttentionKL, FeatureMap
from alembert.recipes.mobilebert import PAPER, checked_shape, pretraining, shared_fields
from alembert.recipes.schema import Init, Recipe
from alembert.recipes.stages import on_corpus


def ibbert(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe of an IB-BERT as deep as the teacher, with its heads and inner width.

    The hidden states between its layers are two thirds as wide as the teacher's by default.
    """
    width = int(teacher.hidden_size)
    layers, between = checked_shape("an IB-BERT", teacher, layers, hidden_size, 2 * width // 3)
    compared = (FeatureMap(weight=100.0), AttentionKL(weight=1.0))
    return Recipe(
        name="ibbert",
        paper=PAPER,
        student=student_config(teacher, layers, between),
        init=Init(start="teacher", layers="uniform"),
        projections="none" if between == width else "layer",
        stages=(on_corpus("transfer", compared, 2e-4), pretraining(5e-4)),
        deviations=(
            "the authors train IB-BERT_LARGE from scratch by MLM; here it imitates a BERT, layer "
            "by layer and then its logits (init.start: scratch and HardLabels alone give the "
            "authors')",
            "no dropout: with 0.1 it loses the layers that it starts from in ten steps",
        ),
    )


def student_config(teacher: PreTrainedConfig, layers: int, hidden_size: int) -> dict[str, Any]:
    """Return the fields of an IBBertConfig; hidden_size is the width between its layers."""
    width = int(teacher.hidden_size)
    return {
        "model_type": "ibbert",
        **shared_fields(teacher, layers, hidden_size),
        "intra_bottleneck_size": width,
        "intermediate_size": 4 * width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
