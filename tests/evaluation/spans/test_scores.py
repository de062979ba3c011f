"""Scores of answers, a question a row: means, intervals, loss, and the threshold of no answer."""

import math
from dataclasses import replace

import numpy as np
import pytest
from transformers import BertTokenizerFast

from alembert.data.questions.windows import Asked, Windows, encode_questions
from alembert.data.tasks import Task
from alembert.evaluation.metrics import labelled_rows, metrics
from alembert.evaluation.spans import scores
from alembert.evaluation.spans.sentences import baselines_of, no_answers, sentences_of
from alembert.evaluation.uncertainty.kept import drawn_of
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.io.answers import NEVER
from alembert.io.errors import UserError

TASK = Task("question answering", ("start", "end"), "f1", True)
CONTEXT = "the film was good. the music is bad. not the book"


@pytest.fixture
def data(tokenizer: BertTokenizerFast) -> Windows:
    """Four questions: two with answers, one without, and one that does not tell."""
    return encode_questions([
        Asked(id="a", text="what is bad", context=CONTEXT, answers=("music",), starts=(23,)),
        Asked(
            id="b", text="what was good", context=CONTEXT, answers=("film", "the film was"),
            starts=(4, 0),
        ),
        Asked(id="c", text="what is it", context=CONTEXT, answers=()),
        Asked(id="d", text="what is new", context=CONTEXT, answers=None),
    ], tokenizer, 64)  # fmt: skip


def logits_for(data: Windows, words: list[tuple[int, int]], none: float = 0.0) -> list[np.ndarray]:
    """Logits with 3 at the first and the last word of each question's span."""
    rows = [np.zeros((length, 2), np.float32) for length in data.lengths]
    for i, (first, last) in enumerate(words):
        rows[i][0] = none
        rows[i][data.tokens(i)[first], 0] = 3
        rows[i][data.tokens(i)[last], 1] = 3
    return rows


SPANS = [(5, 6), (1, 2), (1, 1), (1, 1)]  # "the music", "film was", "film", "film"


def test_the_mean_is_over_questions_that_tell_their_answers(data: Windows) -> None:
    found = metrics(TASK, logits_for(data, SPANS), data)
    # exact: music; f1: 1, 2 * 2 / (2 + 2) with "film was", 0 where no answer is right
    assert list(found) == ["f1", "exact_match"]
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    longer = metrics(TASK, logits_for(data, [(5, 7), *SPANS[1:]]), data)  # "the music is"
    assert longer["f1"] == pytest.approx((2 / 3 + 1) / 3)
    assert longer["exact_match"] == pytest.approx(1 / 3)


def test_no_answer_is_right_where_there_is_none(data: Windows) -> None:
    rows = logits_for(data, SPANS, none=4.0)  # 8 against 6
    assert metrics(TASK, rows, data)["f1"] == pytest.approx(2 / 3)
    assert metrics(TASK, rows, replace(data, threshold=1.9))["f1"] == pytest.approx(1 / 3)
    assert metrics(TASK, rows, replace(data, threshold=2.0))["f1"] == pytest.approx(2 / 3)


def test_the_threshold_is_that_of_the_model_or_of_its_logits(data: Windows) -> None:
    rows = logits_for(data, SPANS)
    rows[2][0] = 4.0  # the third question alone has no answer
    assert scores.with_threshold(data, {"null_threshold": 0.5}).threshold == 0.5
    assert scores.with_threshold(data, {}).threshold == 0.0
    chosen = scores.with_best_threshold(data, rows)
    assert -6 < chosen.threshold < 2
    assert metrics(TASK, rows, chosen)["f1"] == 1.0
    answered = replace(data, questions=data.questions[:2] * 2)
    assert scores.with_threshold(answered, {}).threshold == NEVER
    assert scores.with_best_threshold(answered, rows).threshold == NEVER


def test_intervals_draw_questions(data: Windows) -> None:
    rows = logits_for(data, SPANS)
    assert labelled_rows(TASK, rows, data).texts.tolist() == [0, 1, 2]
    drawn, n = drawn_of({"model": Rows.of(TASK, rows, data)}, "f1", draws=500)
    assert n == 3
    assert drawn["model"].value == pytest.approx(2 / 3)
    values = np.unique(drawn["model"].draws.round(9))
    assert values.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_loss_is_the_mean_over_windows_of_start_and_end(data: Windows) -> None:
    rows = [np.zeros((length, 2), np.float32) for length in data.lengths]
    tokens = len(data.tokens(0)) + 1  # with the first, which stands for no answer
    assert scores.loss(rows, data) == pytest.approx(math.log(tokens))
    for i, bit in ((0, 2.0), (1, 4.0)):
        rows[i][np.array(data[i]["spans"]) > 0] = bit
    both = [math.log((tokens - 1) / math.exp(bit) + 1) for bit in (2.0, 4.0)]
    # "film" is one token, at which both begin and end
    assert scores.loss(rows, data) == pytest.approx((sum(both) + math.log(tokens)) / 3)


def test_questions_that_tell_no_answer_cannot_be_evaluated(data: Windows) -> None:
    untold = data.take(np.array([3]))
    untold = replace(untold, questions=data.questions[3:], of=np.zeros(1, np.int64))
    with pytest.raises(UserError, match="no question has answers to evaluate on"):
        metrics(TASK, logits_for(untold, [(0, 0)]), untold)


def test_sentences_end_at_marks_before_blanks_and_at_lines() -> None:
    assert sentences_of("At 3.5 p.m. he left! Why?\nNobody knows") == [
        "At 3.5 p.m.", "he left!", "Why?", "Nobody knows",
    ]  # fmt: skip
    assert sentences_of(" ") == [""]


def test_the_baselines_answer_nothing_the_first_and_the_nearest_sentence(data: Windows) -> None:
    found = baselines_of(data, data)
    answers = {name: scores.answers_of(each.logits, data) for name, each in found.items()}
    assert answers == {
        "majority": [""] * 4,
        "first_sentence": ["the film was good."] * 4,
        "nearest_sentence": [
            "the music is bad.",
            *["the film was good."],
            *["the music is bad."] * 2,
        ],
    }
    assert metrics(TASK, no_answers(data), data)["f1"] == pytest.approx(1 / 3)
    again = found["nearest_sentence"].answer(("what is bad", CONTEXT))
    assert again.tolist() == ["the music is bad."]
