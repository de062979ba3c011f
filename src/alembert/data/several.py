"""Several labels a text: 0/1 vectors, columns of 0 and 1, lists that became text, separators."""

import ast
import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from alembert.data.labels import ZERO_ONE, list_names
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

SEPARATORS = ("\n", "|", ";", ",")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_SPACED = re.compile(r"[01]([ ,;|]+[01]){2,}")  # two places could be a number with a comma
_BITS = re.compile("[01]{3,}")
_PRINTED = re.compile(r"(?:tensor|array)\((\[.*\])(?:, *\w+=[^()]*)*\)", re.DOTALL)
_ENDS = re.compile(r"^[\s\u200b-\u200f\u2060\ufeff]+|[\s\u200b-\u200f\u2060\ufeff]+$")
_LONG = 1_000_000  # characters, of which Python makes some hundred times as many bytes
_DEEP = 64  # brackets in a text that is read as a list of lists
_TRUE = {"1", "1.", "1.0", "True", "true", "TRUE"}
_AS_CLASSES = "--kind classification reads each text as one class"

log = logging.getLogger(__name__)


def replaced(rows: Dataset, column: str, values: Sequence[Any], feature: Any) -> Dataset:
    """The rows with other values in a column, or with a new one."""
    names = list(dict.fromkeys((*rows.column_names, column)))
    kept = rows.remove_columns(column) if column in rows.column_names else rows
    return kept.add_column(column, list(values), feature=feature).select_columns(names)


def with_names(rows: Dataset, column: str, ids: Sequence[Any], names: Sequence[str]) -> Dataset:
    """The rows with ids of these names, a list of them each, in a column."""
    return replaced(rows, column, ids, List(ClassLabel(names=list(names))))


def with_flags(rows: Dataset, source: str, label: str | None) -> Dataset:
    """The rows with a column for the labels that `--label a,b,c` names, if it names several.

    Each of these is a column of 0 and 1. Raises UserError for a row with something else.
    """
    parts = [part.strip() for part in (label or "").split(",")]
    named = {name.casefold(): name for name in reversed(rows.column_names)}
    if label is None or label in rows.column_names or len(parts) < 2:
        return rows
    if missing := [part for part in parts if part.casefold() not in named]:
        there = list_names(rows.column_names)
        raise UserError(f"--label {label}: {source} has no column {missing[0]!r}; it has {there}")
    names = [named[part.casefold()] for part in parts]
    for name in names:
        for row, value in enumerate(rows[name][:], start=1):
            if str(value) not in ZERO_ONE:
                raise UserError(
                    f"{source}, row {row}: {name!r} is {value!r}; of several label columns each "
                    "holds 0 or 1: fix the row or drop it"
                )
    flags = [[str(value) in _TRUE for value in rows[name][:]] for name in names]
    ids = [[i for i, flag in enumerate(row) if flag] for row in zip(*flags, strict=True)]
    return with_names(rows, label, ids, names)


def bare(text: str) -> str:
    """A text without blanks at its ends, those of no width included."""
    return _ENDS.sub("", text)


def parsed_lists(values: Sequence[Any]) -> list[list[Any] | None] | None:
    """The lists that texts such as "['a', 'b']" were; None unless all filled ones are such."""
    values = [_printed(value) if isinstance(value, str) else value for value in values]
    filled = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    brackets = all(_BRACKETS.get(text[0]) == text[-1] for text in filled)
    spaced = all(_SPACED.fullmatch(text) for text in filled)
    if not filled or not (brackets or spaced):
        return None
    return [
        _items(value.strip()) if isinstance(value, str) and value.strip() else None
        for value in values
    ]


def _printed(text: str) -> str:
    """The list in a text that numpy or torch prints, such as "tensor([1., 0.])"."""
    match = _PRINTED.fullmatch(text.strip())
    return text if match is None else match[1]


def _items(text: str) -> list[Any]:
    inner = text[1:-1].strip() if text[0] in _BRACKETS else text
    # such as escapes, objects and lists of lists
    if "\\" in inner or (text[0] == "{" and ":" in inner) or any(b in inner for b in _BRACKETS):
        value = _literal(text)
        if isinstance(value, list | tuple | set):
            return sorted(value, key=str) if isinstance(value, set) else list(value)
        if isinstance(value, dict):
            return [value]
    if quoted := _QUOTED.findall(inner):
        return [bare(one or other) for one, other in quoted]
    parts = re.split(r"[,;|]", inner) if re.search(r"[,;|]", inner) else inner.split()
    return [bare(part) for part in parts if bare(part)]


def _literal(text: str) -> Any:
    """The value of a text in JSON or as Python prints it; None for another text."""
    try:
        return json_of(text)
    except ValueError:
        if len(text) > _LONG or sum(map(text.count, "[({")) > _DEEP:
            return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return None


def check_flat(lists: Sequence[Sequence[Any] | None], source: str, column: str) -> None:
    """Raises UserError for lists of objects or of lists, which are no labels."""
    for row, each in enumerate(lists, start=1):
        if any(isinstance(item, dict | list | tuple | set) for item in each or ()):
            raise UserError(
                f"{source}, row {row}: {column!r} holds lists of objects, such as spans of "
                "characters, and not of labels: write words and their tags (CoNLL), or labels a row"
            )


def check_flags(feature: dict[str, Any], source: str, column: str) -> None:
    """Raises UserError for objects whose values are no 0 and 1."""
    if not all(isinstance(each, Value) for each in feature.values()):
        raise UserError(
            f"{source}: {column!r} holds objects, and not labels: export a text and a label a row, "
            "or name another column with --label"
        )


