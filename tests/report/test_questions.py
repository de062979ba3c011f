"""The list of questions that a student answers worse than its teacher, better, or as wrongly."""

import json
from pathlib import Path

import pytest

from alembert.evaluation.spans import listed
from alembert.evaluation.spans.listed import Answered
from alembert.io.errors import UserError
from alembert.report.errors import NONE, of_questions


def row(name: str, teacher: float, student: float, deployed: float, *right: str) -> Answered:
    f1 = {"teacher": teacher, "student": student, "deployed": deployed}
    given = {who: f"{who} {value:g}" if value else "" for who, value in f1.items()}
    return Answered(id=name, question=f"who is {name}", right=right, given=given, f1=f1)


def test_lost_questions_come_first_the_greatest_losses_before_all() -> None:
    rows = [
        row("all right", 1, 1, 1, "x"),
        row("both", 0.5, 1, 0.5, "x"),
        row("won", 0.5, 0, 1, "x"),
        row("a little", 1, 1, 0.75, "x", "y", "x"),
        row("a lot", 1, 1, 0),
    ]
    section = of_questions(rows)
    assert section is not None
    assert section.head[:5] == ("outcome", "question", "right", "teacher", "deployed")
    assert section.rows == (
        ("lost", "who is a lot", NONE, "teacher 1", NONE, "100 %", "0 %"),
        ("lost", "who is a little", "x / y", "teacher 1", "deployed 0.75", "100 %", "75 %"),
        ("won", "who is won", "x", "teacher 0.5", "deployed 1", "50 %", "100 %"),
        ("both wrong", "who is both", "x", "teacher 0.5", "deployed 0.5", "50 %", "50 %"),
    )
    assert "for 2 (lost), a higher one for 1 (won), and both are as wrong for 1." in section.lead


def test_a_model_alone_has_its_wrong_answers_and_a_right_one_none() -> None:
    alone = [
        Answered(id=f"{n}", question="q", right=("x",), given={"student": "y"}, f1={"student": f1})
        for n, f1 in enumerate((1.0, 0.5, 0.0))
    ]
    section = of_questions(alone)
    assert section is not None
    assert [each[-1] for each in section.rows] == ["0 %", "50 %"]
    assert of_questions(alone[:1]) is None
    assert of_questions([]) is None


def test_what_is_listed_is_read_again_and_a_broken_file_is_refused(tmp_path: Path) -> None:
    rows = [row("one", 1, 0.5, 0.25, "x"), row("two", 1, 0, 0)]
    listed.save(tmp_path, rows)
    assert listed.load(tmp_path) == rows
    content = json.loads((tmp_path / listed.FILE).read_text())
    broken = tmp_path / "broken"
    for change, complaint in (
        ({"f1": {"teacher": "high"}}, "is 'high' and not a number"),
        ({"given": {"teacher": "x"}}, "are not of the same models"),
    ):
        broken.mkdir(exist_ok=True)
        (broken / listed.FILE).write_text(json.dumps([{**content[0], **change}]))
        with pytest.raises(UserError, match=complaint):
            listed.load(broken)
