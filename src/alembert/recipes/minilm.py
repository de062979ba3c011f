"""MiniLMv2: any width; imitates how tokens relate in one layer (Wang et al. 2021, 2012.15828)."""

import math

from transformers import PreTrainedConfig

from alembert.objectives.layer_terms import Relations
from alembert.recipes.schema import Init, Recipe
from alembert.recipes.stages import LABELS, on_corpus, on_task, rate_for
from alembert.recipes.tinybert import checked_shape, student_config

HEADS = 48  # the paper's relation heads for BERT-base


def minilm(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe of a student with half the teacher's layers and width, or another size.

    It needs no projections and no layer map. Raises UserError where the student is the larger.
    """
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    usual = max(depth // 2, 1), width // 2
    layers, hidden_size = checked_shape("a MiniLM", teacher, layers, hidden_size, usual)
    # layer 21 of 24 is the best to imitate (table 7), and the last of 12
    imitated = depth if depth <= 12 else round(depth * 21 / 24)
    relations = Relations(layers=((layers, imitated),), heads=math.gcd(HEADS, hidden_size, width))
    return Recipe(
        name="minilm",
        paper="MiniLMv2: multi-head self-attention relation distillation (arXiv 2012.15828)",
        student=student_config(teacher, layers, hidden_size),
        init=Init(start="teacher", layers="uniform"),
        projections="none",
        stages=(
            on_corpus("general", (relations,), 6e-4, warmup=0.01, epsilon=1e-6),
            on_task(LABELS, rate_for(hidden_size, 7.5e-5, 5e-4)),
        ),
        deviations=(
            "start: the teacher's layers, narrowed; the authors' students start at random "
            "(init.start: scratch)",
            "no dropout in the student",
            "the task stage learns soft and hard labels; the paper fine-tunes",
        ),
    )
