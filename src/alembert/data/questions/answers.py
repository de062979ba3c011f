"""Rows of questions in one form, with answers whose offsets are checked.

Each row has an id, a question, a context and answers: the lists `text` and `answer_start`, both
empty for a question that its context does not answer. An offset that does not fit its text is never
mended in silence: it is named with the question's id.
"""

import ast
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, List, Value

from alembert.data.files.skipped import BadRow
from alembert.data.labels import Columns, first_of, holds_text, is_list, list_names
from alembert.data.questions.offsets import fault_of, short
from alembert.data.several import replaced
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

QUESTION, CONTEXT = ("question",), ("context",)
ANSWERS = ("answers", "answer", "answer_text", "text")
STARTS = ("answer_start", "start", "answer_starts")
IDS = ("id", "qid", "question_id")
ID = "id"
_KEYS = {"text", "answer_start"}
_FEATURE = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
_ARRAY = re.compile(r"array\((\[.*?\])(?:, *dtype=[^()]*)?\)", re.DOTALL)  # as pandas prints them
_LONG = 100_000  # characters of a cell that is read as answers
_FIX = "--fix-offsets mends it"

log = logging.getLogger(__name__)
Named = tuple[str | None, str | None, str | None]


@dataclass(frozen=True)
class _Where:
    """The columns of a file of questions; `start` is None where `answers` holds the offsets."""

    question: str
    context: str
    answers: str
    start: str | None


def holds_answers(data: Dataset, column: str | None) -> bool:
    """Whether a column holds answers and their offsets, in the form that `read_questions` makes."""
    feature = data.features[column] if column is not None else None
    return isinstance(feature, dict) and set(feature) >= _KEYS


def are_questions(rows: Dataset, named: Named, kind: str | None) -> bool:
    """Whether rows are questions whose answers are spans of a context, or are said to be such."""
    return kind in (None, QUESTIONS) and _columns_of(rows, "", named, False) is not None


def read_questions(
    rows: Dataset, source: str, named: Named, kind: str | None, fix: bool, bad: BadRow
) -> tuple[Dataset, Columns] | None:
    """The rows in the form of questions, and their columns; None for rows of another kind of task.

    Answers are read from a dictionary of `text` and `answer_start` (or a list of such, or a text
    that spells one), or from a column of texts beside one of offsets. `fix` mends offsets that are
    off by one or by white space, and a line says how many. `bad` takes the questions of others.
    """
    if kind not in (None, QUESTIONS):
        return None
    where = _columns_of(rows, source, named, kind == QUESTIONS)
    if where is None:
        return None
    columns = Columns(where.question, where.context, where.answers)
    ids = _ids(rows)
    answers, good = _given(rows, where, source, ids), np.ones(len(rows), bool)
    mended = dict[str, str]()
    for row, (name, context) in enumerate(zip(ids, rows[where.context][:], strict=True)):
        faults = [
            fault_of(str(context or ""), text, start)
            for text, start in zip(*answers[row].values(), strict=True)
        ]
        wrong = [fault for fault in faults if fault is not None]
        if wrong and fix and all(fault.mended is not None for fault in wrong):
            mended[name] = wrong[0].why
            for place, fault in enumerate(faults):
                if fault is not None and fault.mended is not None:
                    for key, value in zip(answers[row], fault.mended, strict=True):
                        answers[row][key][place] = value
        elif wrong:
            worst = next((fault for fault in wrong if fault.mended is None), wrong[0])
            good[row] = False
            how = f"{_FIX}" if worst.mended else "fix it or drop the question"
            bad(source, f"question {name!r}", f"{worst.why}: {how}")
    _report(source, mended)
    rows = replaced(rows, where.answers, answers, _FEATURE)
    rows = replaced(rows, ID, ids, Value("string"))
    return (rows if good.all() else rows.select(np.flatnonzero(good))), columns


def _columns_of(rows: Dataset, source: str, named: Named, asked: bool) -> _Where | None:
    """The columns of questions; None where there are none and the user has not asked for them."""
    found = [
        first_of(rows, usual if name is None else [name.strip().casefold()])
        for name, usual in zip(named, (QUESTION, CONTEXT, ANSWERS), strict=True)
    ]
    question, context, answers = found
    start = first_of(rows, [name for name in STARTS if name not in found])
    if question is not None and context is not None and answers is not None:
        if _are_answers(rows, answers):
            return _Where(question, context, answers, None)
        texts = holds_text(rows, answers) or is_list(rows, answers)
        if start is not None and texts and len({*found, start}) == 4:
            return _Where(question, context, answers, start)
    if not asked:
        return None
    options = ("--text", "--text-pair", "--label")
    missing = [
        f"no column {name or usual[0]!r} ({option} names it)"
        for each, name, usual, option in zip(
            found, named, (QUESTION, CONTEXT, ANSWERS), options, strict=True
        )
        if each is None
    ]
    why = missing[0] if missing else (
        f"{answers!r} holds no dictionary of text and answer_start, and no column {STARTS[0]!r} "
        "has the offsets"
    )  # fmt: skip
    raise UserError(
        f"{source}: no questions with answers: {why}; there are "
        f"{list_names([repr(name) for name in rows.column_names])}"
    )


