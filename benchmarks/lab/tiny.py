"""The models and files of the tests, for measurements that ask for no size: 2 layers, 99 words."""

import sys
from pathlib import Path

from benchmarks.lab.workers import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from support import bombs, hostile, hostile_folders, hostile_models
from support.distributed_worker import main as work
from support.distributed_worker import short
from support.hostile import thrown
from support.runs import corpus_file, saved, task_file
from support.vocabulary import VOCABULARY
from transformers import BertTokenizer

ATTACKS = hostile.ATTACKS | hostile_models.ATTACKS | hostile_folders.ATTACKS

__all__ = ["ATTACKS", "bombs", "lay_out", "short", "thrown", "tokenizer_of", "work"]


def tokenizer_of() -> BertTokenizer:
    return BertTokenizer(vocab={word: i for i, word in enumerate(VOCABULARY)})


def lay_out(
    home: Path, rows: int = 60, judged: int = 60, lines: int = 80, tokens: int = 64
) -> None:
    """A folder with teacher/ (of a task), words/ (of masked words), a task's files and a corpus."""
    home.mkdir(parents=True, exist_ok=True)
    saved(home / "teacher", tokenizer_of(), "classification", max_position_embeddings=tokens)
    saved(home / "words", tokenizer_of(), seed=1, max_position_embeddings=tokens)
    task_file(home / "train.csv", rows=rows)
    task_file(home / "valid.csv", rows=judged, seed=1)
    task_file(home / "test.csv", rows=judged, seed=2)
    corpus_file(home / "corpus.txt", lines=lines)
