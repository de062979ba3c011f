"""Fine-tuning as a recipe: hard labels alone train a teacher's task head or its MLM head."""

from transformers import PreTrainedConfig

from alembert.models.checks import positions
from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.recipes.schema import Init, Masking, Recipe
from alembert.recipes.stages import LINEAR, TEACHER, on_corpus, on_task


def finetune(model: PreTrainedConfig) -> Recipe:
    """Return the recipe that fine-tunes a model of this shape (BERT, sections 3 and A.3)."""
    width = int(model.hidden_size)
    rate, length = 5e-5 * 768 / width, min(128, positions(model))
    general = on_corpus(
        "general", (HardLabels(),), 2 * rate, epochs=1, batch_size=64,
        micro_batch_size=16, warmup=0.05, masking=Masking(rare_words=0.0),
    )  # fmt: skip
    linear = on_task(
        (SoftLabels(temperature=2.0),), rate, name="linear", until=LINEAR, teacher="linear",
        max_length=length,
    )  # fmt: skip
    return Recipe(
        name="finetune",
        paper="BERT (arXiv 1810.04805)",
        student={"model_type": model.model_type},
        init=Init(start="checkpoint"),
        stages=(
            general,
            linear,
            on_task((HardLabels(),), rate, until=TEACHER, max_length=length),
        ),
        deviations=(
            "learning rate in inverse proportion to the width (5e-5 at 768 on a task)",
            "trained until validation has stopped rising, not for 2 to 4 epochs",
            "linear: first imitates a linear model on the encoder's own frozen vectors, so that no "
            "random head moves the encoder",
        ),
    )
