"""Documents in SQuAD's form become rows, and what they lack is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.questions import asked, squad

from alembert.data.sources import read
from alembert.io.errors import UserError

CONTEXT = "The film was made in Rome."


def row(
    context: str, question: dict[str, Any], text: list[str], start: list[int]
) -> dict[str, Any]:
    answers = {"text": text, "answer_start": start}
    return {
        "id": question["id"], "question": question["question"], "context": context,
        "answers": answers,
    }  # fmt: skip


def test_each_question_is_a_row_with_its_context(tmp_path: Path) -> None:
    first = asked("a", "Where?", ("Rome", 21), ("in Rome", 18))
    second = asked("b", "Who?", is_impossible=True)
    path = squad(tmp_path / "q.json", [(CONTEXT, [first]), ("Nobody.", [second])])
    assert read(path).to_list() == [
        row(CONTEXT, first, ["Rome", "in Rome"], [21, 18]),
        row("Nobody.", second, [], []),
    ]


def test_paragraphs_alone_and_splits_are_read(tmp_path: Path) -> None:
    paragraph = {"context": CONTEXT, "qas": [asked("a", "Where?", ("Rome", 21))]}
    for name, content in (
        ("p.json", [paragraph]),
        ("d.json", {"data": [paragraph]}),
        ("s.json", {"train": {"data": [{"paragraphs": [paragraph]}]}, "test": [{"x": 1}]}),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        assert read(str(tmp_path / name))["id"] == ["a"]


def test_questions_that_tell_no_answers_have_no_such_column(tmp_path: Path) -> None:
    path = squad(tmp_path / "q.json", [(CONTEXT, [{"question": "Where?"}])])
    assert read(path).to_list() == [{"id": "Where?", "question": "Where?", "context": CONTEXT}]


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        ([asked("a", "Who?", ("Rome", 21), is_impossible=True)], "question 'a': is_impossible is"),
        ([{"id": "a", "question": "Who?", "answers": [{"text": "Rome"}]}], "no 'answers[0].answer"),
        ([{"id": "a", "answers": []}], "no 'qas[0].question' in it"),
        ([], "has no question"),
    ],
)
def test_what_is_not_in_the_form_is_named(
    tmp_path: Path, questions: list[dict[str, Any]], says: str
) -> None:
    path = squad(tmp_path / "q.json", [(CONTEXT, questions)])
    with pytest.raises(UserError) as refused:
        read(path)
    assert says in str(refused.value)
