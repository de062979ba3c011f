"""Layer maps: the teacher layer of each student layer. Layers count from 1; 0 is the embedding."""

from collections.abc import Sequence

from alembert.io.errors import UserError

Pairs = tuple[tuple[int, int], ...]
Choice = str | Sequence[tuple[int, int]]
NAMES = ("uniform", "first", "last", "spread")


def layer_map(choice: Choice, student: int, teacher: int) -> Pairs:
    """Pairs (student layer, teacher layer), one for each student layer, teacher layers ascending.

    uniform: the last of each of `student` equal blocks (TinyBERT, g(m) = m * teacher / student);
    first / last: the teacher's lowest / highest layers; spread: evenly from the first layer to the
    last, both included (DistilBERT's 0, 2, 4, 7, 9, 11 of 12). Depths that do not divide take the
    nearest layer. A choice that is pairs is checked and returned.

    Raises UserError for unknown names, pairs outside the models, more student than teacher layers.
    """
    if student < 1:
        raise UserError(f"a student needs at least 1 layer, not {student}")
    if not isinstance(choice, str):
        return _checked(choice, student, teacher)
    if choice not in NAMES:
        raise UserError(f"layer map '{choice}' is unknown: choose one of {', '.join(NAMES)}")
    if student > teacher:
        raise UserError(
            f"layer map '{choice}' cannot give {student} student layers a layer each of a teacher "
            f"that has {teacher}: take at most {teacher} (--layers {teacher}), or give the pairs"
        )
    picks = {
        "first": list(range(1, student + 1)),
        "last": [teacher - student + m for m in range(1, student + 1)],
        "uniform": [round_half_up(m * teacher, student) for m in range(1, student + 1)],
        "spread": [_spread(m, student, teacher) for m in range(student)],
    }[choice]
    return tuple(zip(range(1, student + 1), picks, strict=True))


def describe_rounding(choice: Choice, student: int, teacher: int) -> str | None:
    """The line that reports a map that had to round; None when the depths divide."""
    if choice != "uniform" or teacher % student == 0:
        return None
    picks = ", ".join(str(t) for _, t in layer_map(choice, student, teacher))
    return (
        f"{teacher} teacher layers do not divide among {student}: the student's learn from the "
        f"nearest, {picks}"
    )


def round_half_up(numerator: int, denominator: int) -> int:
    """The integer nearest to the fraction; of two equally near, the larger."""
    return (2 * numerator + denominator) // (2 * denominator)


def _spread(m: int, student: int, teacher: int) -> int:
    """Layer m of 0 .. student - 1 on an even grid from layer 1 to the last."""
    if student == 1:
        return teacher
    return 1 + round_half_up(m * (teacher - 1), student - 1)


def _checked(pairs: Sequence[tuple[int, int]], student: int, teacher: int) -> Pairs:
    for student_layer, teacher_layer in pairs:
        if not (0 <= student_layer <= student and 0 <= teacher_layer <= teacher):
            raise UserError(
                f"layer map pair ({student_layer}, {teacher_layer}) lies outside the models: "
                f"the student has "
                f"layers 0 to {student}, the teacher 0 to {teacher} (0 is the embedding)"
            )
    if not pairs:
        raise UserError("the layer map is empty: give at least one (student, teacher) pair")
    return tuple((student_layer, teacher_layer) for student_layer, teacher_layer in pairs)
