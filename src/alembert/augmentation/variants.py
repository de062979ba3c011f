"""TinyBERT's augmentation: rows whose words give way, by chance, to what may stand there."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from alembert.recipes.schema import Augment

# Neither space nor punctuation; apostrophes and _ stay inside: "don't", "'s" and "a_b" are left
# alone as they are not alphabetic.
_WORD = re.compile(r"([^\s!-&(-/:-@\[-^`{-~¡¿«»“”„…–—]+)")  # noqa: RUF001
_SHORT = "aren couldn didn doesn hadn hasn isn ll shouldn ve wasn weren wouldn"  # BERT's isn ' t
_STOP = ENGLISH_STOP_WORDS.union(_SHORT.split())


def is_word(text: str) -> bool:
    """What gives way and what steps in: two letters or more, and no stop word (of English)."""
    return len(text) > 1 and text.isalpha() and text.lower() not in _STOP


@dataclass(frozen=True)
class Cut:
    """A text in parts, or a list of words: `parts` joined by `glue`; those `at` may be replaced."""

    parts: tuple[str, ...]
    glue: str  # "" of a text, " " between the words of a list
    at: tuple[int, ...]

    @property
    def text(self) -> str:
        return self.glue.join(self.parts)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where in the text the words `at` begin and end."""
        ends = list(accumulate(len(part) + len(self.glue) for part in self.parts))
        return [
            (ends[i] - len(self.glue) - len(self.parts[i]), ends[i] - len(self.glue))
            for i in self.at
        ]

    def value(self, parts: Sequence[str]) -> str | list[str]:
        """Other parts in the form that was cut."""
        return list(parts) if self.glue else "".join(parts)


def cut(value: str | list[str]) -> Cut:
    """Cut a text where its words begin and end."""
    parts = _WORD.split(value) if isinstance(value, str) else value
    at = tuple(i for i, part in enumerate(parts) if is_word(part))
    return Cut(tuple(parts), "" if isinstance(value, str) else " ", at)


def variants(
    text: Cut, candidates: Sequence[Sequence[str]], settings: Augment, stream: random.Random
) -> list[tuple[str, ...]]:
    """The parts as they are, then up to `copies` others, none twice (TinyBERT, algorithm 1).

    candidates: for each word `at`, what may stand in its place; none leaves it as it is.
    """
    found = {text.parts: True}  # a dict keeps the order
    for _ in range(settings.copies):
        parts = list(text.parts)
        for i, words in zip(text.at, candidates, strict=True):
            if words and stream.random() < settings.share:
                parts[i] = _in_case_of(parts[i], words[int(stream.random() * len(words))])
        found[tuple(parts)] = True
    return list(found)


def _in_case_of(word: str, candidate: str) -> str:
    """A candidate in small letters takes over capitals: those of all letters, or of the first."""
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
    """The rows that row `number` becomes, itself first: one text varied, the others as they were.

    What is drawn is a function of seed and number alone.
    """
    stream = random.Random(f"{seed} {number}")
    original = [text.value(text.parts) for text in row]
    rows = [original]
    for i, (text, words) in enumerate(zip(row, candidates, strict=True)):
        for parts in variants(text, words, settings, stream)[1:]:
            rows.append([*original[:i], text.value(parts), *original[i + 1 :]])
    return rows
