"""The torch model of a static student, in the classes that transformers' Auto classes open."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.hub import cached_file

from alembert.models.static.config import StaticConfig
from alembert.models.static.packing import packed, unpacked

WEIGHTS = "model.safetensors"


class _Embeddings(nn.Module):
    """Vectors of tokens, their weights in the mean, and vectors of pairs of neighbours.

    bigram_keys (bigrams,), rising: the key of a pair of ids is the first times V, and the second.
    """

    bigram_keys: Tensor

    def __init__(self, config: StaticConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.log_weights = nn.Parameter(torch.zeros(config.vocab_size))
        self.bigrams = config.bigrams
        if self.bigrams:
            self.bigram_embeddings = nn.Embedding(self.bigrams, config.hidden_size)
            self.register_buffer("bigram_keys", torch.zeros(self.bigrams, dtype=torch.long))
        self.config = config

    @torch.no_grad()
    def list_pairs(self, keys: Tensor) -> None:
        """Give vectors to the pairs of these keys; what is left of the table is for none."""
        none = self.config.vocab_size**2 + torch.arange(self.bigrams - len(keys))
        self.bigram_keys.copy_(torch.cat([keys.sort().values, none]))

    def pairs_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows (..., T - 1) of the pairs of neighbouring ids, and which pairs have one."""
        keys = ids[..., :-1] * self.config.vocab_size + ids[..., 1:]
        rows = torch.searchsorted(self.bigram_keys, keys).clamp_max(self.bigrams - 1)
        return rows, self.bigram_keys[rows] == keys

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, T, H) times their weights, and the weights (B, T); zeros where none count."""
        special = torch.tensor(self.config.special_token_ids, device=ids.device)
        real = mask.bool() & ~torch.isin(ids, special)
        weights = self.log_weights[ids].exp() * real
        vectors: Tensor = self.word_embeddings(ids) * weights[..., None]
        if self.bigrams and ids.shape[1] > 1:
            rows, listed = self.pairs_of(ids)
            listed = listed & real[:, :-1] & real[:, 1:]
            after = self.bigram_embeddings(rows) * listed[..., None]
            vectors = vectors + nn.functional.pad(after, (0, 0, 1, 0))
        return vectors, weights


class _Static(PreTrainedModel):
    config_class = StaticConfig
    config: StaticConfig
    base_model_prefix = "static"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, _Embeddings):
            nn.init.normal_(module.word_embeddings.weight)
            nn.init.zeros_(module.log_weights)
            if module.bigrams:
                nn.init.zeros_(module.bigram_embeddings.weight)
                module.list_pairs(torch.empty(0, dtype=torch.long))

    def save_pretrained(self, save_directory: Any, **options: Any) -> None:  # type: ignore[override]
        """Write config.json, and model.safetensors with embeddings in int8."""
        state = packed(options.pop("state_dict", None) or self.state_dict())
        super().save_pretrained(save_directory, state_dict=state, **options)

    @classmethod
    def from_pretrained(cls, path: Any, *positional: Any, **options: Any) -> Any:  # type: ignore[override]
        """Load what `save_pretrained` wrote, from a folder or the hub."""
        config = options.pop("config", None) or StaticConfig.from_pretrained(path)
        file = Path(str(path)) / WEIGHTS
        if not file.is_file():
            file = Path(str(cached_file(str(path), WEIGHTS, local_files_only=file.parent.is_dir())))
        state = unpacked(file)
        named = {key: value for key, value in options.items() if key in OPTIONS}
        if not issubclass(cls, StaticModel):
            return super().from_pretrained(None, config=config, state_dict=state, **named)
        prefix = f"{cls.base_model_prefix}."
        body = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        return super().from_pretrained(None, config=config, state_dict=body or state, **named)


OPTIONS = ("dtype", "output_loading_info", "ignore_mismatched_sizes")


class StaticModel(_Static):
    """The vectors of a text's tokens; their mean is the text's."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embeddings = _Embeddings(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.set_submodule("word_embeddings", value)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutput:
        """last_hidden_state (B, T, H), so that its mean over all tokens is the text's vector."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors, weights = self.embeddings(input_ids, mask)
        scale = mask.sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(LEAST)
        return BaseModelOutput(last_hidden_state=vectors * scale[..., None])


LEAST = 1e-6  # the least sum of weights: that of a text without a token that counts


class StaticForSequenceClassification(_Static):
    """A static student with one row of logits a text, or a pair of texts."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.static = StaticModel(config)
        self.head = _Head(config, config.width)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors, weights = self.static.embeddings(input_ids, mask)
        if not self.config.pairs:
            return SequenceClassifierOutput(logits=self.head(_mean(vectors, weights)))
        ends = torch.eq(input_ids, self.config.sep_token_id or 0).long()
        second = (ends.cumsum(1) > ends).float()
        first, other = (_mean(vectors * part[..., None], weights * part) for part in
                        (1 - second, second))  # fmt: skip
        return SequenceClassifierOutput(logits=self.head(self._beside(first, other)))

    def _beside(self, first: Tensor, other: Tensor) -> Tensor:
        """What the head reads of two vectors (B, H), of which each number gets the size of 1."""
        size = math.sqrt(self.config.hidden_size)
        first, other = (nn.functional.normalize(each, dim=1) * size for each in (first, other))
        product = first * other
        read = [product, (first - other).abs(), product.mean(1, keepdim=True)]
        return torch.cat([first, other, *read] if self.config.ordered else read, dim=1)


class StaticForTokenClassification(_Static):
    """A static student with one row of logits a token, read from a window around it."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.static = StaticModel(config)
        self.head = _Head(config, config.hidden_size * (2 * config.window + 1))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> TokenClassifierOutput:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors, _weights = self.static.embeddings(input_ids, mask)
        reach, tokens = self.config.window, vectors.shape[1]
        wide = nn.functional.pad(vectors, (0, 0, reach, reach))
        around = [wide[:, shift : shift + tokens] for shift in range(2 * reach + 1)]
        return TokenClassifierOutput(logits=self.head(torch.cat(around, dim=-1)))


class _Head(nn.Module):
    """Logits of what describes a text or a token: a linear layer, or two with ReLU between."""

    def __init__(self, config: StaticConfig, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.inner = nn.Linear(width, config.neurons) if config.neurons else None
        self.out = nn.Linear(config.neurons or width, int(config.num_labels or 0))

    def forward(self, read: Tensor) -> Tensor:
        read = self.dropout(read)
        if self.inner is not None:
            read = self.dropout(self.inner(read).relu())
        logits: Tensor = self.out(read)
        return logits


def _mean(vectors: Tensor, weights: Tensor) -> Tensor:
    """The mean (B, H) of vectors (B, T, H) that carry their weights (B, T) already."""
    return vectors.sum(1) / weights.sum(1, keepdim=True).clamp_min(LEAST)


for auto, kind in (
    (AutoModel, StaticModel),
    (AutoModelForSequenceClassification, StaticForSequenceClassification),
    (AutoModelForTokenClassification, StaticForTokenClassification),
):
    auto.register(StaticConfig, kind)
