"""The shape of a static student, as config.json has it."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from alembert.io.errors import UserError

STATIC = "static"
PARTS = 4  # of a pair: both vectors, their product and their absolute difference


class StaticConfig(PreTrainedConfig):
    """A static student: hidden_size is the width of its vectors, and it has no layers.

    bigrams: rows of the table of pairs of neighbouring tokens, 0 for none. neurons: neurons
    between a text's vector and its logits, 0 for a linear head. pairs: texts come in pairs.
    window: the tags of a token are read from its vector and those of so many tokens on each side.
    special_token_ids: tokens that have no vector; sep_token_id is the one between two texts.
    """

    model_type = STATIC

    def __init__(
        self,
        *,
        vocab_size: int = 30_522,
        hidden_size: int = 64,
        bigrams: int = 0,
        neurons: int = 0,
        pairs: bool = False,
        window: int = 2,
        dropout: float = 0.1,
        max_position_embeddings: int = 8192,
        pad_token_id: int | None = 0,
        sep_token_id: int | None = 102,
        special_token_ids: Sequence[int] = (0, 101, 102),
        **fields: Any,
    ) -> None:
        for name, value in (
            ("bigrams", bigrams),
            ("neurons", neurons),
            ("window", window),
        ):
            if type(value) is not int or not 0 <= value <= 10_000_000:
                raise UserError(f"a static student: {name} is {value!r}, not a whole number from 0")
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.bigrams, self.neurons = bigrams, neurons
        self.pairs, self.window, self.dropout = pairs, window, dropout
        self.max_position_embeddings = max_position_embeddings
        self.num_hidden_layers, self.type_vocab_size = 0, 1
        self.pad_token_id, self.sep_token_id = pad_token_id, sep_token_id
        self.special_token_ids = sorted(special_token_ids)
        super().__init__(**fields)

    @property
    def width(self) -> int:
        """The numbers that describe a text to the head: more for a pair."""
        return self.hidden_size * (PARTS if self.pairs else 1)


AutoConfig.register(STATIC, StaticConfig)
