"""Draws the pictures of docs/losses.md: python docs/site/pictures.py

Each is an SVG of its own that follows a light and a dark page.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alembert.report import plots

HOME = Path(__file__).parent.parent / "pictures"
NAMES = ("refund", "return", "invoice", "greeting")
LOGITS = {"teacher": np.array([6.0, 4.2, 1.5, -2.0]), "student": np.array([5.0, 2.0, 2.0, 0.0])}
TEMPERATURES = (1, 2, 5)
TOKENS = ("[CLS]", "not", "a", "good", "film", "[SEP]")
SCORES = np.array([
    [3.0, 1.0, 0.0, 1.5, 1.5, 2.0],
    [0.5, 1.0, 0.5, 4.0, 1.0, 0.0],
    [0.0, 0.5, 1.0, 1.0, 3.0, 0.0],
    [0.5, 4.5, 0.0, 1.0, 3.5, 0.0],
    [0.5, 0.5, 2.0, 4.0, 1.0, 0.0],
    [2.5, 0.0, 0.0, 0.5, 0.5, 3.0],
])  # fmt: skip
LIGHT = {"ink": "#1d2026", "muted": "#5c6470", "rule": "#d5d9e0", "paper": "#ffffff",
         "teacher": "#3e6ce0", "student": "#c2611c"}  # fmt: skip
DARK = {"ink": "#e8eaee", "muted": "#a3abb8", "rule": "#3a404b", "paper": "#14161a",
        "teacher": "#86a6ff", "student": "#f0a060"}  # fmt: skip


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    powers = np.exp((logits - logits.max(-1, keepdims=True)) / temperature)
    return powers / powers.sum(-1, keepdims=True)


def pictures() -> dict[str, str]:
    """The pictures by the names of their files."""
    drawn = {}
    for temperature in TEMPERATURES:
        shares = {role: softmax(logits, temperature) for role, logits in LOGITS.items()}
        drawn[f"temperature-{temperature}.svg"] = plots.soft(NAMES, shares, temperature)
    drawn["probabilities.svg"] = plots.attention(softmax(SCORES), TOKENS, "teacher", 1)
    return {name: alone(svg) for name, svg in drawn.items()}


def alone(svg: str) -> str:
    """The picture with the colours that a page would give it."""
    dark = f"@media(prefers-color-scheme:dark){{:root{{{colours(DARK)}}}}}"
    style = f"<style>:root{{{colours(LIGHT)}}}{dark}</style>"
    return svg.replace(">", f">\n{style}", 1) + "\n"


def colours(values: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in values.items())


if __name__ == "__main__":
    for name, svg in pictures().items():
        (HOME / name).write_text(svg, encoding="utf-8")
