"""What may stand in a word's place: what a masked-word model expects there, or words near it."""

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

TOKENS = 1024  # of a batch: a CPU gains nothing by more
LONGEST = 512  # tokens of a pass, however many the model can read

Ask = tuple[str, list[tuple[int, int]]]  # a text, and where its words begin and end
Place = tuple[int, int, int, int]  # a word's first token, the one after it, its text, its number


@dataclass(frozen=True)
class Masked:
    """A masked-word model, in the precision it is to run in, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @cached_property
    def words(self) -> dict[int, str]:
        """Token id -> word, for the tokens that are a whole word."""
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
    asks: Sequence[Ask], settings: Augment, vectors: Vectors | None, mlm: Masked | None
) -> list[list[list[str]]]:
    """For each word of each text what may stand there, best first, at most settings.candidates.

    Words of several pieces that `vectors` know, and without `mlm` all words, get those nearest to
    their vector; the others what `mlm` expects in their place.
    """
    words = [[text[start:end] for start, end in spans] for text, spans in asks]
    found = {} if mlm is None else by_model(asks, settings, mlm, vectors)
    rest = {w for i, row in enumerate(words) for j, w in enumerate(row) if (i, j) not in found}
    near = {} if vectors is None else nearest(vectors, sorted(rest), settings.candidates)
    return [
        [found.get((i, j)) or near.get(word, []) for j, word in enumerate(row)]
        for i, row in enumerate(words)
    ]


def by_model(
    asks: Sequence[Ask], settings: Augment, mlm: Masked, vectors: Vectors | None = None
) -> dict[tuple[int, int], list[str]]:
    """(text, word) -> what the model expects in the place of the words that it is asked about.

    It reads `[CLS] text with words hidden [SEP] text [SEP]` (TinyBERT); of a text too long for it,
    a window around the word. A word of several pieces is hidden as one, unless `vectors` know it:
    then the model is not asked about it.
    """
    device = next(mlm.model.parameters()).device
    barred = torch.full((mlm.model.config.vocab_size,), -torch.inf, device=device)
    barred[list(mlm.words)] = 0
    found = {}
    mlm.model.eval()
    with torch.inference_mode():
        for batch, places in _batches(asks, settings.together, mlm, vectors):
            logits = logits_at(mlm.model, batch, batch.pop("hidden")).add_(barred)
            best = logits.topk(min(settings.candidates + SPARE, len(mlm.words))).indices.tolist()
            for (_, _, i, j), row in zip(places, best, strict=True):
                start, end = asks[i][1][j]
                expected = [mlm.words[k] for k in row]
                found[i, j] = others(asks[i][0][start:end], expected, settings.candidates)
    return found


def _batches(
    asks: Sequence[Ask], together: float, mlm: Masked, vectors: Vectors | None
) -> Iterator[tuple[dict[str, Tensor], list[Place]]]:
    """Inputs (B, T), `hidden` (B, T) bool among them, and the words at its Trues, in their order.

    Passes of similar length share a batch.
    """
    config, tokenizer = mlm.model.config, mlm.tokenizer
    pair = tokenizer("a", "b")  # shows where this tokenizer puts its special tokens
    ids, which = pair["input_ids"], pair.sequence_ids(0)
    first, second = which.index(0), which.index(1)
    before, between, behind = (
        [i for i, of in zip(ids[part], which[part], strict=True) if of is None]
        for part in (slice(first), slice(first, second), slice(second, None))
    )
    special = len(before) + len(between) + len(behind)
    # RoBERTa's first two positions stand for no token
    room = (min(LONGEST, config.max_position_embeddings - 2) - special) // 2
    types = "token_type_ids" in pair and getattr(config, "type_vocab_size", 0) > 1
    passes = sorted(_passes(asks, mlm, vectors, room, together), key=lambda one: -len(one[0]))
    while passes:
        part = passes[: max(1, TOKENS // (2 * len(passes[0][0]) + special))]
        del passes[: len(part)]
        rows: list[dict[str, list[int]]] = []
        hidden: list[tuple[int, int]] = []
        for window, places in part:
            shown, masks = _hide(window, places, int(tokenizer.mask_token_id or 0))
            hidden += [(len(rows), len(before) + k) for k in masks]
            one, two = before + shown + between, window + behind
            kinds = {"token_type_ids": [0] * len(one) + [1] * len(two)} if types else {}
            rows.append({"input_ids": one + two, **kinds})
        batch = pad(rows, int(tokenizer.pad_token_id or 0))
        batch["hidden"] = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        batch["hidden"][tuple(zip(*hidden, strict=True))] = True
        yield batch, [place for _, places in part for place in places]


def _hide(window: list[int], places: list[Place], mask: int) -> tuple[list[int], list[int]]:
    """The window with one mask for each word at the places, and where the masks stand."""
    shown: list[int] = []
    masks, last = [], 0
    for start, end, _, _ in places:
        shown += window[last:start]
        masks.append(len(shown))
        shown.append(mask)
        last = end
    return shown + window[last:], masks


def _passes(
    asks: Sequence[Ask], mlm: Masked, vectors: Vectors | None, room: int, together: float
) -> Iterator[tuple[list[int], list[Place]]]:
    """(ids of a window of at most `room` tokens, words in it to hide), every word once."""
    texts = [text for text, _ in asks]
    encodings = mlm.tokenizer(texts, add_special_tokens=False, verbose=False).encodings or ()
    half = max(1, room // 2)
    for i, encoding in enumerate(encodings):
        windows: dict[int, list[Place]] = {}
        for j, (start, end) in enumerate(asks[i][1]):
            first, last = _tokens(encoding, start, end)
            find = vectors.find if vectors is not None and last - first > 1 else None
            if find is not None and find(texts[i][start:end]) is not None:
                continue
            # windows overlap by half: a word has at least a quarter of one on either side
            at = max(0, min(round(first / half - 1) * half, len(encoding) - room))
            if first < last <= at + room:
                windows.setdefault(at, []).append((first - at, last - at, i, j))
        for at, places in windows.items():
            window = encoding.ids[at : at + room]
            count = -(-len(places) // max(1, math.ceil(together * len(window))))
            for k in range(count):
                yield window, places[k::count]  # those of one pass stand far from each other


def _tokens(encoding: Encoding, start: int, end: int) -> tuple[int, int]:
    """The first token of the word text[start:end], and the one after its last; (0, 0) if none."""
    first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
    if first is None or last is None:
        return 0, 0
    # byte pairs may count the space before; a token that holds more than the word is not its own
    whole = encoding.offsets[first][0] >= start - 1 and encoding.offsets[last][1] == end
    return (first, last + 1) if whole else (0, 0)


def vectors_of(mlm: Masked) -> Vectors:
    """A model's input embeddings as word vectors, of the words that are one token.

    The mean of a longer word's pieces says nothing of the word: brash would give way to bra.
    """
    embeddings: Any = mlm.model.get_input_embeddings()
    matrix = embeddings.weight.detach()[list(mlm.words)].float().cpu()
    places = {word.casefold(): k for k, word in reversed([*enumerate(mlm.words.values())])}

    def find(word: str) -> Tensor | None:
        place = places.get(word.casefold())
        return None if place is None else matrix[place]

    return Vectors(tuple(mlm.words.values()), normalize(matrix), find)
