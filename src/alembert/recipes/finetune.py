"""Fine-tuning as a recipe: hard labels alone train a teacher's task head or its MLM head."""

from transformers import PreTrainedConfig

from alembert.objectives.label_terms import HardLabels
from alembert.recipes.length import TEACHER
from alembert.recipes.schema import Init, Masking, Recipe, Stage


def finetune(model: PreTrainedConfig) -> Recipe:
    """Return the recipe that fine-tunes a model of this shape (BERT, sections 3 and A.3)."""
    width = int(model.hidden_size)
    return Recipe(
        name="finetune",
        paper="BERT (arXiv 1810.04805)",
        student={"model_type": model.model_type},
        init=Init(start="checkpoint"),
        stages=(
            Stage(
                name="general",
                data="corpus",
                objective=(HardLabels(),),
                epochs=1,
                batch_size=64,
                micro_batch_size=16,
                learning_rate=1e-4 * 768 / width,
                warmup=0.05,
                weight_decay=0.01,
                max_length=128,
                masking=Masking(rare_words=0.0),
            ),
            Stage(
                name="task",
                data="task",
                objective=(HardLabels(),),
                until=TEACHER,
                batch_size=32,
                learning_rate=5e-5 * 768 / width,
                warmup=0.1,
                weight_decay=0.01,
            ),
        ),
        deviations=(
            "learning rate in inverse proportion to the width (5e-5 at 768 on a task)",
            "trained until validation has stopped rising, not for 2 to 4 epochs",
        ),
    )
