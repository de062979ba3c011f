"""Questions of any file get one form, and offsets that do not fit are named and mended."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.questions import asked, squad

from alembert.data.forms import Labelled
from alembert.data.questions.offsets import fault_of
from alembert.data.splits import Files
from alembert.io.errors import UserError

CONTEXT = "The film was made in Rome."
ROME = {"text": ["Rome"], "answer_start": [21]}
NONE: dict[str, list[Any]] = {"text": [], "answer_start": []}


def labelled(path: str | Path, **more: Any) -> Labelled:
    files = Files(train=str(path), **more)
    return files.labelled(files.train, None)


def written(path: Path, answers: Sequence[object]) -> Path:
    rows = [{"question": "Where?", "context": CONTEXT, "answers": each} for each in answers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_dictionary_a_list_and_a_text_of_answers_are_the_same(tmp_path: Path) -> None:
    forms = {
        "d.jsonl": [ROME, NONE],
        "l.jsonl": [[{"text": "Rome", "answer_start": 21}], []],
        "s.jsonl": [json.dumps(ROME), json.dumps(NONE)],
        "p.jsonl": [
            "{'text': array(['Rome'], dtype=object), 'answer_start': array([21], dtype=int32)}",
            "{'text': array([], dtype=object), 'answer_start': array([], dtype=int32)}",
        ],
    }
    for name, answers in forms.items():
        read = labelled(written(tmp_path / name, answers))
        assert read.form.kind == "question answering"
        assert read.rows["answers"][:] == [ROME, NONE], name
        assert read.rows["id"][:] == ["row 1", "row 2"]


def test_a_csv_has_the_text_and_the_offset_in_two_columns(tmp_path: Path) -> None:
    for text, start in (("answer", "start"), ("text", "answer_start")):
        path = tmp_path / f"{text}.csv"
        rows = {"id": [7, 8], "question": ["Where?", "Who?"], "context": [CONTEXT, CONTEXT]}
        pd.DataFrame(rows | {text: ["Rome", ""], start: [21, ""]}).to_csv(path, index=False)
        read = labelled(path)
        assert read.rows[text][:] == [ROME, NONE]
        assert read.rows["id"][:] == ["7", "8"]
        assert read.columns.texts == ["question", "context"]


def test_parquet_of_the_hub_and_named_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    frame = pd.DataFrame({"ask": ["Where?"], "passage": [CONTEXT], "gold": [ROME]})
    frame.to_parquet(path)
    named = {"text": "ask", "text_pair": "passage", "label": "gold"}
    assert labelled(path, **named).rows["gold"][:] == [ROME]


def test_rows_in_memory_are_read() -> None:
    rows = [{"question": "Where?", "context": CONTEXT, "answers": each} for each in (ROME, NONE)]
    for given in (rows, pd.DataFrame(rows)):
        files = Files(train=given)
        assert files.labelled(files.train, None).rows["answers"][:] == [ROME, NONE]


def test_a_pair_of_texts_with_a_label_stays_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    rows = [f"is it fun,{text},{label}" for label, text in enumerate(("good", "bad")) for _ in "12"]
    path.write_text("\n".join(["question,context,label", *rows]))
    assert labelled(path).form.kind == "classification"


def test_questions_without_offsets_are_refused_only_where_they_are_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.csv"
    path.write_text(f'question,context,answer\nWhere?,"{CONTEXT}",Rome\n')
    with pytest.raises(UserError, match="no column 'answer_start' has the offsets"):
        labelled(path, kind="question answering")
    path.write_text(f'question,answer\nWhere?,"{CONTEXT}"\n')
    with pytest.raises(UserError, match="no column 'context'"):
        labelled(path, kind="question answering")


@pytest.mark.parametrize(
    ("context", "text", "start", "mended", "why"),
    [
        (CONTEXT, "Rome", 21, None, None),
        (CONTEXT, "Rome", 20, ("Rome", 21), "off by one"),
        (CONTEXT, "Rome", 22, ("Rome", 21), "off by one"),
        ("Rome is old", "Rome", 1, ("Rome", 0), "off by one"),
        (CONTEXT, " Rome", 19, (" Rome", 20), "off by one"),
        (CONTEXT, "Rome ", 21, ("Rome", 21), "off by white space"),
        ("made   in  Rome", "in Rome", 5, ("in  Rome", 7), "off by white space"),
        ("made\u00a0in Rome", "in Rome", 5, None, None),
        ("in\u00a0Rome", "in Rome", 0, ("in\u00a0Rome", 0), "off by white space"),
        ("a  b  c Rome", "Rome", 6, ("Rome", 8), "off by white space"),
        ("  a b Rome", "Rome", 4, ("Rome", 6), "off by white space"),
        (CONTEXT, "Rome", 3, None, "the nearest such text begins at 21"),
        (CONTEXT, "Paris", 21, None, "'Paris' is not in the context"),
        (CONTEXT, "Rome", -1, None, "the nearest such text begins at 21"),
        (CONTEXT, "Rome", 400, None, "the nearest such text begins at 21"),
    ],
)
def test_an_offset_is_mended_by_one_and_by_white_space_alone(
    context: str, text: str, start: int, mended: tuple[str, int] | None, why: str | None
) -> None:
    fault = fault_of(context, text, start)
    assert (fault and fault.mended) == mended
    assert (fault is None) if why is None else (fault is not None and why in fault.why)
    if mended is not None:
        assert context.startswith(*mended)


def file_with(tmp_path: Path, **starts: int) -> str:
    questions = [asked(name, "Where?", ("Rome", start)) for name, start in starts.items()]
    return squad(tmp_path / "q.json", [(CONTEXT, questions)])


def test_a_wrong_offset_is_named_with_its_question(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        labelled(file_with(tmp_path, right=21, wrong=20))
    assert "question 'wrong': its answer 'Rome' begins at 20" in str(refused.value)
    assert "off by one: --fix-offsets mends it" in str(refused.value)


def test_mending_is_said_and_what_is_not_sure_stays_refused(
    tmp_path: Path, news: list[str]
) -> None:
    read = labelled(file_with(tmp_path, right=21, one=20), fix_offsets=True)
    assert read.rows["answers"][:] == [ROME, ROME]
    assert any("offsets of answers are mended: 1 off by one (questions 'one')" in n for n in news)
    with pytest.raises(UserError, match=r"question 'far'.*begins at 21: fix it or drop"):
        labelled(file_with(tmp_path, far=2), fix_offsets=True)


def test_questions_that_cannot_be_read_are_skipped_when_asked(tmp_path: Path) -> None:
    read = labelled(file_with(tmp_path, right=21, far=2), skip_bad_rows=1)
    assert read.rows["id"][:] == ["right"]


def test_missing_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="question 'row 2': 'answers' is empty"):
        labelled(written(tmp_path / "q.jsonl", [ROME, None]))
    odd = {"text": ["Rome"], "answer_start": [1, 2]}
    with pytest.raises(UserError, match=r"question 'row 1': 'answers' is .* no text and answer_st"):
        labelled(written(tmp_path / "r.jsonl", [odd]))
