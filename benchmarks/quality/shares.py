"""A share of a task's labels: the rows that keep theirs, and the texts of the others."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

LEAST = 2  # labelled texts of a class


@dataclass(frozen=True, kw_only=True)
class Part:
    """Files of a task at one share of its labels, beside the file of the whole."""

    train: str  # the rows with labels, of which a run holds out a slice
    unlabelled: str | None  # the texts of the others; None where all have labels
    whole: str
    test: str


def divided(whole: str, test: str, share: float, seed: int, to: Path) -> Part:
    """Write the two files of a seeded share: of a class at least LEAST rows, of tags sentences."""
    if share == 1:
        return Part(train=whole, unlabelled=None, whole=whole, test=test)
    to.mkdir(parents=True, exist_ok=True)
    if whole.endswith(".conll"):
        train, rest = to / "train.conll", to / "unlabelled.jsonl"
        _sentences(Path(whole), share, seed, train, rest)
    else:
        train, rest = to / "train.csv", to / "unlabelled.csv"
        _rows(whole, share, seed, train, rest)
    return Part(train=str(train), unlabelled=str(rest), whole=whole, test=test)


def _rows(whole: str, share: float, seed: int, train: Path, rest: Path) -> None:
    rows = pd.read_csv(whole, keep_default_na=False)
    order = rows.sample(frac=1.0, random_state=seed)
    label = order.columns[-1]
    kept = np.arange(len(order)) < share * len(order)
    if order[label].dtype.kind != "f":
        kept |= (order.groupby(label).cumcount() < LEAST).to_numpy()
    order[kept].to_csv(train, index=False)
    order[~kept].drop(columns=label).to_csv(rest, index=False)


def _sentences(whole: Path, share: float, seed: int, train: Path, rest: Path) -> None:
    """A word and its tag a line, sentences apart by an empty line; the others as lists of words."""
    blocks = whole.read_text(encoding="utf-8").strip().split("\n\n")
    order = np.random.default_rng(seed).permutation(len(blocks))
    kept = round(share * len(blocks))
    text = "\n\n".join(blocks[i] for i in order[:kept])
    train.write_text(f"{text}\n", encoding="utf-8")
    with rest.open("w", encoding="utf-8") as file:
        for i in order[kept:]:
            words = [line.split(" ")[0] for line in blocks[i].splitlines()]
            file.write(json.dumps({"tokens": words}) + "\n")
