"""The length of all recipes' task stages: they end when validation has stopped rising."""

from alembert.recipes.schema import Span, Until

TEACHER = Until(
    floor=Span(epochs=1, steps=100, steps_a_class=4),
    cap=Span(epochs=10, steps=600, steps_a_class=20),
)
# a student starts further from its optimum, and soft labels hold more than hard ones to learn
STUDENT = Until(
    floor=Span(epochs=1, steps=400, steps_a_class=4),
    cap=Span(epochs=20, steps=1500, steps_a_class=20),
)
