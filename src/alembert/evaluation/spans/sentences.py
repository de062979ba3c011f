"""What answers questions without a model of their tokens: no answer, or a sentence of the context.

The first sentence reads no question, and the nearest one is that whose TF-IDF vector has the
highest cosine with the question's.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from alembert.data.questions.windows import Question, Windows
from alembert.evaluation.baselines.fitting import Baseline
from alembert.io.answers import Text

MAJORITY, FIRST, NEAREST = "majority", "first_sentence", "nearest_sentence"
_END = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences_of(context: str) -> list[str]:
    """The sentences of a context, which end at a full stop and a blank, or at a line's end."""
    return [part.strip() for part in _END.split(context) if part.strip()] or [""]


def baselines_of(train: Windows, test: Windows) -> dict[str, Baseline]:
    """The baselines by name; the frequencies of words are those of the contexts of train."""
    began = time.perf_counter()
    contexts = dict.fromkeys(question.context for question in train.questions)
    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    words.fit([sentence for context in contexts for sentence in sentences_of(context)])

    def nearest(question: str, context: str) -> str:
        sentences = sentences_of(context)
        near = words.transform(sentences) @ words.transform([question]).T
        return sentences[int(near.toarray()[:, 0].argmax())]

    fitted = time.perf_counter() - began
    return {
        MAJORITY: _baseline(lambda question, context: "", "no answer", test.questions),
        FIRST: _baseline(
            lambda question, context: sentences_of(context)[0], "the first sentence of the context",
            test.questions,
        ),
        NEAREST: _baseline(
            nearest, "the sentence nearest to the question by TF-IDF", test.questions, fitted
        ),
    }  # fmt: skip


def no_answers(data: Windows) -> NDArray[Any]:
    """The answers (N,) of whoever never answers."""
    return np.array([""] * len(data.questions), dtype=object)


def _baseline(
    answer: Callable[[str, str], str],
    words: str,
    questions: Sequence[Question],
    seconds: float = 0.0,
) -> Baseline:
    def asked(text: Text) -> NDArray[Any]:
        return np.array([answer(str(text[0]), str(text[1]))], dtype=object)

    given = [answer(question.text, question.context) for question in questions]
    return Baseline(
        logits=np.array(given, dtype=object), seconds=seconds, model=words, answer=asked
    )