def _are_answers(rows: Dataset, column: str) -> bool:
    """Whether a column holds dictionaries of texts and offsets, lists of such, or texts of them."""
    feature = rows.features[column]
    if is_list(rows, column):
        feature = feature.feature
    if isinstance(feature, dict):
        return set(feature) >= _KEYS
    if not holds_text(rows, column):
        return False
    filled = [value for value in rows[column][:] if value and value.strip()]
    return bool(filled) and all(
        value.lstrip()[0] in "{[" and all(key in value for key in _KEYS) for value in filled
    )


def _ids(rows: Dataset) -> list[str]:
    """The id of each question: that of the file, or the number of its row."""
    column = first_of(rows, IDS)
    values = rows[column][:] if column is not None else [None] * len(rows)
    return [
        f"row {row}" if value is None else str(value) for row, value in enumerate(values, start=1)
    ]


def _given(
    rows: Dataset, where: _Where, source: str, ids: Sequence[str]
) -> list[dict[str, list[Any]]]:
    """The answers of each question as lists; a text without a letter is no answer."""
    values = rows[where.answers][:]
    starts = rows[where.start][:] if where.start is not None else [None] * len(rows)
    found = list[dict[str, list[Any]]]()
    for name, value, start in zip(ids, values, starts, strict=True):
        try:
            pairs = _pairs(value, start, where.start is not None)
        except (ValueError, TypeError, SyntaxError):
            raise UserError(
                f"{source}, question {name!r}: {where.answers!r} is {short(str(value))}, which "
                "is no text and answer_start: write {'text': [...], 'answer_start': [...]}"
            ) from None
        if pairs is None:
            raise UserError(
                f"{source}, question {name!r}: {where.answers!r} is empty: give an empty list to a "
                "question without an answer; questions of --unlabelled need no answers"
            )
        pairs = [(text, at) for text, at in pairs if text.strip()]
        found.append({"text": [each for each, _ in pairs], "answer_start": [at for _, at in pairs]})
    return found


def _pairs(value: Any, start: Any, apart: bool) -> list[tuple[str, int]] | None:
    """(text, offset) of each answer in a cell. Raises ValueError or TypeError for another form."""
    if apart:
        texts = value if isinstance(value, list) else [value or ""]
        starts = start if isinstance(start, list) else [start]
        if texts == [""]:
            return []
        return _zipped(texts, starts)
    if isinstance(value, str):
        if not value.strip():
            return None
        value = _spelt(value)
    if value is None:
        return None
    if isinstance(value, list):
        return [pair for each in value for pair in _pairs(each, None, False) or ()]
    if not isinstance(value, dict):
        raise ValueError("no dictionary")
    if value["text"] is None:
        return None
    lists = [each if isinstance(each, list) else [each] for each in map(value.get, sorted(_KEYS))]
    return _zipped(lists[1], lists[0])


def _zipped(texts: Sequence[Any], starts: Sequence[Any]) -> list[tuple[str, int]]:
    if len(texts) != len(starts):
        raise ValueError("as many texts as offsets")
    whole = [int(start) for start in starts]
    if not all(isinstance(text, str) for text in texts) or whole != list(starts):
        raise ValueError("texts and whole numbers")
    return list(zip(texts, whole, strict=True))


def _spelt(cell: str) -> Any:
    """The value that a cell spells: JSON, or Python as pandas writes it."""
    if len(cell) > _LONG:
        raise ValueError("too long")
    try:
        return json_of(cell)
    except ValueError:
        return ast.literal_eval(_ARRAY.sub(r"\1", cell))


def _report(source: str, mended: dict[str, str]) -> None:
    """Say how many answers were mended, by what, and in which questions."""
    if not mended:
        return
    kinds = Counter(why.rpartition("which is ")[2] for why in mended.values())
    told = ", ".join(f"{count:,} {why}" for why, count in kinds.items())
    names = list_names([repr(name) for name in mended])
    log.warning(f"{source}: offsets of answers are mended: {told} (questions {names})")
