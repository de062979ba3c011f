"""A static student's engine: its rows are gathered, added up and read by a small head, in numpy.

The file is model.safetensors as alembert.models.static.packing writes it. Tables are multiplied by
their scales and weights once, when they are opened, and a column more holds the weights; so one sum
over a text's rows gives its weighted sum and its weight.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from alembert.io.errors import UserError
from alembert.io.files import read_json

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
WEIGHTS = "model.safetensors"
AGAIN = "save the model again"
LEFT, RIGHT, SLOTS = 1_000_003, 8_191, 2**18  # of pairs, as in alembert.models.static.config
BLOCK = 4096  # tokens that are gathered at once: their rows stay in the processor's cache
WINDOWS = 512  # so for windows of tokens, each of which has several rows
TINY = np.float32(1e-12)  # the least length of a vector
LEAST = 1e-6  # the least sum of weights, as there


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The fields of config.json that the engine reads."""

    width: int
    bigrams: int
    pairs: bool
    ordered: bool
    window: int
    separator: int
    special: Numbers


class StaticEngine:
    """Rows of token ids in, logits out, or vectors of a model without a head.

    It is an Engine, and takes rows one after another, too, without padding (`rows`).
    """

    takes = ("input_ids", "attention_mask")

    def __init__(self, folder: Path, kind: str) -> None:
        self._path, self._kind = folder / WEIGHTS, kind
        self._shape = _shape_of(folder / "config.json")
        try:
            tensors = load_file(self._path)
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            raise UserError(f"{self._path}: cannot be read ({error}): {AGAIN}") from error
        self._open(tensors, "embeddings" if kind == "encoder" else "static.embeddings")
        outputs = len(self._head[-1][1]) if self._head else self._shape.width
        self.shape: tuple[object, ...] = ("B", "T", outputs) if kind == "tokens" else ("B", outputs)

    def _open(self, tensors: dict[str, NDArray[Any]], part: str) -> None:
        """Make the tables and the head of the file's tensors."""
        shape = self._shape
        try:
            weights = np.exp(tensors[f"{part}.log_weights"].astype(np.float32))
            weights[shape.special] = 0
            words = _table(tensors, f"{part}.word_embeddings") * weights[:, None]
            self._words: Floats = np.ascontiguousarray(np.column_stack([words, weights]))
            self._bigrams: Floats | None = None
            if shape.bigrams:
                table = _table(tensors, f"{part}.bigram_embeddings")
                self._bigrams = np.zeros((len(table), shape.width + 1), np.float32)
                self._bigrams[:, :-1] = table
                self._list(tensors[f"{part}.bigram_keys"].astype(np.int64), len(words))
            names = ("inner", "out") if self._kind != "encoder" else ()
            self._head = [
                (tensors[f"head.{name}.weight"].astype(np.float32).T.copy(),
                 tensors[f"head.{name}.bias"].astype(np.float32))
                for name in names if f"head.{name}.weight" in tensors
            ]  # fmt: skip
            if words.shape[1] != shape.width or (self._kind != "encoder" and not self._head):
                raise ValueError(f"vectors of {words.shape[1]}, {len(self._head)} layers of a head")
            if self._bigrams is not None and len(self._bigrams) != shape.bigrams:
                raise ValueError(f"{len(self._bigrams)} rows of pairs")
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"{self._path}: does not hold what config.json tells ({error}): {AGAIN}"
            ) from error

    def _list(self, keys: Numbers, size: int) -> None:
        """Make the table of slots of the listed pairs, of which a key tells the two ids."""
        left, right = keys // size, keys % size
        there = (left >= 0) & (left < size) & ~np.isin(left, self._shape.special)
        numbers = np.flatnonzero(there & ~np.isin(right, self._shape.special))
        slots = (left[numbers] * LEFT + right[numbers] * RIGHT) & (SLOTS - 1)
        if len(np.unique(slots)) < len(slots):
            raise ValueError("two pairs of tokens with one slot")
        self._keys, self._rows = np.full(SLOTS, -1), np.zeros(SLOTS, np.int64)
        self._keys[slots], self._rows[slots] = keys[numbers], numbers

    def __call__(self, inputs: dict[str, Numbers]) -> Floats:
        """Logits of padded rows (B, T): (B, C), or (B, T, C) of tags, or (N, C) at `places`."""
        ids, real = inputs["input_ids"], inputs["attention_mask"] > 0
        if self._kind != "tokens":
            return self.rows(ids[real], real.sum(1))
        vectors = np.zeros((*ids.shape, self._shape.width), np.float32)
        flat = self._gathered(ids[real], _starts(real.sum(1)))
        vectors[real] = flat[:, :-1]
        reach, tokens = self._shape.window, ids.shape[1]
        wide = np.pad(vectors, ((0, 0), (reach, reach), (0, 0))).reshape(-1, self._shape.width)
        places = inputs.get("places", np.arange(ids.size))
        first = places + places // tokens * 2 * reach  # the first of each token's window
        read = wide[first[:, None] + np.arange(2 * reach + 1)].reshape(len(places), -1)
        logits = self._answered(read)
        return logits if "places" in inputs else logits.reshape(*ids.shape, -1)

    def outputs(self, inputs: dict[str, Numbers]) -> list[Floats]:
        """All outputs: the logits alone."""
        return [self(inputs)]

    def rows(self, ids: Numbers, lengths: Numbers) -> Floats:
        """Logits (R, C) of rows of these lengths (R,), whose ids (N,) follow one another."""
        count = max(BLOCK * len(lengths) // max(len(ids), 1), 1)
        if len(lengths) > count:
            ends = np.cumsum(lengths)
            edges = [0, *ends[count - 1 :: count].tolist(), len(ids)]
            return np.concatenate([
                self.rows(ids[edges[k] : edges[k + 1]], lengths[start : start + count])
                for k, start in enumerate(range(0, len(lengths), count))
            ])  # fmt: skip
        starts = _starts(lengths)
        found = self._gathered(ids, starts)
        if not self._shape.pairs:
            return self._answered(_mean(np.add.reduceat(found, starts, axis=0)))
        numbers = np.where(ids == self._shape.separator, np.arange(len(ids)), len(ids))
        between = np.minimum.reduceat(numbers, starts)  # the first separator of each row
        alone = between == len(ids)
        cuts = np.stack([starts, np.where(alone, starts, between)], axis=1).reshape(-1)
        sums = np.add.reduceat(found, cuts, axis=0).reshape(len(starts), 2, -1)
        if alone.any():  # all of the row is its first text
            sums[alone, 0], sums[alone, 1] = sums[alone, 1], 0
        one, other = (_unit(_mean(sums[:, part])) for part in (0, 1))
        product = one * other
        read = [product, np.abs(one - other), product.mean(1, keepdims=True)]
        return self._answered(np.hstack([one, other, *read] if self._shape.ordered else read))

    def tokens(self, ids: Numbers, lengths: Numbers, places: Numbers) -> Floats:
        """Logits (P, C) of the tokens at these places (P,) of the ids (N,) of rows, rising.

        The rows follow one another, and have these lengths (R,).
        """
        reach, width = self._shape.window, self._shape.width
        rows = np.repeat(np.arange(len(lengths)), lengths)
        at = np.arange(len(ids)) + reach * (rows + 1)  # zeros stand around each row
        wide = np.zeros((len(ids) + reach * (len(lengths) + 1), width), np.float32)
        wide[at] = self._gathered(ids, _starts(lengths))[:, :-1]
        around = np.arange(-reach, reach + 1)
        logits = [
            self._answered(wide[at[some][:, None] + around].reshape(len(some), len(around) * width))
            for some in np.split(places, range(WINDOWS, len(places), WINDOWS))
        ]
        return np.concatenate(logits)

    def _gathered(self, ids: Numbers, starts: Numbers) -> Floats:
        """The rows (N, H + 1) of tokens, with those of the pairs that end in them."""
        found = self._words.take(ids, axis=0)
        if self._bigrams is not None and len(ids) > 1:
            slots = (ids[:-1] * LEFT + ids[1:] * RIGHT) & (SLOTS - 1)
            listed = self._keys.take(slots) == ids[:-1] * len(self._words) + ids[1:]
            listed[starts[1:] - 1] = False
            at = np.flatnonzero(listed)  # few are
            found[at + 1] += self._bigrams.take(self._rows.take(slots[at]), axis=0)
        return found

    def _answered(self, read: Floats) -> Floats:
        """The head's logits of what describes texts or tokens; the vectors without a head."""
        for number, (weight, bias) in enumerate(self._head):
            read = (np.maximum(read, 0) if number else read) @ weight + bias
        return read


def _starts(lengths: Numbers) -> Numbers:
    starts: Numbers = np.cumsum(lengths) - lengths
    return starts


def _mean(sums: Floats) -> Floats:
    """The means (R, H) of sums of rows (R, H + 1), whose last column has their weights."""
    mean = sums[:, :-1] / np.maximum(sums[:, -1:], np.float32(LEAST))
    return np.asarray(mean, np.float32)


def _unit(vectors: Floats) -> Floats:
    """The vectors (R, H) with the length that makes a number's size 1."""
    length = np.sqrt(np.square(vectors).sum(1, keepdims=True))
    scaled: Floats = vectors * (np.float32(np.sqrt(vectors.shape[1])) / np.maximum(length, TINY))
    return scaled


def _table(tensors: dict[str, NDArray[Any]], name: str) -> Floats:
    table: Floats = tensors[f"{name}.rows"].astype(np.float32) * tensors[f"{name}.scales"][:, None]
    return table


def _shape_of(path: Path) -> Shape:
    fields = read_json(path, AGAIN)
    try:
        return Shape(
            width=int(fields["hidden_size"]),
            bigrams=int(fields["bigrams"]),
            pairs=bool(fields["pairs"]),
            ordered=bool(fields["ordered"]),
            window=int(fields["window"]),
            separator=int(-1 if fields["sep_token_id"] is None else fields["sep_token_id"]),
            special=np.array(fields["special_token_ids"], np.int64),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is no static student's ({error}): {AGAIN}") from error
