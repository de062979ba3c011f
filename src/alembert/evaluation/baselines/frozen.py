"""A frozen encoder's vectors of texts, pairs of texts and words, as dense features."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alembert.data.collate import pad
from alembert.data.encoded import IGNORED, Encoded, tokenize
from alembert.evaluation.baselines.linear import Linear
from alembert.io.answers import Text
from alembert.models import loading
from alembert.models.architectures import inputs_of
from alembert.models.checks import positions
from alembert.models.trace import Batch

BATCH = 64
COSINE = -1  # the column of a pair's cosine


class FrozenEncoder:
    """A saved model's body, which is never trained.

    Vectors have length 1. That of a text is the mean over its real tokens, and that of a word the
    one of its first token. A pair has the product of its vectors, their absolute difference and
    their cosine. Raises UserError for a folder that holds no encoder.
    """

    def __init__(self, path: str, max_length: int) -> None:
        self.path, self.tokenizer = path, loading.load_tokenizer(path)
        self._model = loading.load_model(path, "encoder")
        self._most = min(max_length, positions(self._model.config))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.nn.Module.to(self._model, device)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the model's files, and the length at which texts are cut."""
        return f"{loading.digest_of(self.path)} {self._most}"

    def __call__(self, texts: Sequence[Text], rows: Encoded | None = None) -> NDArray[np.float32]:
        """Return the features (N, F); of words, N is all words of the texts.

        rows: single texts or words, as the encoder's tokenizer has encoded them already.
        """
        if isinstance(texts[0], tuple):
            first, second = (self(list(side)) for side in zip(*texts, strict=True))
            product = first * second
            cosine = product.sum(1, keepdims=True)
            return np.concatenate((_unit(product), _unit(abs(first - second)), cosine), axis=1)
        if isinstance(texts[0], list):
            return _unit(self._words(texts, rows))
        rows = self._encoded(texts, np.zeros(len(texts))) if rows is None else rows
        found = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        for numbers, batch, hidden in self._hidden(rows):
            mask = batch["attention_mask"].unsqueeze(-1)
            found[numbers] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
        return _unit(found)

    def of_tokens(self, rows: Encoded, model: Linear) -> NDArray[np.float32]:
        """Return a linear model's logits (N', C) of all tokens, rows one after another.

        The encoder's own tokenizer has encoded the rows.
        """
        found = np.zeros((int(rows.offsets[-1]), len(model.bias)), np.float32)
        for numbers, _, hidden in self._hidden(rows):
            for i, row in zip(numbers, hidden, strict=True):
                vectors = row[: rows.lengths[i]].numpy()
                found[rows.offsets[i] : rows.offsets[i + 1]] = model(_unit(vectors))
        return found

    def _words(self, texts: Sequence[Text], rows: Encoded | None) -> NDArray[np.float32]:
        """The vectors of all words, (N, H); zeros for one of which the encoder reads no token."""
        counts, numbered = [len(words) for words in texts], rows is None
        if rows is None:
            rows = self._encoded(texts, [[*range(len(words))] for words in texts])
        else:  # a window has a part of its text's words
            counts = np.add.reduceat(rows.labelled.astype(int), rows.offsets[:-1]).tolist()
        starts = np.concatenate(([0], np.cumsum(counts)))
        found = np.zeros((starts[-1], self._model.config.hidden_size), np.float32)
        for numbers, batch, hidden in self._hidden(rows):
            for i, row, labels in zip(numbers, hidden, batch["labels"], strict=True):
                first = labels != IGNORED
                words = labels[first].numpy() if numbered else np.arange(int(first.sum()))
                found[starts[i] + words] = row[first].numpy()
        return found

    def _encoded(self, texts: Sequence[Text], labels: Any) -> Encoded:
        words = isinstance(labels, list)
        return tokenize(list(texts), None, labels, self.tokenizer, self._most, words)

    def _hidden(self, rows: Encoded) -> Iterator[tuple[list[int], Batch, Tensor]]:
        """The numbers of each batch's rows, the batch, and its last hidden states (B, T, H)."""
        device, padding = self._model.device, int(self.tokenizer.pad_token_id or 0)
        order = np.argsort(rows.lengths, kind="stable")[::-1].tolist()
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            batch = pad([rows[i] for i in numbers], padding)
            names = [name for name in inputs_of(self._model) if name in batch]
            given = {name: batch[name].to(device) for name in names}
            with torch.inference_mode(), torch.autocast(device.type, enabled=False):
                yield numbers, batch, self._model(**given).last_hidden_state.float().cpu()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors (N, H) at length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit
