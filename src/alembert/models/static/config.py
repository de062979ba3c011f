"""The shape of a static student, as config.json has it."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from alembert.io.errors import UserError

STATIC = "static"
# A listed pair of neighbours has a slot of its own, a hash of its two ids, by which it is found in
# one look; odd factors, so that every bit counts. alembert.inference.static has the same three.
LEFT, RIGHT, SLOTS = 1_000_003, 8_191, 2**18


class StaticConfig(PreTrainedConfig):
    """A static student: hidden_size is the width of its vectors, and it has no layers.

    bigrams: pairs of neighbouring tokens that have a vector of their own, 0 for none.
    neurons: those between a text's vector and its logits, 0 for a linear head. pairs: texts come
    in pairs, of which the head reads product, difference and cosine of both vectors; with
    `ordered`, where it counts which text is first, it reads the two vectors as well.
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
        ordered: bool = False,
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
        self.pairs, self.ordered = pairs, ordered
        self.window, self.dropout = window, dropout
        self.max_position_embeddings = max_position_embeddings
        self.num_hidden_layers, self.type_vocab_size = 0, 1
        self.pad_token_id, self.sep_token_id = pad_token_id, sep_token_id
        self.special_token_ids = sorted(special_token_ids)
        super().__init__(**fields)

    @property
    def width(self) -> int:
        """The numbers that describe a text to the head: more for a pair."""
        if not self.pairs:
            return self.hidden_size
        return self.hidden_size * (4 if self.ordered else 2) + 1


AutoConfig.register(STATIC, StaticConfig)
