"""Encodes texts as rows of token ids, cut to the model's length or in overlapping windows."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from alembert.inference.engine import Ids
from alembert.inference.texts import check_unicode, checked, checked_words, named
from alembert.io import checksums
from alembert.io.answers import Text, places_in_windows, too_long_for_windows, windows_share
from alembert.io.errors import UserError
from alembert.io.parsing import json_of

MASKS = ("[MASK]", "<mask>")
LONG = 1000  # characters of a text above which its encoding would hold up other threads


@dataclass(frozen=True, slots=True)
class Cut:
    """The token ids of a truncated text; its Encoding would also hold the part cut off."""

    ids: list[int]
    type_ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Rows:
    """R rows for a model; a text in windows has several, one after the other.

    owners has the index of each row's text, from 0 to texts - 1.
    """

    encodings: list[Encoding]
    owners: list[int]
    texts: int

    @property
    def lengths(self) -> list[int]:
        return [len(encoding) for encoding in self.encodings]

    def batch(self, chosen: Sequence[int]) -> Ids:
        """The `batch_of` these rows."""
        return batch_of([self.encodings[row] for row in chosen])

    def positions(
        self, keys: Callable[[Encoding], Sequence[Hashable | None]]
    ) -> list[dict[Hashable, tuple[int, int]]]:
        """For each text, {key: (row, column) of its first token}, in the order of the text.

        keys returns the key of each token of a row, or None.
        """
        return places_in_windows(list(map(keys, self.encodings)), self.owners, self.texts)


def batch_of(encodings: "Sequence[Encoding | Cut]") -> Ids:
    """input_ids, attention_mask and token_type_ids (B, T), padded on the right with 0."""
    if len(encodings) == 1:  # a shortcut that takes a third of the time
        ids, types = encodings[0].ids, encodings[0].type_ids
        rows = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        return {name: np.array([row], np.int64) for name, row in rows.items()}
    lengths = np.array([len(encoding) for encoding in encodings])
    real = np.arange(lengths.max()) < lengths[:, None]

    def padded(values: list[list[int]]) -> NDArray[np.int64]:
        padded = np.zeros(real.shape, np.int64)
        padded[real] = np.fromiter(chain.from_iterable(values), np.int64, int(lengths.sum()))
        return padded

    return {
        "input_ids": padded([encoding.ids for encoding in encodings]),
        "attention_mask": real.astype(np.int64),
        "token_type_ids": padded([encoding.type_ids for encoding in encodings]),
    }


class Reader:
    """The tokenizer of a folder, with truncation set anew; safe to share between threads."""

    def __init__(self, folder: Path, max_length: int, windows: bool) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{folder}: there is no tokenizer.json: save the tokenizer there too")
        checksums.check_folder(folder, checksums.TOKENIZER)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # its errors share no class but this
            raise UserError(
                f"{path}: cannot be read ({error}): save the tokenizer again"
            ) from error
        specials = tokenizer.num_special_tokens_to_add(is_pair=True)
        if max_length - specials < 2:
            raise UserError(f"max_length {max_length}: no token fits beside the special tokens")
        # the side on which training truncated; windows cover the whole text
        side = "right" if windows else _side(folder, tokenizer)
        stride = windows_share(max_length, specials) if windows else 0
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, stride=stride, direction=side)
        self.tokenizer = tokenizer
        self.windows, self.max_length = windows, max_length
        ids = [tokenizer.token_to_id(name) for name in MASKS]
        self._mask = next((i for i in ids if i is not None), None)

    def __call__(self, texts: Sequence[Text], words: bool = False, first: int = 0) -> Rows:
        """Encodes texts and pairs or, if `words`, lists of words.

        first is added to the number of a text in errors. Raises UserError for a text that is
        empty, of another type, or no valid Unicode.
        """
        check = checked_words if words else checked
        inputs = [check(text, number) for number, text in enumerate(texts, start=first + 1)]
        if self.windows and not words:
            self._check_pairs(inputs, first)
        try:
            # one by one, on the calling thread: a batch would take the pool of all threads
            encodings = [self._encode(text, words) for text in inputs]
        except TypeError:  # raised for a text that cannot be encoded as UTF-8
            for number, text in enumerate(inputs, start=first + 1):
                check_unicode(text, number)
            raise
        if not self.windows:
            return Rows(encodings, list(range(len(encodings))), len(encodings))
        pairs = [(row, i) for i, each in enumerate(encodings) for row in (each, *each.overflowing)]
        return Rows([row for row, _ in pairs], [i for _, i in pairs], len(encodings))

    def _encode(self, text: Text, words: bool) -> Encoding:
        first, second = text if isinstance(text, tuple) else (text, None)
        if len(first) + len(second or "") > LONG:  # a batch, of one, lets other threads run
            one = first if second is None else (first, second)
            return self.tokenizer.encode_batch([one], is_pretokenized=words)[0]
        return self.tokenizer.encode(first, second, is_pretokenized=words)

    def masks(self, row: Encoding) -> list[tuple[int | None, tuple[int, int]] | None]:
        """For each token its position in the text if it is a mask, else None."""
        if self._mask not in row.ids:
            return []
        return [
            (sequence, span) if token == self._mask else None
            for token, sequence, span in zip(row.ids, row.sequence_ids, row.offsets, strict=True)
        ]

    def no_mask_message(self, text: Text, number: int) -> str:
        """The message for a text without a mask."""
        name = "mask token" if self._mask is None else self.tokenizer.id_to_token(self._mask)
        return f"{named(text, number)}: no {name} within {self.max_length} tokens: put one there"

    def word(self, token: int) -> str:
        """A token as text."""
        return self.tokenizer.decode([token]).strip() or self.tokenizer.id_to_token(token) or ""

    def _check_pairs(self, texts: Sequence[Text], first: int) -> None:
        for number, text in enumerate(texts, start=first + 1):
            if too_long_for_windows(text, self.max_length):
                raise UserError(
                    f"{named(text, number)}: both texts of the pair are too long for windows: cut "
                    "them"
                )


def _side(folder: Path, tokenizer: Tokenizer) -> str:
    """The side where texts are truncated: that of tokenizer_config.json, else tokenizer.json."""
    try:
        settings = json_of((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        if (side := settings.get("truncation_side")) in ("left", "right"):
            return str(side)
    except (OSError, ValueError, AttributeError):
        pass  # a tokenizer.json alone is enough
    return str(tokenizer.truncation["direction"]) if tokenizer.truncation else "right"
