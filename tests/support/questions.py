"""Files of questions whose answers are spans of a context."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ["film", "book", "table", "music", "good", "bad", "is", "was", "and", "not", "very"]


def squad(path: Path, paragraphs: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """A file in SQuAD's form of contexts with their questions."""
    inner = [{"context": context, "qas": list(qas)} for context, qas in paragraphs]
    content = {"version": "1.1", "data": [{"title": "t", "paragraphs": inner}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def asked(id: str, text: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    """A question of SQuAD's form with its answers and their offsets."""
    given = [{"text": answer, "answer_start": start} for answer, start in answers]
    return {"id": id, "question": text, "answers": given, **more}


def learnable(path: Path, count: int = 24, seed: int = 0, impossible: int = 0) -> str:
    """Questions about the word after the one that they name; every nth has no answer."""
    dice = random.Random(seed)
    paragraphs = []
    for number in range(count):
        words = dice.sample(WORDS, 9)
        at = dice.randrange(len(words) - 1)
        context, answer = " ".join(words), words[at + 1]
        start = len(" ".join(words[: at + 1])) + 1
        none = bool(impossible) and number % impossible == 0
        asks = next(word for word in WORDS if word not in words) if none else words[at]
        answers = () if none else ((answer, start),)
        question = asked(f"q{number}", f"is {asks}", *answers, is_impossible=none)
        paragraphs.append((context, [question]))
    return squad(path, paragraphs)
