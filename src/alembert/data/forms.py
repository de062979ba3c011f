"""Rewrites labels of the forms that files have to those that tasks are inferred from.

A class is a string, several labels are a list of strings (or of ids with names), a score is a
float, and a tag is one of B-, I-, E-, S- and O. What is read as what is reported.
"""

import logging
import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, List, Value

from alembert.data import schemes, several
from alembert.data.files.numbers import formula_error, numbers_of
from alembert.data.files.skipped import Skips, refuse, without_unjudged
from alembert.data.labels import (
    LABELS,
    LOOSE_PAIRS,
    SCORES,
    TAGS,
    TEXTS,
    WORDS,
    Columns,
    find_columns,
    first_of,
    holds_text,
    is_list,
    label_column,
    list_names,
)
from alembert.data.questions.answers import read_questions
from alembert.data.tasks import KINDS, kind_of
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError

_MOST_CLASSES = 20  # whole numbers written as fractions are scores when there are more of them

log = logging.getLogger(__name__)
Named = tuple[str | None, str | None, str | None]


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the labels of a run's files are read: as the user says, or as those of train are.

    `names` are those of the places of a 0/1 vector, and `separator` stands between several labels
    in one text.
    """

    kind: str | None = None  # one of KINDS
    names: tuple[str, ...] = ()
    separator: str = ""
    fix_offsets: bool = False  # of answers: those are mended that are off by one or white space

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise UserError(f"--kind {self.kind}: choose {', '.join(KINDS)}")


@dataclass(frozen=True)
class Labelled:
    """Rows whose labels are in the form of tasks, and the teacher's labels in the same form."""

    rows: Dataset
    columns: Columns
    form: Form
    known: Sequence[str] | None


def read_labels(
    rows: Dataset,
    source: str,
    named: Named,
    known: Sequence[str] | None = None,
    form: Form | None = None,
    skips: Skips | None = None,
) -> Labelled:
    """The rows with their labels rewritten. `named` has the user's text, text pair and label.

    Raises UserError that names the row or column, and where two readings are as plausible.
    """
    form = form or Form()
    asked = read_questions(rows, source, named, form.kind, form.fix_offsets, skips or refuse)
    if asked is not None:
        kept = _without_empty(*asked, source, skips or Skips())
        return Labelled(kept, asked[1], replace(form, kind=QUESTIONS), None)
    rows = without_unjudged(rows, named[2], source)
    rows = several.with_flags(_with_lists(rows, named), source, named[2])
    columns = find_columns(rows, source, *named)
    column = label_column(columns, source)
    _report_pair(columns, source, named)
    if skips is not None and (skips.most or skips.all_listed):
        rows = _without_empty(rows, columns, source, skips)
    if is_list(rows, columns.text):
        if is_list(rows, column):
            rows = schemes.without_languages(rows, columns.text, source)
            if named[2] is None:
                schemes.report_choice(rows, column, source)
            rows, known = schemes.with_spans(rows, column, source, known)
        return Labelled(rows, columns, replace(form, kind="tokens"), known)
    if form.kind == "tokens":
        raise UserError(f"--kind tokens: {source} has no lists of words in {columns.text!r}")
    rows, form = _rewritten(rows, column, source, known, form)
    if form.kind is None:
        form = replace(form, kind=kind_of(rows, columns, source, known))
    return Labelled(rows, columns, form, known)


def _with_lists(rows: Dataset, named: Named) -> Dataset:
    """The rows with words and tags as lists, where both are texts and no other label is there."""
    words = named[0] or first_of(rows, WORDS) or first_of(rows, TEXTS)
    tags = named[2] or first_of(rows, TAGS)
    if named[2] is None and first_of(rows, LABELS) not in (None, tags):
        return rows
    if words is None or tags is None or words == tags:
        return rows
    there = words in rows.column_names and tags in rows.column_names
    if not there or not (holds_text(rows, words) and holds_text(rows, tags)):
        return rows
    return several.with_lists(rows, words, tags)


def _report_pair(columns: Columns, source: str, named: Named) -> None:
    pair = (columns.text.casefold(), (columns.text_pair or "").casefold())
    if named[0] is None and pair in LOOSE_PAIRS:
        log.info(
            f"{source}: {columns.text!r} and {columns.text_pair!r} are read as a pair of texts; "
            "--text names one alone"
        )


