"""What a model answers, as types that every room shares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Classification:
    """One label of several. scores: the probability of each label; they add up to 1."""

    label: str
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Labels:
    """Any number of labels: those with a probability over one half, the likeliest first."""

    labels: tuple[str, ...]
    scores: dict[str, float]


@dataclass(frozen=True)
class Score:
    """A number, on the scale of the data that the model was trained on."""

    value: float


@dataclass(frozen=True)
class Guess:
    """What may stand at a mask; `word` may be a piece of a word ("##ing")."""

    word: str
    score: float


@dataclass(frozen=True)
class Tag:
    """A word, or a span of words: characters start to end of the text (of words: " " between).

    label: of a span without B- and I-; None, score 0, where a word was cut off or has no token.
    score: the probability of the label; of a span, that of its least sure word.
    """

    text: str
    label: str | None
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Tags:
    """words: a tag for every word. spans: what B-, I- (E-, S-) put together, without O.

    Where tags mark no spans (parts of speech), spans are the words that have a tag.
    """

    words: tuple[Tag, ...]
    spans: tuple[Tag, ...]


@dataclass(frozen=True)
class Token:
    """A piece of a text: characters start to end (of the second text in a pair: there)."""

    id: int
    text: str
    start: int
    end: int
    special: bool


@dataclass(frozen=True)
class Tokens:
    """What a model reads of a text, special tokens included; cut: whether there was more."""

    tokens: tuple[Token, ...]
    cut: bool
