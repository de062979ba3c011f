"""Which columns of a data set are the text and the label: by the usual names, or as given."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset, LargeList, List

from alembert.io.errors import UserError

PAIRS = (
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text", "text_pair"),
    ("#1 string", "#2 string"),  # the header of MRPC
)
TEXTS = ("text", "sentence", "utterance", "query", "content", "review", "question")
SCORES = ("score", "similarity")
LABELS = ("label", "labels", "intent", "category", "class", "target", *SCORES, "quality")
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "labels", "slots", "label")


@dataclass(frozen=True)
class Columns:
    """Names of columns; for words with tags, `text` is the words' and `label` the tags' column."""

    text: str
    text_pair: str | None
    label: str | None


def find_columns(
    data: Dataset,
    source: str,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    labelled: bool = True,
) -> Columns:
    """The columns to read, whatever the case of their names; `label` is None if not `labelled`.

    Raises UserError that lists the columns there are when one is missing.
    """
    if text_pair is not None and text is None:
        raise UserError(f"--text-pair {text_pair}: name the first text too, with --text")
    if text is not None:
        first = _named(data, source, text, "--text")
        second = _named(data, source, text_pair, "--text-pair") if text_pair else None
        if first == second:
            raise UserError(f"--text-pair {text_pair}: is the first text already; name another")
    else:
        first, second = _guess_texts(data, source, label, labelled)
    if not labelled:
        return Columns(first, second, None)
    if label is not None:
        return Columns(first, second, _named(data, source, label, "--label"))
    names = TAGS if is_list(data, first) else LABELS
    found = _first(data, [name for name in names if name not in (first, second)])
    if found is None:
        raise UserError(f"{source}: no column of labels among {_there(data)}; name it with --label")
    return Columns(first, second, found)


def is_list(data: Dataset, column: str) -> bool:
    """Whether the rows of this column are lists (words, tags, several labels)."""
    return isinstance(data.features[column], List | LargeList)


def _guess_texts(
    data: Dataset, source: str, label: str | None, labelled: bool
) -> tuple[str, str | None]:
    words = _first(data, WORDS)
    if words is not None and is_list(data, words):
        tags = label if label in data.column_names else _first(data, TAGS)
        if not labelled or (tags is not None and is_list(data, tags)):
            return words, None
    for pair in PAIRS:
        first, second = (_first(data, [name]) for name in pair)
        if first is not None and second is not None:
            return first, second
    single = _first(data, TEXTS)
    if single is None:
        raise UserError(f"{source}: no column of text among {_there(data)}; name it with --text")
    return single, None


def _first(data: Dataset, wanted: Sequence[str]) -> str | None:
    """The column that bears the first of the names that any column bears."""
    there = {name.strip().casefold(): name for name in reversed(data.column_names)}
    return next((there[name] for name in wanted if name in there), None)


def _named(data: Dataset, source: str, name: str, option: str) -> str:
    found = name if name in data.column_names else _first(data, [name.casefold()])
    if found is None:
        raise UserError(f"{option} {name}: {source} has no such column; it has {_there(data)}")
    return found


def _there(data: Dataset) -> str:
    return ", ".join(repr(name) for name in data.column_names)
