"""A prediction as one line, for people or as JSON."""

import json
import textwrap
from dataclasses import asdict
from typing import Any

import numpy as np

from alembert.io.answers import Answer, Labels, Prediction, Score, Tags, Text

WIDTH = 70  # characters of a text that are shown
FIRST = 4  # numbers of a vector that are shown


def line(text: Text, answer: Any) -> str:
    """Return the answer, a tab, and the beginning of the text."""
    if isinstance(answer, Prediction):
        shown = f"{answer.label} {answer.score:.3f}"
    elif isinstance(answer, Labels):
        shown = ", ".join(f"{x} {answer.scores[x]:.3f}" for x in answer.labels) or "no label"
    elif isinstance(answer, Score):
        shown = f"{answer.value:.3f}"
    elif isinstance(answer, Tags):
        spans = [f"{span.label} {span.score:.3f} {span.text!r}" for span in answer.spans]
        shown = ", ".join(spans) or "no span"
    elif isinstance(answer, Answer):
        shown = f"{answer.text!r} {answer.score:.3f}" if answer.text else "no answer"
    elif isinstance(answer, np.ndarray):
        first = " ".join(f"{number:.4f}" for number in answer[:FIRST])
        shown = f"{len(answer)} numbers: {first} ..."
    else:
        masks = (", ".join(f"{guess.word} {guess.score:.3f}" for guess in each) for each in answer)
        shown = " | ".join(masks)
    line_text = text if isinstance(text, str) else " / ".join(text)
    return f"{shown}\t{textwrap.shorten(line_text, WIDTH, placeholder=' ...')}"


def json_line(text: Text, answer: Any) -> str:
    """Return JSON with the text and the fields, the vector or the masks of its answer."""
    if isinstance(answer, np.ndarray):
        fields = {"vector": answer.tolist()}
    elif isinstance(answer, list):
        fields = {"masks": [[asdict(guess) for guess in each] for each in answer]}
    else:
        fields = asdict(answer)
    if isinstance(answer, Answer):
        fields = {"answer": fields.pop("text"), **fields}
    return json.dumps({"text": text, **fields}, ensure_ascii=False)
