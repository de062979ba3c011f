"""A caller's texts: checked, in chunks, split into words."""

import re
from collections.abc import Iterator

from alembert.io.answers import Text
from alembert.io.errors import UserError

SHOWN = 30  # characters of a text that an error quotes
TEXTS, CHARACTERS = 1000, 250_000  # the size of a chunk, which bounds the memory


def chunks(texts: list[Text]) -> Iterator[tuple[int, list[Text]]]:
    """Chunks (index of the first, texts) of at most TEXTS, or little over CHARACTERS."""
    start, size = 0, 0
    for stop, text in enumerate(texts, start=1):
        parts = text if isinstance(text, list | tuple) else [text]
        size += sum(len(part) for part in parts if isinstance(part, str))
        if stop - start == TEXTS or size > CHARACTERS or stop == len(texts):
            yield start, texts[start:stop]
            start, size = stop, 0


def checked(text: object, number: int) -> str | tuple[str, str]:
    """A text or a pair. Raises UserError for anything else, and for an empty text."""
    if isinstance(text, str):
        if not text or text.isspace():
            raise UserError(f"{named(text, number)}: is empty")
        return text
    if not isinstance(text, list | tuple) or not all(isinstance(part, str) for part in text):
        raise UserError(f"{named(text, number)}: give a text, or a pair of two texts")
    if len(text) != 2:
        raise UserError(f"{named(text, number)}: a pair has two texts, this has {len(text)}")
    if any(not part or part.isspace() for part in text):
        raise UserError(f"{named(text, number)}: a text of the pair is empty")
    return text[0], text[1]


def checked_words(words: object, number: int) -> list[str]:
    """A list of words. Raises UserError for anything else, and when all words are empty."""
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{named(words, number)}: give a text or a list of words")
    if not any(words):
        raise UserError(f"{named(words, number)}: is empty")
    return list(words)


def check_unicode(text: Text, number: int) -> None:
    """Raises UserError for half of a surrogate pair, which no tokenizer reads."""
    for part in [text] if isinstance(text, str) else text:
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{named(text, number)}: character {error.start + 1} is half of a surrogate pair: "
                "give valid Unicode"
            ) from error


def named(text: object, number: int) -> str:
    """The name of a text in error messages: its number and its beginning."""
    shown = ascii(text)
    return f"text {number} ({shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'})"


def word_spans(text: Text) -> tuple[str, list[tuple[int, int]]]:
    """The text, and the (start, end) of each word; a list of words is joined with spaces."""
    if isinstance(text, str):
        return text, [word.span() for word in re.finditer(r"\S+", text)]
    spans, start = [], 0
    for word in text:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(text), spans
