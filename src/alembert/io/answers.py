"""Texts and the types of a model's answers, which every room shares, and the tags of spans."""

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from alembert.io.errors import UserError

QUESTIONS: Final = "question answering"  # the kind of task whose answers are spans of a context
ENDS = ("start", "end")  # its labels: the two logits of a token
QUESTION, LEAST = 64, 8  # tokens of a question that are read, and of a window without special ones
WINDOW = "window_length"  # the field of a model's config: tokens of a window, if it reads windows
NEVER = 1e9  # the threshold with which "no answer" is never given

K = TypeVar("K", bound=Hashable)  # the key of a token
Text = str | Sequence[str]  # a text, a pair of texts, or the words of a text
Texts = Text | Iterable[Text]  # a str, or a tuple that is a pair, is a single text


@dataclass(frozen=True)
class Prediction:
    """The most probable label; scores are the probabilities of all labels and add up to 1."""

    label: str
    score: float
    scores: dict[str, float] = field(repr=False)


Classification = Prediction  # its name in version 0.1


@dataclass(frozen=True)
class Labels:
    """The labels with a probability over one half, the most probable first."""

    labels: tuple[str, ...]
    scores: dict[str, float]


@dataclass(frozen=True)
class Score:
    """A number, on the scale of the data that the model was trained on."""

    value: float


@dataclass(frozen=True)
class Guess:
    """A token predicted for a mask; `word` may be a part of a word ("##ing")."""

    word: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A word or a span of words, the characters start to end of the text (words joined by " ").

    A span's label has no B- or I-. label is None and score 0 for a word that was truncated or has
    no token. score is the probability of the label, and a span's the least of its words.
    """

    text: str
    label: str | None
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Tags:
    """The tags of a text: words has one for every word, spans joins B- and I- (E-, S-) tags.

    When the tags mark no spans (parts of speech), spans are the words that have a tag.
    """

    words: tuple[Tag, ...]
    spans: tuple[Tag, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A span of a context that answers a question, the characters start to end of the context.

    text is "" for a question that the context does not answer. score is the probability of the
    start times that of the end, or those of no answer.
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token and its characters start to end (in the second text for that of a pair)."""

    id: int
    text: str
    start: int
    end: int
    special: bool


@dataclass(frozen=True)
class Tokens:
    """The tokens that a model reads, special ones included; cut: whether the text was truncated."""

    tokens: tuple[Token, ...]
    cut: bool


def as_list(texts: Texts) -> tuple[list[Text], bool]:
    """The texts as a list, and whether a single text (a str, or a pair's tuple) was given."""
    if isinstance(texts, str | tuple):
        return [texts], True
    table = hasattr(texts, "columns")  # a DataFrame gives its columns' names, not its rows
    if table or isinstance(texts, bytes | dict) or not isinstance(texts, Iterable):
        raise UserError(f"{type(texts).__name__}: give a text or a list of texts")
    return list(texts), False


def predicted(
    kind: str, scores: dict[str, float], ranked: Sequence[str], least: float = 0.5
) -> Prediction | Labels | Score:
    """The answer of a model of a kind; ranked has the labels of `scores`, the highest first.

    Of several labels those with a score over `least` are predicted. Other kinds read the first of
    `ranked` alone.
    """
    if kind == "regression":
        return Score(scores[ranked[0]])
    if kind == "multilabel":
        return Labels(tuple(label for label in ranked if scores[label] > least), scores)
    return Prediction(ranked[0], scores[ranked[0]], scores)


def is_bio(labels: Sequence[str]) -> bool:
    """Whether labels are tags of spans: O, B-x, I-x (and E-x, S-x of IOBES)."""
    return any(tag[:2] in ("B-", "I-") for tag in labels) and all(
        re.fullmatch("O|[BIES]-.+", tag) for tag in labels
    )


def window_sizes(max_length: int, specials: int, overlap: int | None = None) -> tuple[int, int]:
    """The most tokens of a question, and those that neighbouring windows of its context share.

    Of a question QUESTION tokens are read, or half a window; the windows, of max_length tokens with
    so many special ones, share `overlap`, by default a third. Raises UserError for windows that are
    too small.
    """
    room = max_length - specials
    if room < LEAST:
        raise UserError(
            f"--max-length {max_length}: a question and a part of its context need {LEAST} tokens "
            "beside the special ones"
        )
    most = min(QUESTION, room // 2)
    return most, min(max_length // 3 if overlap is None else overlap, (room - most) // 2)


def windows_share(max_length: int, specials: int) -> int:
    """The tokens that neighbouring windows of a long text share: a quarter.

    specials are the special tokens of a pair of texts.
    """
    return (max_length - specials) // 4


def too_long_for_windows(pair: Text, max_length: int) -> bool:
    """Whether both texts of a pair are so long that too many pairs of windows would be made.

    The windows of both are paired with each other, unless one text has a single window.
    """
    if isinstance(pair, str) or min(map(len, pair)) < 2 * max_length:
        return False
    return len(pair[0]) * len(pair[1]) > (20 * max_length) ** 2


def places_in_windows(
    keys: Sequence[Sequence[K | None]], owners: Sequence[int], texts: int
) -> list[dict[K, tuple[int, int]]]:
    """For each text, {key: (row, column) of its first token}, in the order of the text.

    keys has those of each row's tokens, or None, and owners the number of each row's text; the rows
    of a text lie one after the other. Among several windows, the one where the token has the most
    context on its shorter side is taken.
    """
    places: list[dict[K, tuple[int, int]]] = [{} for _ in range(texts)]
    contexts: dict[tuple[int, K], int] = {}
    for row, (of_row, owner) in enumerate(zip(keys, owners, strict=True)):
        size = len(of_row)
        begins = row == 0 or owners[row - 1] != owner
        ends = row + 1 == len(owners) or owners[row + 1] != owner
        previous = None
        for column, key in enumerate(of_row):
            if key is not None and key != previous:
                left, right = column, size - 1 - column
                context = min(size if begins else left, size if ends else right)
                if context > contexts.get((owner, key), -1):
                    contexts[owner, key] = context
                    places[owner][key] = (row, column)
            previous = key
    return places
