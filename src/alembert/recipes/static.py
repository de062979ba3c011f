"""Static students: no layers at all, only vectors of tokens, their mean and a small head.

The start is Model2Vec's (principal components of an encoder's vectors of single tokens, weighted by
frequency, then fitted to its vectors of texts, here by ridge regression); unlike Model2Vec's, the
vectors are then trained to a task by the task's teacher.
"""

from transformers import PreTrainedConfig

from alembert.io.errors import UserError
from alembert.models.static.config import STATIC
from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.recipes.schema import Init, Recipe, Span, Stage, Until, replaced

WIDTH, BIGRAMS, NEURONS = 96, 8_192, 64
UNTIL = Until(
    floor=Span(epochs=4, steps=600, steps_a_class=4),
    cap=Span(epochs=20, steps=1500, steps_a_class=20),
)
OBJECTIVE = (SoftLabels(weight=1.0, temperature=2.0), HardLabels(weight=0.3))


def static(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe of a static student, `hidden_size` wide.

    Raises UserError for layers, and for vectors that are wider than the teacher's.
    """
    if layers:
        raise UserError(f"--layers {layers}: a static student has no layers: leave it out")
    most = int(teacher.hidden_size)
    width = min(WIDTH, most) if hidden_size is None else hidden_size
    if not 1 <= width <= most:
        raise UserError(
            f"--hidden-size {width}: a static student of this teacher is 1 to {most} wide"
        )
    stage = Stage(
        name="task", data="task", objective=OBJECTIVE, until=UNTIL, batch_size=32,
        learning_rate=3e-3, warmup=0.05, max_length=128,
    )  # fmt: skip
    return Recipe(
        name="static",
        paper="Model2Vec (github.com/MinishLab/model2vec), with a task's teacher",
        student={
            "model_type": STATIC,
            "vocab_size": int(teacher.vocab_size),
            "hidden_size": width,
            "bigrams": BIGRAMS,
            "neurons": NEURONS,
            "pad_token_id": int(teacher.pad_token_id or 0),
        },
        init=Init(start="teacher"),
        stages=(stage,),
        deviations=(
            "vectors are fitted to those of the task's texts by ridge regression, not by descent",
            "the vectors are trained by the task's teacher, by soft labels",
            "frequent pairs of neighbouring tokens have vectors too",
            "the weights of tokens in the mean are learnt, from smooth inverse frequency on",
        ),
    )


def static_pairs(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe for pairs of texts: the head reads the vectors of both."""
    recipe = static(teacher, layers, hidden_size)
    return replaced(recipe, name="static-pairs", student=recipe.student | {"pairs": True})
