"""The 99 words of tests: they spell any lowercase ASCII word."""

import string

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKS = list(string.ascii_lowercase + string.digits)
WORDS = [
    *".,!?'\"-",
    "the",
    "good",
    "bad",
    "film",
    "play",
    "music",
    "book",
    "table",
    "is",
    "was",
    "not",
    "very",
    "and",
    "of",
    "to",
]
VOCABULARY = [*SPECIAL, *MARKS, *(f"##{mark}" for mark in MARKS), *WORDS]
