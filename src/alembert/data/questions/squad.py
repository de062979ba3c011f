"""Documents in the form of SQuAD 1.1 and 2.0: a row a question."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alembert.io.errors import UserError
from alembert.io.parsing import TEXT, misfit

_PARAGRAPH = {"context": TEXT, "qas": [{"question": TEXT}]}

log = logging.getLogger(__name__)


def rows_of(content: Any, path: Path | str) -> list[dict[str, Any]] | None:
    """The questions of a document as rows of id, question, context and answers.

    Read is {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}, with or without the outer
    object, or the paragraphs alone. `answers` has the lists `text` and `answer_start`, which are
    empty where `is_impossible` says so, and is None where the document does not tell them. Returns
    None for a document of another form; raises UserError for one that lacks a part.
    """
    articles = content.get("data") if isinstance(content, dict) else content
    if not isinstance(articles, list) or not articles or not isinstance(articles[0], dict):
        return None
    if not {"paragraphs", "qas"} & set(articles[0]):
        return None
    rows = list[dict[str, Any]]()
    for paragraph in _paragraphs(articles, path):
        if reason := misfit(paragraph, _PARAGRAPH):
            raise UserError(f"{path}: a paragraph is not in SQuAD's form: {reason}")
        rows += (_row(each, paragraph["context"], path) for each in paragraph["qas"])
    if not rows:
        raise UserError(f"{path}: is in SQuAD's form and has no question")
    log.info(f"{path}: read as questions in SQuAD's form: {len(rows):,}")
    if all(row["answers"] is None for row in rows):  # of which a teacher tells the answers
        rows = [{name: row[name] for name in row if name != "answers"} for row in rows]
    return rows


def _paragraphs(articles: Sequence[Any], path: Path | str) -> Iterator[Any]:
    for number, article in enumerate(articles, start=1):
        inner = article.get("paragraphs") if isinstance(article, dict) else None
        if isinstance(inner, list):
            yield from inner
        elif isinstance(article, dict) and "qas" in article:
            yield article
        else:
            raise UserError(f"{path}, article {number}: has no list 'paragraphs', as SQuAD's have")


def _row(question: dict[str, Any], context: str, path: Path | str) -> dict[str, Any]:
    name = str(question.get("id", question["question"]))
    given, impossible = question.get("answers"), question.get("is_impossible") is True
    if impossible and given:
        raise UserError(
            f"{path}, question {name!r}: is_impossible is true and it has answers: drop one of them"
        )
    answers: dict[str, list[Any]] | None = None
    if impossible or given is not None:
        each = given or []
        if reason := misfit(each, [{"text": TEXT, "answer_start": "a whole number"}], "answers"):
            raise UserError(f"{path}, question {name!r}: {reason}")
        answers = {key: [answer[key] for answer in each] for key in ("text", "answer_start")}
    return {"id": name, "question": question["question"], "context": context, "answers": answers}
