"""What tests share: a tokenizer of 99 words that spells any lowercase ASCII word."""

import os

# models in tests are so small that a second thread costs more than it gives
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gc
import string
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import BertTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKS = list(string.ascii_lowercase + string.digits)
WORDS = [
    *".,!?'\"-",
    "the",
    "good",
    "bad",
    "film",
    "play",
    "music",
    "book",
    "table",
    "is",
    "was",
    "not",
    "very",
    "and",
    "of",
    "to",
]
VOCABULARY = [*SPECIAL, *MARKS, *(f"##{mark}" for mark in MARKS), *WORDS]


@pytest.fixture(scope="session")
def tokenizer() -> "BertTokenizerFast":
    """[PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then a = 5 ... z = 30, and so on: 99 words."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab={word: i for i, word in enumerate(VOCABULARY)})


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches of tests go to a folder of their own, never to the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """What is there by now stays, so that collecting garbage after every stage looks at little."""
    gc.collect()
    gc.freeze()
