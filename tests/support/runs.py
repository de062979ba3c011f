"""What tests of whole runs share: tiny saved models and files of a task that can be learnt."""

import random
from pathlib import Path

from support.models import tiny
from transformers import BertTokenizerFast

from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe

WORDS = {"up": ["good", "very", "film"], "down": ["bad", "not", "book"], "flat": ["table", "music"]}


def task_file(path: Path, rows: int = 60, seed: int = 0, labelled: bool = True) -> str:
    """A CSV of texts whose words tell the label."""
    dice = random.Random(seed)
    lines = ["text,label" if labelled else "text"]
    for i in range(rows):
        label = list(WORDS)[i % 3]
        text = " ".join(dice.choices([*WORDS[label], "the", "is", "and"], k=dice.randint(2, 9)))
        text += f" {dice.choice(WORDS[label])}"
        lines.append(f"{text},{label}" if labelled else text)
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def corpus_file(path: Path, lines: int = 80, seed: int = 0) -> str:
    """Plain text, a paragraph a line, a document every five lines."""
    dice = random.Random(seed)
    words = [word for group in WORDS.values() for word in group] + ["the", "is", "and", "was"]
    text = []
    for i in range(lines):
        text.append(" ".join(dice.choices(words, k=dice.randint(12, 30))))
        if i % 5 == 4:
            text.append("")
    path.write_text("\n".join(text) + "\n")
    return str(path)


def saved(
    path: Path,
    tokenizer: BertTokenizerFast,
    head: str = "words",
    kind: str = "bert",
    **more: object,
) -> str:
    """A tiny saved model with its tokenizer."""
    labels = {"id2label": dict(enumerate(sorted(WORDS)))} if head == "classification" else {}
    if labels:
        labels["label2id"] = {name: i for i, name in labels["id2label"].items()}
    tiny(kind, head, std=0.0, **(labels | more)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def shrunk(recipe: Recipe) -> Recipe:
    """Every stage in two steps."""
    changes = {
        f"stages.{s.name}.{field}": value
        for s in recipe.stages
        for field, value in {"steps": "2", "batch_size": "8", "max_length": "32"}.items()
    }
    return with_settings(recipe, changes)
