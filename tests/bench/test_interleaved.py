"""Models answer the same texts in turns: who is asked when, how long it takes, what is compared."""

import time
from collections.abc import Callable

import pytest

from alembert.bench import interleaved
from alembert.bench.interleaved import FEWEST, MOST, TURN, Timed, further, time_in_turns
from alembert.bench.rows import Subject
from alembert.io.answers import Text

TEXTS = [f"text {number}" for number in range(50)]
TOKENS = [3 + number % 3 for number in range(50)]


@pytest.fixture(autouse=True)
def on_as_many_texts_as_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "MOST", MOST)


def model(name: str, answer: Callable[[Text], object], backend: str = "torch") -> Timed:
    subject = Subject(model=name, backend=backend, threads=1, size_mb=1.5, parameters=7)
    return Timed(subject=subject, answer=answer)


def busy(seconds: float) -> Callable[[Text], object]:
    """What takes this much CPU time to answer."""

    def answer(text: Text) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    return answer


def test_every_model_answers_the_same_turn_of_texts_before_the_next_turn_begins() -> None:
    asked: list[tuple[str, Text]] = []
    models = [
        model("teacher", lambda text: asked.append(("teacher", text))),
        model("student", lambda text: asked.append(("student", text)), "int8"),
    ]
    rows = time_in_turns(models, TEXTS, TOKENS, ["teacher:torch"])
    asked = asked[4:]  # each model has warmed up on two texts
    width = TURN + 1  # the last text of a turn comes first, too: it warms up
    for number in range(MOST // TURN):
        start = number * 2 * width
        turn = [TEXTS[(number * TURN + i) % len(TEXTS)] for i in range(TURN)]
        for place, name in enumerate(("teacher", "student")):
            found = asked[start + place * width : start + (place + 1) * width]
            assert found == [(name, text) for text in (turn[-1], *turn)]
    assert len(asked) == 2 * width * (MOST // TURN)
    teacher, student = rows
    assert (teacher.rounds, teacher.ratios, teacher.batch, teacher.threads) == (15, (), 1, 1)
    assert (student.model, student.backend, student.length) == ("student", "int8", 4)
    assert (student.size_mb, student.parameters, student.peak_rss_mb) == (1.5, 7, None)
    assert [(ratio.to, ratio.of) for ratio in student.ratios] == [("teacher:torch", "cpu")]


@pytest.mark.clock
def test_a_model_that_needs_a_third_of_the_time_is_three_times_as_fast() -> None:
    models = [model("teacher", busy(0.003)), model("student", busy(0.001))]
    teacher, student = time_in_turns(models, TEXTS, TOKENS, ["teacher:torch"], seconds=1.0)
    assert teacher.cpu_ms["median"] == pytest.approx(3, rel=0.2)
    assert student.ratios[0].value == pytest.approx(3, rel=0.2)
    assert student.ratios[0].low <= student.ratios[0].value <= student.ratios[0].high


def test_slow_models_are_asked_about_fewer_texts_and_a_line_says_so(news: list[str]) -> None:
    asked: list[Text] = []

    def slow(text: Text) -> None:
        asked.append(text)
        time.sleep(0.2)

    [row] = time_in_turns([model("teacher", slow)], TEXTS, TOKENS, [], seconds=1.0)
    assert row.rounds >= FEWEST
    assert len(asked) <= 12  # 2 seconds and a bit
    count = row.rounds  # of a text each
    assert news == [f"timed on {count} texts and not on 120: more would take over 1 s"]


def test_whatever_answers_a_text_is_a_row_by_its_name() -> None:
    asked: list[Text] = []
    models = [model("teacher", len), *further({"tfidf": asked.append})]
    pairs = [("a film", "a book")] * 3
    rows = time_in_turns(models, pairs, [7] * 3, ["teacher:torch", "nobody:torch"])
    assert [(row.model, row.backend) for row in rows] == [
        ("teacher", "torch"), ("tfidf", "scikit-learn")
    ]  # fmt: skip
    assert (rows[1].size_mb, rows[1].parameters, rows[1].length) == (0, 0, 7)
    assert [ratio.to for ratio in rows[1].ratios] == ["teacher:torch"]
    assert set(asked) == {("a film", "a book")}


def test_fewer_texts_than_a_turn_has_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "MOST", 6)
    asked: list[Text] = []
    [row] = time_in_turns([model("teacher", asked.append)], TEXTS[:2], TOKENS[:2], [])
    assert row.rounds == 3
    assert asked[2:] == ["text 1", "text 0", "text 1"] * 3