def _without_empty(rows: Dataset, columns: Columns, source: str, skips: Skips) -> Dataset:
    """The rows without those whose text or label is empty, which `skips` lists."""
    good = np.ones(len(rows), bool)
    for name in filter(None, (columns.text, columns.text_pair, columns.label)):
        lists = is_list(rows, name)
        for row, value in enumerate(rows[name][:]):
            empty = value is None or (name != columns.label and lists and not value)
            if not lists and (not str(value).strip() or value != value):  # NaN
                empty = True
            if empty and good[row]:
                good[row] = False
                skips(source, f"row {row + 1}", f"{name!r} is empty; fill it or drop the row")
    return rows if good.all() else rows.select(np.flatnonzero(good))


def _rewritten(
    rows: Dataset, column: str, source: str, known: Sequence[str] | None, form: Form
) -> tuple[Dataset, Form]:
    feature, values = rows.features[column], rows[column][:]
    if isinstance(feature, dict):  # {"sport": 1, "travel": 0}
        several.check_flags(feature, source, column)
        lists = [None if v is None else [v[name] or 0 for name in feature] for v in values]
        return _of_vectors(rows, column, lists, source, known, replace(form, names=tuple(feature)))
    if is_list(rows, column):
        inner = feature.feature
        if isinstance(inner, ClassLabel):
            return rows, form
        if not isinstance(inner, Value):
            raise UserError(
                f"{source}: {column!r} holds lists of objects, such as spans of characters, and "
                "not of labels: write words and their tags (CoNLL), or labels a row"
            )
        return _of_lists(rows, column, values, source, known, form)
    if holds_text(rows, column):
        return _of_texts(rows, column, values, source, known, form)
    number = str(getattr(feature, "dtype", "")).startswith(("int", "uint", "float"))
    if isinstance(feature, ClassLabel) or not number:
        return rows, form
    return _of_numbers(rows, column, values, source, known, form)


def _of_lists(
    rows: Dataset,
    column: str,
    lists: Sequence[Any],
    source: str,
    known: Sequence[str] | None,
    form: Form,
) -> tuple[Dataset, Form]:
    """Lists of labels, or 0/1 vectors."""
    if form.names or several.is_vectors(lists):
        return _of_vectors(rows, column, lists, source, known, form)
    for row, each in enumerate(lists, start=1):
        for item in each or ():
            if isinstance(item, float) and not item.is_integer():
                raise UserError(
                    f"{source}, row {row}: {column!r} holds {item!r}; of several labels each is 0 "
                    "or 1: round the fractions, or name another column with --label"
                )
    texts = [each and [item if item is None else _name(item) for item in each] for each in lists]
    if texts == rows[column][:]:
        return rows, form
    return several.replaced(rows, column, texts, List(Value("string"))), form


def _of_vectors(
    rows: Dataset,
    column: str,
    lists: Sequence[Any],
    source: str,
    known: Sequence[str] | None,
    form: Form,
) -> tuple[Dataset, Form]:
    names = form.names or tuple(known or ())
    if not names:
        names = tuple(map(str, range(max(len(each) for each in lists if each is not None))))
    ids = several.vector_ids(lists, names, source, column)
    if form.kind == "classification":
        if wrong := [row for row, each in enumerate(ids, start=1) if len(each) != 1]:
            raise UserError(
                f"{source}, row {wrong[0]}: {column!r} has not one 1; --kind multilabel reads any"
            )
        classes = [names[each[0]] for each in ids]
        return several.replaced(rows, column, classes, Value("string")), replace(form, names=names)
    if form.kind is None:
        several.report_vectors(source, column, names, ids)
    return several.with_names(rows, column, ids, names), replace(form, names=names)


