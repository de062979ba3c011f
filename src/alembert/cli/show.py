"""An answer as one line: for people, or as JSON."""

import json
import textwrap
from dataclasses import asdict
from typing import Any

import numpy as np

from alembert.io.answers import Classification, Labels, Score, Tags

WIDTH = 70  # characters of a text that are shown
FIRST = 4  # numbers of a vector that are shown


def line(text: Any, answer: Any) -> str:
    """The answer, a tab, and how the text begins."""
    if isinstance(answer, Classification):
        said = f"{answer.label} {answer.score:.3f}"
    elif isinstance(answer, Labels):
        said = ", ".join(f"{x} {answer.scores[x]:.3f}" for x in answer.labels) or "no label"
    elif isinstance(answer, Score):
        said = f"{answer.value:.3f}"
    elif isinstance(answer, Tags):
        spans = [f"{span.label} {span.score:.3f} {span.text!r}" for span in answer.spans]
        said = ", ".join(spans) or "no span"
    elif isinstance(answer, np.ndarray):
        shown = " ".join(f"{number:.4f}" for number in answer[:FIRST])
        said = f"{len(answer)} numbers: {shown} ..."
    else:
        masks = (", ".join(f"{guess.word} {guess.score:.3f}" for guess in each) for each in answer)
        said = " | ".join(masks)
    whole = text if isinstance(text, str) else " / ".join(text)
    return f"{said}\t{textwrap.shorten(whole, WIDTH, placeholder=' ...')}"


def json_line(text: Any, answer: Any) -> str:
    """{"text": ..., ...}: the fields of the answer, its "vector", or the guesses of its "masks"."""
    if isinstance(answer, np.ndarray):
        fields: dict[str, Any] = {"vector": answer.tolist()}
    elif isinstance(answer, list):
        fields = {"masks": [[asdict(guess) for guess in each] for each in answer]}
    else:
        fields = asdict(answer)
    return json.dumps({"text": text, **fields}, ensure_ascii=False)
