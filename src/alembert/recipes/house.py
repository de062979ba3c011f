"""The house recipe: the best of the three papers for one task, with what a task decides left open.

A student half as deep and half as wide as its teacher, started from the teacher's weights. It
imitates layers on the task's texts and their variants (TinyBERT), then answers. Which share the
labels of the data have beside those of the teacher, and at which temperature, held-out texts say.
"""

from transformers import PreTrainedConfig

from alembert.models.architectures import anatomy, known
from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.objectives.layer_terms import HiddenMSE
from alembert.objectives.objective import Objective
from alembert.recipes.schema import Augment, Init, Recipe
from alembert.recipes.stages import on_corpus, on_task, rate_for
from alembert.recipes.tinybert import LAYERS, checked_shape, student_config

BOTH = (SoftLabels(weight=1.0, temperature=2.0), HardLabels(weight=0.5))
SOFT = (SoftLabels(weight=1.0, temperature=1.0),)
HARD = (SoftLabels(weight=0.5, temperature=2.0), HardLabels(weight=1.0))


def house(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the house recipe: half the layers, half the width, or another size.

    Its feed-forward networks are twice as wide as the student, so that it has a twelfth of the
    multiplications of a teacher whose networks are four times as wide as it is. Raises UserError
    for a size that is not less than the teacher's.
    """
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    usual = max(depth // 2, 1), width // 2
    layers, hidden_size = checked_shape("a house", teacher, layers, hidden_size, usual)
    student = student_config(teacher, layers, hidden_size)
    if hidden_size < width:  # layers that are copied whole keep their inner size
        student["intermediate_size"] = min(2 * hidden_size, student["intermediate_size"])
    imitated, rate = _layers_of(teacher), rate_for(hidden_size, 5e-5, 1e-3)
    return Recipe(
        name="house",
        paper="DistilBERT (start), TinyBERT (layers, variants, answers), chosen by held-out texts",
        student=student,
        init=Init(start="teacher", layers="uniform"),
        projections="none" if hidden_size == width else "layer",
        augment=Augment(partners=1),
        stages=(
            on_corpus("general", imitated, rate),
            on_task(imitated, rate, "layers", start="better"),
            on_task(BOTH, rate_for(hidden_size, 3e-5, 5e-4), "answers", alternatives=(SOFT, HARD)),
        ),
    )


def _layers_of(teacher: PreTrainedConfig) -> Objective:
    """Return TinyBERT's terms, without attention scores that the student's cannot be like."""
    if known(teacher):
        parts = anatomy(teacher, "")
        if not parts.relative or parts.distances:
            return LAYERS
    return (HiddenMSE(layers="uniform", embeddings=True),)