def bits(values: Sequence[Any], known: Sequence[str] | None) -> list[list[str] | None] | None:
    """The 0/1 vectors that texts such as "0110" are; None unless all are such of one length.

    None, too, for labels of a model (`known`).
    """
    filled = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    if not filled or len(set(map(len, filled))) > 1 or not all(map(_BITS.fullmatch, filled)):
        return None
    if filled[0] in (known or ()):
        return None
    return [list(value.strip()) if value and value.strip() else None for value in values]


def is_vectors(lists: Sequence[Sequence[Any] | None]) -> bool:
    """Whether lists are 0/1 vectors: of one length, two or more, with nothing else in them."""
    filled = [each for each in lists if each is not None]
    lengths = {len(each) for each in filled}
    if len(lengths) != 1 or min(lengths) < 2:
        return False
    return all(str(item) in ZERO_ONE for each in filled for item in each)


def vector_ids(
    lists: Sequence[Sequence[Any] | None], names: Sequence[str], source: str, column: str
) -> list[list[int]]:
    """The places of the ones in 0/1 vectors.

    Raises UserError for a row without a vector, and for a vector of another length.
    """
    for row, each in enumerate(lists, start=1):
        if each is None:
            raise UserError(f"{source}, row {row}: {column!r} is empty; fill it or drop the row")
        if len(each) != len(names):
            raise UserError(
                f"{source}, row {row}: {column!r} has {len(each)} places for {len(names)} labels, "
                f"{list_names(names)}; fix the row, or use a model of these labels"
            )
        if odd := [item for item in each if str(item) not in ZERO_ONE]:
            raise UserError(f"{source}, row {row}: {column!r} holds {odd[0]!r}; give 0 or 1")
    return [[i for i, item in enumerate(each or ()) if str(item) in _TRUE] for each in lists]


def separator_of(
    values: Sequence[str], known: Sequence[str] | None, source: str, column: str
) -> str:
    """What separates several labels in one text; "" where each text is one label.

    The parts have to be there in other labels too; of a comma, which names may hold, each part has
    to be a label by itself. Labels of a model are the ones to find. Raises UserError where both
    readings are as plausible.
    """
    names = {value.strip() for value in values}
    labels = {name.casefold() for name in known or ()}
    if known and {name.casefold() for name in names} <= labels:
        return ""
    for each in SEPARATORS:
        joined = {name: split(name, each) for name in names if len(split(name, each)) > 1}
        if not joined:
            continue
        parts = Counter(part for name in names for part in set(split(name, each)))
        several = [part for pieces in joined.values() for part in pieces]
        if known:
            if {part.casefold() for part in parts} <= labels:
                return each
        elif each == ",":
            if all(part in names for part in several):
                return each
        elif any(parts[part] > 1 for part in several):
            return each
        else:
            raise ambiguous(source, column, min(joined))
    return ""


def ambiguous(source: str, column: str, example: str) -> UserError:
    """The error for a text that may be one label or several."""
    return UserError(
        f"{source}: {column!r} holds {example!r}, which may be one class or several labels: say "
        "--kind classification or --kind multilabel"
    )


def split(text: str, separator: str) -> list[str]:
    """The labels in a text."""
    parts = text.split(separator) if separator else [text]
    return [bare(part) for part in parts if bare(part)]


def report_vectors(
    source: str, column: str, names: Sequence[str], ids: Sequence[list[int]]
) -> None:
    """Reports labels that were read from 0/1 vectors."""
    exclusive = all(len(each) == 1 for each in ids)
    hint = f"; each row has one of them: {_AS_CLASSES}" if exclusive else ""
    log.info(
        f"{source}: {column!r} is read as {len(names)} yes/no labels a text, "
        f"{list_names(names)}{hint}"
    )


def report_texts(source: str, column: str, example: str, labels: Sequence[str]) -> None:
    """Reports labels that were read from one text each."""
    log.info(
        f"{source}: {column!r} ({example!r}) is read as several labels a text, "
        f"{list_names(labels)}; {_AS_CLASSES}"
    )


def with_lists(rows: Dataset, words: str, tags: str) -> Dataset:
    """The rows with two columns of texts as lists, where the texts are lists or words and tags.

    Texts of words need as many tags, among them "O" or a tag that begins a span.
    """
    first = [str(rows[0][column]) for column in (words, tags)]
    counts = len(first[0].split()), len(re.split(r"[\s,]+", first[1].strip()))
    if counts[0] != counts[1] and first[0][:1] not in _BRACKETS:
        return rows
    texts, labels = rows[words][:], rows[tags][:]
    pair = parsed_lists(texts), parsed_lists(labels)
    if pair[0] is None or pair[1] is None:
        if not all(isinstance(each, str) for each in (*texts, *labels)):
            return rows
        commas = all("," in tags or len(tags.split()) == 1 for tags in labels)
        parts = [tags.replace(",", " ") if commas else tags for tags in labels]
        pair = [each.split() for each in texts], [each.split() for each in parts]
        flat = {tag for each in pair[1] if each for tag in each}
        alike = all(len(a or ()) == len(b or ()) for a, b in zip(*pair, strict=True))
        if not alike or not any(tag == "O" or tag.startswith("B-") for tag in flat):
            return rows
    for column, lists in zip((words, tags), pair, strict=True):
        rows = replaced(rows, column, lists or [], List(Value("string")))
    return rows
