"""Plans, pads and masks batches of rows; all are pure functions of a seed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from alembert.data.encoded import IGNORED
from alembert.io.errors import UserError
from alembert.io.seeds import ORDER, sequence

_WINDOW = 50  # batches whose rows are sorted by length together: wide enough to save padding
Lengths = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Plan:
    """The row numbers of an epoch's batches: plan[index] (B,), in a few bytes a row."""

    order: NDArray[np.integer]  # (N,), unsigned
    places: NDArray[np.int64]  # the shuffled positions of full batches in order
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, index: int) -> list[int]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        full = index < len(self.places)
        start = int(self.places[index] if full else index) * self.batch_size
        rows: list[int] = self.order[start : start + self.batch_size].tolist()
        return rows


def plan(lengths: Lengths, batch_size: int, seed: int, epoch: int) -> Plan:
    """An epoch's batches in random order: every row once, rows of similar length together.

    The plan depends on (seed, epoch). Rows left over form a short batch at the end. Raises
    UserError for a batch size below 1.
    """
    if batch_size < 1:
        raise UserError(f"batch size {batch_size}: must be at least 1")
    rng = np.random.default_rng(sequence(seed, ORDER, epoch))
    order = rng.permutation(len(lengths))
    order = order.astype(np.min_scalar_type(len(lengths)))
    lengths = np.asarray(lengths)
    width = _WINDOW * batch_size
    for start in range(0, len(order), width):
        window = order[start : start + width]
        window[:] = window[np.argsort(lengths[window], kind="stable")]
    return Plan(order, rng.permutation(len(order) // batch_size), batch_size)


def pad(rows: list[dict[str, Any]], pad_token_id: int, multiple: int = 1) -> dict[str, Tensor]:
    """Tensors of rows, padded on the right to the longest row (rounded up to `multiple`).

    input_ids, attention_mask and, where rows have them, token_type_ids are (B, T) long. labels are
    (B,) long for ids, (B,) float for scores, (B, C) float for 0/1 rows, and (B, T) long for tags,
    padded with -100; windows of questions have spans (B, T) in their place. Rows of two segments
    have next_sentence (B,). teacher_logits are
    (B, C), or (B, T, C) for tags and windows; other teacher tensors are padded with 0 to the
    longest.
    """
    width = max(len(row["input_ids"]) for row in rows)
    width = -(-width // multiple) * multiple

    def padded(key: str, filler: int) -> Tensor:
        return torch.tensor([row[key] + [filler] * (width - len(row[key])) for row in rows])

    masks = [[1] * len(row["input_ids"]) for row in rows]
    batch = {
        "input_ids": padded("input_ids", pad_token_id),
        "attention_mask": torch.tensor([mask + [0] * (width - len(mask)) for mask in masks]),
    }
    if "token_type_ids" in rows[0]:
        batch["token_type_ids"] = padded("token_type_ids", 0)
    if "next_sentence" in rows[0]:
        batch["next_sentence"] = torch.tensor([row["next_sentence"] for row in rows])
    if "spans" in rows[0]:
        batch["spans"] = padded("spans", IGNORED)
    if "labels" in rows[0]:
        first = rows[0]["labels"]
        tags = isinstance(first, list) and not isinstance(first[0], float)
        labels = padded("labels", IGNORED) if tags else torch.tensor([r["labels"] for r in rows])
        batch["labels"] = labels.float() if labels.is_floating_point() else labels
    for name in rows[0]:
        if name.startswith("teacher_"):
            tensors = [torch.as_tensor(row[name]) for row in rows]
            batch[name] = pad_sequence(tensors, batch_first=True)
    return batch


def by_length(numbers: Iterable[int], lengths: Lengths, tokens: int) -> Iterator[list[int]]:
    """Yield the numbers of rows in groups of similar length, the longest rows first.

    A group has at most so many tokens with padding, and at least one row.
    """
    order = sorted(numbers, key=lengths.__getitem__)
    while order:
        count = max(tokens // int(lengths[order[-1]]), 1)
        yield order[-count:]
        del order[-count:]


@dataclass(frozen=True, eq=False, kw_only=True)
class Masking:
    """Masking for MLM as in BERT, or weighted to rare tokens as in DistilBERT.

    `weights` (V,) are proportional to the probability that a token is drawn; None draws evenly.
    `replace` has the shares of drawn tokens that become [MASK], become any token, or stay.
    """

    mask_token_id: int
    vocab_size: int
    special_ids: tuple[int, ...]
    share: float = 0.15
    weights: Tensor | None = None
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"masking share {self.share}: must be over 0, at most 1")
        if min(self.replace) < 0 or not math.isclose(sum(self.replace), 1):
            raise UserError(f"masking replace {self.replace}: three shares that add up to 1")
        if self.weights is not None and self.weights.shape != (self.vocab_size,):
            shape = tuple(self.weights.shape)
            raise UserError(f"masking weights {shape}: one for each of {self.vocab_size} tokens")

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """A copy of the batch with masked input_ids and the original ids in labels (B, T).

        ceil(share * tokens) positions of the batch are drawn without replacement, among them no
        special tokens and no padding; labels are -100 elsewhere.
        """
        ids = batch["input_ids"]
        drawn = self._draw(ids, batch["attention_mask"], generator)
        dice = torch.rand(ids.shape, generator=generator)
        random_ids = torch.randint(self.vocab_size, ids.shape, generator=generator)
        masked, random, _ = self.replace
        with_masks = torch.where(drawn & (dice < masked), self.mask_token_id, ids)
        swapped = drawn & (dice >= masked) & (dice < masked + random)
        return {
            **batch,
            "input_ids": torch.where(swapped, random_ids, with_masks),
            "labels": torch.where(drawn, ids, IGNORED),
        }

    def _draw(self, ids: Tensor, attention_mask: Tensor, generator: torch.Generator) -> Tensor:
        """The drawn positions, (B, T) bool."""
        special = torch.tensor(self.special_ids, dtype=ids.dtype)
        maskable = attention_mask.bool() & ~torch.isin(ids, special)
        weights = torch.ones(ids.shape) if self.weights is None else self.weights[ids]
        weights = weights * maskable
        count = math.ceil(self.share * int(attention_mask.sum()))
        count = min(count, int(weights.count_nonzero()))
        # the largest of w / Exp(1) are a weighted draw without replacement, as torch.multinomial
        # makes it, without its limit of 2^24 positions
        keys = weights / torch.empty(ids.shape).exponential_(generator=generator)
        positions = keys.flatten().topk(count).indices
        drawn = torch.zeros(ids.numel(), dtype=torch.bool)
        drawn[positions] = True
        return drawn.view(ids.shape)


def masking_for(
    tokenizer: PreTrainedTokenizerBase, share: float, rare_words: float, counts: NDArray[np.int64]
) -> Masking:
    """Masking with a tokenizer's ids; a token is drawn in proportion to count^-rare_words.

    counts (V,) are the occurrences of each token in the corpus. Raises UserError when the
    tokenizer has no mask token.
    """
    if tokenizer.mask_token_id is None:
        raise UserError(
            f"{tokenizer.name_or_path}: the tokenizer has no mask token: masked words cannot be "
            "predicted with it"
        )
    weights = None
    if rare_words > 0:
        weights = (torch.as_tensor(counts).double().clamp(min=1) ** -rare_words).float()
    specials = tuple(tokenizer.all_special_ids)
    return Masking(
        mask_token_id=int(tokenizer.mask_token_id),
        vocab_size=len(tokenizer),
        special_ids=specials,
        share=share,
        weights=weights,
    )