def _of_texts(
    rows: Dataset,
    column: str,
    values: Sequence[Any],
    source: str,
    known: Sequence[str] | None,
    form: Form,
) -> tuple[Dataset, Form]:
    """Classes, several labels in one text, or numbers with a decimal comma."""
    filled = [value.strip() for value in values if value and value.strip()]
    scored = form.kind == "regression" or (
        form.kind is None and column.strip().casefold() in SCORES
    )
    if form.kind in (None, "multilabel") and (lists := several.parsed_lists(values)):
        several.check_flat(lists, source, column)
        if form.kind is None and not several.is_vectors(lists):
            labels = sorted({item for each in lists for item in each or ()})
            several.report_texts(source, column, filled[0], labels)
        return _of_lists(rows, column, lists, source, known, form)
    if form.kind in (None, "multilabel") and (lists := several.bits(values, known)):
        if form.kind is None and known is None:
            raise several.ambiguous(source, column, filled[0])
        return _of_vectors(rows, column, lists, source, known, form)
    if form.kind in (None, "multilabel"):
        separator = form.separator
        if not separator and not scored and (known is not None or form.kind is None):
            separator = several.separator_of(filled, known, source, column)
        elif not separator and form.kind == "multilabel":
            separator = next((s for s in several.SEPARATORS if any(s in f for f in filled)), "")
        if separator or form.kind == "multilabel":
            lists = [several.split(v, separator) if v and v.strip() else None for v in values]
            if separator and not form.separator:
                example = next((text for text in filled if separator in text), "")
                labels = sorted({item for each in lists for item in each or ()})
                several.report_texts(source, column, example, labels)
            texts = several.replaced(rows, column, lists, List(Value("string")))
            return texts, replace(form, separator=separator)
    if form.kind != "classification":
        scores = numbers_of(values, source, column, scored, known)
        if scores is not None:
            return _of_numbers(rows, column, scores, source, known, form)
    return _of_names(rows, column, values, source, known), form


def _of_numbers(
    rows: Dataset,
    column: str,
    values: Sequence[Any],
    source: str,
    known: Sequence[str] | None,
    form: Form,
) -> tuple[Dataset, Form]:
    """Scores, or classes that are whole numbers.

    Those written as fractions (1.0) are classes unless the column is called score or similarity.
    """
    numbers = [value for value in values if value is not None and value == value]  # no NaN
    fractions = any(isinstance(value, float) for value in numbers)
    whole = all(math.isfinite(value) and float(value).is_integer() for value in numbers)
    scored = column.strip().casefold() in SCORES or (known is not None and len(known) == 1)
    few = len(set(numbers)) <= _MOST_CLASSES
    classes = fractions and whole and few and not scored and bool(numbers)
    if form.kind == "regression" or (form.kind is None and fractions and not classes):
        floats = [None if value is None else float(value) for value in values]
        if floats == list(values) and str(rows.features[column].dtype).startswith("float"):
            return rows, form
        return several.replaced(rows, column, floats, Value("float64")), form
    if form.kind is None and not classes:
        return rows, form
    names = [None if value is None or value != value else _name(value) for value in values]
    if form.kind is None:
        log.info(
            f"{source}: {column!r} is read as the classes "
            f"{list_names(sorted({n for n in names if n is not None}, key=int))}; --kind "
            "regression reads it as scores"
        )
    return several.replaced(rows, column, names, Value("string")), form


def _name(value: Any) -> str:
    """A label as a name: 1 for 1.0, and texts without blanks at the ends."""
    whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return several.bare(str(int(value) if whole else value))


def _of_names(
    rows: Dataset, column: str, values: Sequence[Any], source: str, known: Sequence[str] | None
) -> Dataset:
    """Class names without blanks at their ends; those that look alike are reported.

    Raises UserError for the error of a spreadsheet's formula.
    """
    names = [several.bare(value) if value else value for value in values]
    distinct = {name for name in names if name}
    if (error := formula_error(distinct)) and error not in (known or ()):
        row = names.index(error) + 1
        raise UserError(
            f"{source}, row {row}: {column!r} is {error!r}, the error of a formula; fix it or "
            "drop the row"
        )
    if known is None:
        _report_alike(distinct, source)
    blanks = [value for value, name in zip(values, names, strict=True) if name and name != value]
    if not blanks:
        return rows
    log.info(f"{source}: labels are read without blanks at their ends ({blanks[0]!r})")
    return several.replaced(rows, column, names, Value("string"))


def _report_alike(names: set[str], source: str) -> None:
    """Reports names that differ by case, blanks or the form of accents alone."""
    by_look = defaultdict[str, set[str]](set)
    for name in names:
        by_look[unicodedata.normalize("NFC", " ".join(name.split())).casefold()].add(name)
    for alike in filter(lambda each: len(each) > 1, by_look.values()):
        by_case = len({name.casefold() for name in alike}) == 1
        which = "differ by case alone" if by_case else "look alike"
        shown = ", ".join(map(ascii if not by_case else repr, sorted(alike)))
        log.warning(f"{source}: labels that {which} are different classes: {shown}")
        return
