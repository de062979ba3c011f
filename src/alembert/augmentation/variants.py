"""Variants of rows, in which words are randomly replaced by candidates (TinyBERT, algorithm 1)."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, compress

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from alembert.recipes.schema import Augment

# Neither space nor punctuation; apostrophes and _ count as letters, so that "don't", "'s" and
# "a_b" are not alphabetic and stay unchanged.
_WORD = re.compile(r"([^\s!-&(-/:-@\[-^`{-~¡¿«»“”„…–—]+)")  # noqa: RUF001
_SHORT = "aren couldn didn doesn hadn hasn isn ll shouldn ve wasn weren wouldn"  # BERT's isn ' t
_STOP = ENGLISH_STOP_WORDS.union(_SHORT.split())


def is_word(text: str) -> bool:
    """Return whether a word may be replaced or replace one: two letters or more, no stop word."""
    return len(text) > 1 and text.isalpha() and text.lower() not in _STOP


@dataclass(frozen=True)
class Cut:
    """A text or a list of words as `parts`, joined by `glue`; those at `at` may be replaced."""

    parts: tuple[str, ...]
    glue: str  # "" for a text, " " for a list of words
    at: tuple[int, ...]

    @property
    def text(self) -> str:
        return self.glue.join(self.parts)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The (start, end) in the text of the words at `at`."""
        ends = list(accumulate(len(part) + len(self.glue) for part in self.parts))
        return [
            (ends[i] - len(self.glue) - len(self.parts[i]), ends[i] - len(self.glue))
            for i in self.at
        ]

    def value(self, parts: Sequence[str]) -> str | list[str]:
        """Return other parts as a text or as a list of words, as this one is."""
        return list(parts) if self.glue else "".join(parts)


def cut(value: str | list[str], whole: Sequence[tuple[int, int]] = ()) -> Cut:
    """Divide a text into words and the characters between them.

    Words that reach into one of the spans `whole` (start, end) may not be replaced.
    """
    parts = _WORD.split(value) if isinstance(value, str) else value
    at = tuple(i for i, part in enumerate(parts) if is_word(part))
    text = Cut(tuple(parts), "" if isinstance(value, str) else " ", at)
    if not whole:
        return text
    apart = [not any(a < end and start < b for a, b in whole) for start, end in text.spans]
    return replace(text, at=tuple(compress(at, apart)))


def variants(
    text: Cut, candidates: Sequence[Sequence[str]], settings: Augment, stream: random.Random
) -> list[tuple[str, ...]]:
    """Return the parts unchanged, then up to `copies` distinct variants (TinyBERT, algorithm 1).

    candidates: replacements of each word at `at`; a word without any stays unchanged.
    """
    unique = {text.parts: True}  # a dict keeps the order
    for _ in range(settings.copies):
        parts = list(text.parts)
        for i, words in zip(text.at, candidates, strict=True):
            if words and stream.random() < settings.share:
                parts[i] = _with_case_of(parts[i], words[int(stream.random() * len(words))])
        unique[tuple(parts)] = True
    return list(unique)


def _with_case_of(word: str, candidate: str) -> str:
    """Return a lower-case candidate with the word's capitals: of all letters, or of the first."""
    if not candidate.islower() or not word[0].isupper():
        return candidate
    return candidate.upper() if word.isupper() else candidate.capitalize()


def augmented(
    row: Sequence[Cut],
    candidates: Sequence[Sequence[Sequence[str]]],
    settings: Augment,
    seed: int,
    number: int,
) -> list[list[str | list[str]]]:
    """Return row `number` and its variants, in each of which one text differs.

    The random numbers are a function of seed and number alone.
    """
    stream = random.Random(f"{seed} {number}")
    original = [text.value(text.parts) for text in row]
    rows = [original]
    for i, (text, words) in enumerate(zip(row, candidates, strict=True)):
        for parts in variants(text, words, settings, stream)[1:]:
            rows.append([*original[:i], text.value(parts), *original[i + 1 :]])
    return rows
