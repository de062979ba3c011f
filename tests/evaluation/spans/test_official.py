"""Exact match and F1 equal those of SQuAD's official scripts."""

from pathlib import Path

import pytest
import yaml
from evaluation.spans import script
from hypothesis import given
from hypothesis import strategies as st

from alembert.evaluation.spans.official import scores

TABLE = yaml.safe_load(Path(__file__).with_name("answers.yaml").read_text(encoding="utf-8"))
CASES = [(str(each), list(map(str, row["right"]))) for row in TABLE for each in row["given"]]


def test_there_are_about_two_hundred_cases() -> None:
    assert len(CASES) >= 200
    assert len({(each, *right) for each, right in CASES}) == len(CASES)


@pytest.mark.parametrize(("answer", "right"), CASES)
def test_a_case_has_the_scores_of_the_script_of_2_0(answer: str, right: list[str]) -> None:
    assert scores(answer, right) == pytest.approx(script.get_raw_scores(right, answer), abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "right"),
    [case for case in CASES if case[1] and all(map(script.normalize_answer, case[1]))],
)
def test_a_question_with_answers_has_the_scores_of_the_script_of_1_1(
    answer: str, right: list[str]
) -> None:
    expected = [
        float(script.metric_max_over_ground_truths(metric, answer, right))
        for metric in (script.exact_match_score, script.f1_score)
    ]
    assert scores(answer, right) == pytest.approx(expected, abs=1e-12)


@given(
    answer=st.text(st.sampled_from("aAnteh .,'-Éßİ1\u00a0\n"), max_size=12),
    right=st.lists(st.text(st.sampled_from("aAnteh .,'-Éßİ1\u00a0\n"), max_size=12), max_size=3),
)
def test_any_text_has_the_scores_of_the_script_of_2_0(answer: str, right: list[str]) -> None:
    assert scores(answer, right) == pytest.approx(script.get_raw_scores(right, answer), abs=1e-12)


def test_f1_by_hand() -> None:
    # "roman empire in west" has 4 words, of which 2 are among the 2 right ones
    assert scores("Roman Empire in the west", ["the Roman Empire"]) == (0, pytest.approx(2 / 3))
