"""Files of every kind of task."""

import json
from pathlib import Path


def pairs(path: Path) -> str:
    rows = [
        f"the film is good {i % 3},a book was bad,{'up' if i % 2 else 'down'}" for i in range(40)
    ]
    path.write_text("sentence1,sentence2,label\n" + "\n".join(rows) + "\n")
    return str(path)


def scores(path: Path) -> str:
    rows = [
        f"the film is good,the film is bad {'very ' * (i % 4)},{(i % 4) + 0.5}" for i in range(40)
    ]
    path.write_text("sentence1,sentence2,score\n" + "\n".join(rows) + "\n")
    return str(path)


def several(path: Path) -> str:
    rows = [
        {
            "text": f"the {'good ' * (i % 2)}{'film' if i % 3 else 'book'}",
            "labels": ["a"] * (i % 2) + ["b"],
        }
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def tags(path: Path) -> str:
    lines = []
    for i in range(40):
        lines += ["the O", "good O", "film B-work", "music I-work" if i % 2 else "is O", ""]
    path.write_text("\n".join(lines))
    return str(path)


KINDS = {
    "pairs": (pairs, "p.csv", "accuracy"),
    "regression": (scores, "s.csv", "pearson"),
    "multilabel": (several, "m.jsonl", "micro_f1"),
    "tokens": (tags, "t.conll", "span_f1"),
}
