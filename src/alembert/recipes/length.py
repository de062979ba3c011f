"""How long the task stages of all recipes are trained: until validation has stopped rising."""

from alembert.recipes.schema import Span, Until

TEACHER = Until(
    floor=Span(epochs=1, steps=100, steps_a_class=4),
    cap=Span(epochs=10, steps=600, steps_a_class=20),
)
# a student starts further from its end, and its soft labels say more than a label does
STUDENT = Until(
    floor=Span(epochs=1, steps=400, steps_a_class=4),
    cap=Span(epochs=20, steps=1500, steps_a_class=20),
)
