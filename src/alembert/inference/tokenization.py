"""Texts become rows of token ids, cut to the model's length or in overlapping windows."""

import json
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from alembert.inference.engine import Ids
from alembert.inference.texts import check_unicode, checked, checked_words, named
from alembert.io.errors import UserError

MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class Rows:
    """R rows for a model; a text in windows has several, one after the other.

    owners: the number of the text of each row, from 0 to texts - 1.
    """

    encodings: list[Encoding]
    owners: list[int]
    texts: int

    @property
    def lengths(self) -> list[int]:
        return [len(encoding) for encoding in self.encodings]

    def batch(self, chosen: Sequence[int]) -> Ids:
        """input_ids, attention_mask and token_type_ids (B, T), padded on the right with 0."""
        picked = [self.encodings[row] for row in chosen]
        if len(picked) == 1:  # the same, in a third of the time
            ids, types = picked[0].ids, picked[0].type_ids
            rows = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
            return {name: np.array([row], np.int64) for name, row in rows.items()}
        lengths = np.array([len(encoding) for encoding in picked])
        real = np.arange(lengths.max()) < lengths[:, None]

        def laid(values: list[list[int]]) -> NDArray[np.int64]:
            laid = np.zeros(real.shape, np.int64)
            laid[real] = np.fromiter(chain.from_iterable(values), np.int64, int(lengths.sum()))
            return laid

        return {
            "input_ids": laid([encoding.ids for encoding in picked]),
            "attention_mask": real.astype(np.int64),
            "token_type_ids": laid([encoding.type_ids for encoding in picked]),
        }

    def places(
        self, keys: Callable[[Encoding], Sequence[Hashable | None]]
    ) -> list[dict[Hashable, tuple[int, int]]]:
        """Per text the first token of each key, as (row, column), in the order of the text.

        keys: of each token of a row, None where nothing is asked. Of several windows the one
        counts in which the token has most neighbours on its poorer side.
        """
        found: list[dict[Hashable, tuple[int, int]]] = [{} for _ in range(self.texts)]
        around: dict[tuple[int, Hashable], int] = {}
        for row, (encoding, owner) in enumerate(zip(self.encodings, self.owners, strict=True)):
            size = len(encoding)
            begins = row == 0 or self.owners[row - 1] != owner
            ends = row + 1 == len(self.owners) or self.owners[row + 1] != owner
            previous = None
            for column, key in enumerate(keys(encoding)):
                if key is not None and key != previous:
                    left, right = column, size - 1 - column
                    context = min(size if begins else left, size if ends else right)
                    if context > around.get((owner, key), -1):
                        around[owner, key] = context
                        found[owner][key] = (row, column)
                previous = key
        return found


class Reader:
    """The tokenizer of a folder, whatever it was last set to; safe between threads."""

    def __init__(self, folder: Path, max_length: int, windows: bool) -> None:
        # a batch is read on the thread that asks: the pool would fight with those that compute
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{folder}: there is no tokenizer.json: save the tokenizer there too")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # its errors share no class but this
            raise UserError(
                f"{path}: cannot be read ({error}): save the tokenizer again"
            ) from error
        room = max_length - tokenizer.num_special_tokens_to_add(is_pair=True)
        if room < 2:
            raise UserError(f"max_length {max_length}: no room beside the special tokens")
        # from the side on which training cut; windows go over the whole text
        side = "right" if windows else _side(folder, tokenizer)
        stride = room // 4 if windows else 0
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, stride=stride, direction=side)
        self.tokenizer = tokenizer
        self.windows, self.max_length = windows, max_length
        ids = [tokenizer.token_to_id(name) for name in MASKS]
        self._mask = next((i for i in ids if i is not None), None)

    def __call__(self, texts: Sequence[Any], words: bool = False, first: int = 0) -> Rows:
        """Rows of texts and pairs, or, if `words`, of lists of words.

        first: what errors add to the number of a text. Raises UserError for what is no text, is
        empty, or no valid Unicode.
        """
        check = checked_words if words else checked
        given = [check(text, number) for number, text in enumerate(texts, start=first + 1)]
        if self.windows and not words:
            self._check_pairs(given, first)
        try:
            encodings = self.tokenizer.encode_batch(given, is_pretokenized=words)
        except TypeError:  # what it says of a text that has no UTF-8
            for number, text in enumerate(given, start=first + 1):
                check_unicode(text, number)
            raise
        if not self.windows:
            return Rows(encodings, list(range(len(encodings))), len(encodings))
        owned = [(row, i) for i, each in enumerate(encodings) for row in (each, *each.overflowing)]
        return Rows([row for row, _ in owned], [i for _, i in owned], len(encodings))

    def masks(self, row: Encoding) -> list[tuple[int | None, tuple[int, int]] | None]:
        """Per token its place in the text if it is a mask, else None."""
        if self._mask not in row.ids:
            return []
        return [
            (sequence, span) if token == self._mask else None
            for token, sequence, span in zip(row.ids, row.sequence_ids, row.offsets, strict=True)
        ]

    def unmasked(self, text: Any, number: int) -> str:
        """What is wrong with a text in which no mask was found."""
        name = "mask token" if self._mask is None else self.tokenizer.id_to_token(self._mask)
        return f"{named(text, number)}: no {name} within {self.max_length} tokens: put one there"

    def word(self, token: int) -> str:
        """A token as a reader would write it."""
        return self.tokenizer.decode([token]).strip() or self.tokenizer.id_to_token(token) or ""

    def _check_pairs(self, texts: Sequence[Any], first: int) -> None:
        for number, text in enumerate(texts, start=first + 1):
            # every window of one text meets every window of the other, unless one has no second
            if isinstance(text, str) or min(map(len, text)) < self.max_length // 2 - 2:
                continue
            if len(text[0]) * len(text[1]) > (20 * self.max_length) ** 2:
                raise UserError(
                    f"{named(text, number)}: both texts of the pair are too long for windows: cut "
                    "them"
                )


def _side(folder: Path, tokenizer: Tokenizer) -> str:
    """Where a text is cut: what the tokenizer was saved with; its config comes first."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        if (side := settings.get("truncation_side")) in ("left", "right"):
            return str(side)
    except (OSError, ValueError, AttributeError):
        pass  # a tokenizer.json alone is enough
    return str(tokenizer.truncation["direction"]) if tokenizer.truncation else "right"
