"""The sentence on a run: each case that it tells apart, and that intervals decide it."""

from dataclasses import replace

import pytest

from alembert.evaluation.verdict import Candidate, verdict

STUDENT = Candidate(name="the student in int8", role="student", value=0.90, ms=1.0, seconds=600)
TEACHER = Candidate(
    name="the teacher", role="teacher", value=0.92, behind=(-0.03, -0.01), ms=30.0, seconds=300
)
MAJORITY = Candidate(name="the majority class", role="majority", value=0.5, behind=(0.35, 0.45))
WORSE = Candidate(
    name="TF-IDF with a linear model", role="baseline", value=0.80, behind=(0.07, 0.13), ms=0.2,
    seconds=3,
)  # fmt: skip


def told(*others: Candidate, own: Candidate = STUDENT) -> str:
    return verdict("accuracy", [own, *others], 872)


def test_a_faster_student_behind_its_teacher_is_for_speed() -> None:
    assert told(TEACHER, MAJORITY, WORSE) == (
        "Take the student in int8 where speed counts and the teacher where quality does: accuracy "
        "0.900 against 0.920, 30 times faster a text."
    )


def test_a_student_that_cannot_be_told_from_its_teacher() -> None:
    level = replace(TEACHER, behind=(-0.03, 0.01))
    assert told(level, MAJORITY, WORSE) == (
        "Take the student in int8: on these 872 texts its accuracy of 0.900 is not shown to differ "
        "from the 0.920 of the teacher, 30 times faster a text."
    )


def test_a_linear_model_as_good_and_no_slower_speaks_against_distilling() -> None:
    level = replace(WORSE, value=0.895, behind=(-0.01, 0.02))
    assert told(TEACHER, MAJORITY, level) == (
        "Do not distil: TF-IDF with a linear model is not shown to be worse on these 872 texts "
        "(accuracy 0.895, the student in int8 0.900), made 200 times faster, 5.0 times faster a "
        "text."
    )
    assert "is as good on these 872 texts" in told(TEACHER, MAJORITY, replace(level, value=0.9))


def test_a_slow_baseline_as_good_does_not_speak_against_distilling() -> None:
    slow = replace(
        WORSE, name="a linear model on frozen embeddings", value=0.91, behind=(-0.02, 0.01), ms=30.0
    )
    assert told(MAJORITY, slow).startswith("Take the student in int8: on these 872 texts")


def test_a_teacher_in_int8_as_fast_and_better() -> None:
    quick = replace(TEACHER, name="the teacher in int8", ms=1.1)
    assert told(TEACHER, quick, MAJORITY).startswith(
        "Do not distil to this size: the teacher in int8 is better (accuracy 0.920, the student in "
        "int8 0.900), and takes as long a text."
    )


def test_a_model_that_learnt_nothing() -> None:
    free = replace(MAJORITY, value=0.89, behind=(-0.02, 0.03))
    sentence = told(TEACHER, free)
    assert sentence.startswith("Do not deploy the student in int8: on these 872 texts")
    assert sentence.endswith("look at the labels, or give more of them.")
    learnt = replace(WORSE, value=0.97, behind=(-0.09, -0.05))
    assert told(TEACHER, free, learnt).endswith(
        "TF-IDF with a linear model has 0.970, so take that, or train longer."
    )


def test_a_student_above_all_others() -> None:
    behind = replace(TEACHER, value=0.85, behind=(0.02, 0.08))
    assert told(behind, MAJORITY, WORSE) == (
        "Take the student in int8: its accuracy of 0.900 is shown to be above all others'."
    )


@pytest.mark.parametrize("high", [-0.001, 0.001])
def test_the_interval_decides_and_not_the_value(high: float) -> None:
    sentence = told(replace(TEACHER, behind=(-0.05, high)))
    assert ("not shown to differ" in sentence) == (high > 0)


def test_without_times_nothing_is_said_of_speed() -> None:
    sentence = told(replace(TEACHER, ms=None), own=replace(STUDENT, ms=None))
    assert sentence == (
        "Take the student in int8 where speed counts and the teacher where quality does: accuracy "
        "0.900 against 0.920."
    )
