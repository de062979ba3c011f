"""Sparse features of texts, pairs of texts and words of a sentence: TF-IDF, and cues of words."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from alembert.io.answers import Text

WORD = r"\w+|[^\w\s]"  # a word, or a mark, so that no text is without one
Terms = dict[str, dict[str, float]]  # by their kind, each with its weight
MOST = 100_000  # terms of a kind, the most frequent ones
TEXTS: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2), "token_pattern": WORD},
    "characters": {"ngram_range": (3, 5), "analyzer": "char_wb"},
}


class SparseFeatures:
    """Turns texts into rows of a sparse matrix, by terms learnt from training texts.

    `terms` has the terms of each kind, each with its weight: the inverse document frequency. A text
    has the TF-IDF of its words, pairs of words, and 3 to 5 characters within words. A pair has
    those of both texts, their product, their absolute difference and their cosine. A sentence of
    words has a row for each word, of cues.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    @classmethod
    def learnt(cls, texts: Sequence[Text]) -> "SparseFeatures":
        """Return the features whose terms are those of the texts."""
        if isinstance(texts[0], list):
            counts = CountVectorizer(analyzer=list, max_features=MOST)
            counts.fit(_cues(texts))
            return cls({"cues": dict.fromkeys(_in_order(counts), 1.0)})
        parts = [part for text in texts for part in _parts(text)]
        terms: Terms = {}
        for name, options in TEXTS.items():
            tfidf = TfidfVectorizer(sublinear_tf=True, max_features=MOST, **options).fit(parts)
            terms[name] = dict(zip(_in_order(tfidf), tfidf.idf_.tolist(), strict=True))
        return cls(terms)

    def __call__(self, texts: Sequence[Text]) -> sparse.csr_matrix:
        """Return the features (N, F) in float32; of words, N is all words of the texts."""
        if "cues" in self.terms:
            return self._vectorizers[0].transform(_cues(texts))
        if isinstance(texts[0], str):
            return self._tfidf(texts)
        first, second = (self._tfidf(side) for side in zip(*texts, strict=True))
        product = first.multiply(second).tocsr()
        cosine = sparse.csr_matrix(product.sum(1, dtype=np.float32) / len(TEXTS))
        return sparse.hstack((first, second, product, abs(first - second), cosine), format="csr")

    def _tfidf(self, texts: Sequence[Text]) -> sparse.csr_matrix:
        blocks = [vectorizer.transform(texts) for vectorizer in self._vectorizers]
        return sparse.hstack(blocks, format="csr")

    @cached_property
    def _vectorizers(self) -> list[Any]:
        if "cues" in self.terms:
            vocabulary = list(self.terms["cues"])
            return [CountVectorizer(analyzer=list, vocabulary=vocabulary, dtype=np.float32)]
        made = []
        for name, options in TEXTS.items():
            tfidf = TfidfVectorizer(
                sublinear_tf=True, vocabulary=list(self.terms[name]), dtype=np.float32, **options
            )
            tfidf.idf_ = np.array([*self.terms[name].values()], np.float32)
            made.append(tfidf)
        return made


def _parts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _in_order(vectorizer: Any) -> list[str]:
    return [str(term) for term in vectorizer.get_feature_names_out()]


def _cues(texts: Sequence[Text]) -> Iterator[list[str]]:
    """The cues of each word: itself, its start and end, its shape, and its neighbours."""
    for words in texts:
        lower = ["^", "^", *(word.lower() for word in words), "$", "$"]
        for i in range(2, len(words) + 2):
            low = lower[i]
            cues = [f"{k:+d} {lower[i + k]}" for k in (-2, -1, 0, 1, 2)]
            cues += [f"-1 0 {lower[i - 1]} {low}", f"0 1 {low} {lower[i + 1]}"]
            cues += [f"start {low[:n]}" for n in (1, 2, 3, 4) if n < len(low)]
            cues += [f"end {low[-n:]}" for n in (1, 2, 3, 4) if n < len(low)]
            cues += [f"{k:+d} end {lower[i + k][-3:]}" for k in (-1, 1)]
            cues += [f"{k:+d} shape {_shape(words, i - 2 + k)}" for k in (-1, 0, 1)]
            yield cues


def _shape(words: Sequence[str], i: int) -> str:
    """A word with X for its capitals, x for other letters and 0 for digits, each run once."""
    if not 0 <= i < len(words):
        return ""
    marks = ["0" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c
             for c in words[i]]  # fmt: skip
    return "".join(mark for k, mark in enumerate(marks) if not k or marks[k - 1] != mark)
