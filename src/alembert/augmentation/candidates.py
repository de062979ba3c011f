"""Candidates to replace a word: an MLM's predictions, or the nearest words by word vectors."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from tokenizers import Encoding
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.augmentation.variants import is_word
from alembert.augmentation.word_vectors import SPARE, Vectors, nearest, others
from alembert.data.collate import pad
from alembert.evaluation.predict import logits_at
from alembert.recipes.schema import Augment

TOKENS = 1024  # of a batch; more are no faster on a CPU
LONGEST = 512  # the most tokens of a pass, for models with more positions too

TextSpans = tuple[str, list[tuple[int, int]]]  # a text, and the (start, end) of its words
TokenSpan = tuple[int, int, int, int]  # first token, the one after the last, text, word


@dataclass(frozen=True)
class MaskedLM:
    """An MLM, in the precision that it runs in, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @cached_property
    def words(self) -> dict[int, str]:
        """Token id -> word, for the tokens that are complete words."""
        tokens = sorted(self.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        # byte pairs and SentencePiece mark the tokens that begin a word, WordPiece the others
        begins = [token[:1] in ("Ġ", "▁") for token, _ in tokens]
        if sum(begins) > sum(token.startswith("##") for token, _ in tokens):
            plain = self.tokenizer.convert_tokens_to_string
            tokens = [
                (plain([t]).strip(), i) for (t, i), b in zip(tokens, begins, strict=True) if b
            ]
        return {i: token for token, i in tokens if is_word(token)}


def candidates(
    inputs: Sequence[TextSpans], settings: Augment, vectors: Vectors | None, mlm: MaskedLM | None
) -> list[list[list[str]]]:
    """Return each word's candidates in each text, best first, at most settings.candidates.

    They are the nearest by vector for words of several tokens in `vectors`, and for all words
    without `mlm`; the predictions of `mlm` for the others.
    """
    words = [[text[start:end] for start, end in spans] for text, spans in inputs]
    predicted = {} if mlm is None else by_model(inputs, settings, mlm, vectors)
    rest = {w for i, row in enumerate(words) for j, w in enumerate(row) if (i, j) not in predicted}
    near = {} if vectors is None else nearest(vectors, sorted(rest), settings.candidates)
    return [
        [predicted.get((i, j)) or near.get(word, []) for j, word in enumerate(row)]
        for i, row in enumerate(words)
    ]


def by_model(
    inputs: Sequence[TextSpans], settings: Augment, mlm: MaskedLM, vectors: Vectors | None = None
) -> dict[tuple[int, int], list[str]]:
    """Return the MLM's predictions by (text, word).

    Its input is `[CLS] text with masks [SEP] text [SEP]` (TinyBERT), or a window of a text that is
    too long. A word of several tokens has one mask, unless `vectors` have the word: then it is
    left out.
    """
    device = next(mlm.model.parameters()).device
    only_words = torch.full((mlm.model.config.vocab_size,), -torch.inf, device=device)
    only_words[list(mlm.words)] = 0
    predicted = {}
    mlm.model.eval()
    with torch.inference_mode():
        for batch, spans in _batches(inputs, settings.together, mlm, vectors):
            logits = logits_at(mlm.model, batch, batch.pop("masked")).add_(only_words)
            best = logits.topk(min(settings.candidates + SPARE, len(mlm.words))).indices.tolist()
            for (_, _, i, j), row in zip(spans, best, strict=True):
                start, end = inputs[i][1][j]
                words = [mlm.words[k] for k in row]
                predicted[i, j] = others(inputs[i][0][start:end], words, settings.candidates)
    return predicted


def _batches(
    inputs: Sequence[TextSpans], together: float, mlm: MaskedLM, vectors: Vectors | None
) -> Iterator[tuple[dict[str, Tensor], list[TokenSpan]]]:
    """Yield inputs (B, T), among them `masked` (B, T) bool, and the words at its Trues in order.

    Passes of similar length share a batch.
    """
    config, tokenizer = mlm.model.config, mlm.tokenizer
    pair = tokenizer("a", "b")  # shows the positions of this tokenizer's special tokens
    ids, which = pair["input_ids"], pair.sequence_ids(0)
    first, second = which.index(0), which.index(1)
    before, between, behind = (
        [i for i, of in zip(ids[part], which[part], strict=True) if of is None]
        for part in (slice(first), slice(first, second), slice(second, None))
    )
    special = len(before) + len(between) + len(behind)
    # RoBERTa's first two positions stand for no token
    window_size = (min(LONGEST, config.max_position_embeddings - 2) - special) // 2
    types = "token_type_ids" in pair and getattr(config, "type_vocab_size", 0) > 1
    passes = sorted(
        _passes(inputs, mlm, vectors, window_size, together), key=lambda one: -len(one[0])
    )
    while passes:
        part = passes[: max(1, TOKENS // (2 * len(passes[0][0]) + special))]
        del passes[: len(part)]
        rows: list[dict[str, list[int]]] = []
        masked: list[tuple[int, int]] = []
        for window, spans in part:
            with_masks, masks = _mask(window, spans, int(tokenizer.mask_token_id or 0))
            masked += [(len(rows), len(before) + k) for k in masks]
            one, two = before + with_masks + between, window + behind
            kinds = {"token_type_ids": [0] * len(one) + [1] * len(two)} if types else {}
            rows.append({"input_ids": one + two, **kinds})
        batch = pad(rows, int(tokenizer.pad_token_id or 0))
        batch["masked"] = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        batch["masked"][tuple(zip(*masked, strict=True))] = True
        yield batch, [span for _, spans in part for span in spans]


def _mask(window: list[int], spans: list[TokenSpan], mask: int) -> tuple[list[int], list[int]]:
    """Return the window with one mask in place of each span, and the positions of the masks."""
    ids: list[int] = []
    masks, last = [], 0
    for start, end, _, _ in spans:
        ids += window[last:start]
        masks.append(len(ids))
        ids.append(mask)
        last = end
    return ids + window[last:], masks


def _passes(
    inputs: Sequence[TextSpans],
    mlm: MaskedLM,
    vectors: Vectors | None,
    window_size: int,
    together: float,
) -> Iterator[tuple[list[int], list[TokenSpan]]]:
    """Yield the ids of a window, at most `window_size`, and words to mask in it, each word once."""
    texts = [text for text, _ in inputs]
    encodings = mlm.tokenizer(texts, add_special_tokens=False, verbose=False).encodings or ()
    half = max(1, window_size // 2)
    for i, encoding in enumerate(encodings):
        windows: dict[int, list[TokenSpan]] = {}
        for j, (start, end) in enumerate(inputs[i][1]):
            first, last = _tokens(encoding, start, end)
            find = vectors.find if vectors is not None and last - first > 1 else None
            if find is not None and find(texts[i][start:end]) is not None:
                continue
            # windows overlap by half: a word has at least a quarter of one on either side
            at = max(0, min(round(first / half - 1) * half, len(encoding) - window_size))
            if first < last <= at + window_size:
                windows.setdefault(at, []).append((first - at, last - at, i, j))
        for at, spans in windows.items():
            window = encoding.ids[at : at + window_size]
            count = -(-len(spans) // max(1, math.ceil(together * len(window))))
            for k in range(count):
                yield window, spans[k::count]  # spreads the masks of one pass


def _tokens(encoding: Encoding, start: int, end: int) -> tuple[int, int]:
    """Return the first token of text[start:end] and the one after its last; (0, 0) if none."""
    first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
    if first is None or last is None:
        return 0, 0
    # byte pairs may include the space before; tokens of more than the word do not count
    exact = encoding.offsets[first][0] >= start - 1 and encoding.offsets[last][1] == end
    return (first, last + 1) if exact else (0, 0)


def vectors_of(mlm: MaskedLM) -> Vectors:
    """Return a model's input embeddings as vectors of the words that are one token.

    The mean of several tokens does not represent their word: it puts brash near bra.
    """
    embeddings: Any = mlm.model.get_input_embeddings()
    matrix = embeddings.weight.detach()[list(mlm.words)].float().cpu()
    rows = {word.casefold(): k for k, word in reversed([*enumerate(mlm.words.values())])}

    def find(word: str) -> Tensor | None:
        row = rows.get(word.casefold())
        return None if row is None else matrix[row]

    return Vectors(tuple(mlm.words.values()), normalize(matrix), find)
