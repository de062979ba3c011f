"""Tokenizers of three kinds that are learnt from a few lines."""

from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

KINDS = ("WordPiece", "BPE", "Unigram")
SPECIAL = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
NAMES = {f"{name}_token": token for name, token in SPECIAL.items()}
SPOKEN = [
    "abba cab",
    "a bad cabbage",
    "dab dab dabba",
    "acacia caca",
    "dead bead",
    "baba abaca",
] * 3


@cache
def learnt(kind: str) -> Tokenizer:
    """A tokenizer of each kind whose pieces overlap in many ways; it has never seen a g."""
    tokens = list(SPECIAL.values())
    if kind == "WordPiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=60, special_tokens=tokens)
    elif kind == "BPE":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
        )
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=40, special_tokens=tokens, unk_token="<unk>", show_progress=False
        )
    made.train_from_iterator(SPOKEN, trainer)
    return made
