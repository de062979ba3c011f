"""The stages that recipes share: on a corpus in large batches, and on a task to the best value."""

from typing import Any

from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.objectives.objective import Objective
from alembert.recipes.schema import Span, Stage, Until

TEACHER = Until(
    floor=Span(epochs=1, steps=100, steps_a_class=4),
    cap=Span(epochs=10, steps=600, steps_a_class=20),
)
LINEAR = Until(
    floor=Span(steps=150, steps_a_class=2),
    cap=Span(epochs=1, steps=600, steps_a_class=4),
)
# a student starts further from its optimum, and soft labels hold more than hard ones to learn
STUDENT = Until(
    floor=Span(epochs=1, steps=400, steps_a_class=4),
    cap=Span(epochs=20, steps=1500, steps_a_class=20),
)
LABELS = (SoftLabels(weight=5.0, temperature=2.0), HardLabels(weight=2.0))


def on_corpus(name: str, objective: Objective, learning_rate: float, **changes: Any) -> Stage:
    """Return three epochs of a corpus in batches of 256 short sequences; `changes` are fields."""
    fields = {"epochs": 3, "batch_size": 256, "micro_batch_size": 32, "warmup": 0.1,
              "weight_decay": 0.01, "max_length": 128} | changes  # fmt: skip
    return Stage(name=name, data="corpus", objective=objective, learning_rate=learning_rate,
                 **fields)  # fmt: skip


def on_task(
    objective: Objective,
    learning_rate: float,
    name: str = "task",
    until: Until = STUDENT,
    **changes: Any,
) -> Stage:
    """Return a stage on the task, in batches of 32, until validation has stopped rising.

    `changes` are further fields.
    """
    return Stage(
        name=name, data="task", objective=objective, until=until, batch_size=32,
        learning_rate=learning_rate, warmup=0.1, weight_decay=0.01, **changes,
    )  # fmt: skip


def rate_for(width: int, rate: float, most: float) -> float:
    """Return a learning rate that grows as 1 / width^2 from `rate` at width 768, to `most`."""
    return min(rate * (768 / width) ** 2, most)
