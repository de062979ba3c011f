"""Starts a static student: an encoder's vectors of single tokens, moved by those of whole texts.

Each token is sent through the teacher alone, between the special tokens, and its states are
averaged (Model2Vec does so). Frequent tokens begin with small weights in the mean of a text: a /
(a + p), smooth inverse frequency (Arora et al. 2017). Then the vectors are fitted to what the
teacher says of whole texts, where there are any (text_vectors).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.initialization.pca import principal
from alembert.initialization.text_vectors import Ids, fit, vectors_of
from alembert.io.errors import UserError
from alembert.io.progress import counted
from alembert.models.building import config_of, draw_model
from alembert.models.loading import label_fields
from alembert.models.static.config import LEFT, RIGHT, SLOTS
from alembert.models.static.model import StaticModel

SMOOTHING = 1e-3  # a: the frequency of a token whose weight is a half
BATCH = 1024  # tokens that the teacher reads at once
OFTEN = 2  # occurrences of a pair of neighbours that may have a vector
SPREAD = 1.0  # root mean square of the vectors' numbers
FEW = 0.1  # size of all tokens' vectors beside those of texts, by which components are chosen


@dataclass(frozen=True, kw_only=True)
class Words:
    """A tokenizer's special tokens, and how often each of its tokens occurs in a run's texts.

    begin and end stand around a text; separator is the token between two texts. pairs are the keys
    of neighbouring tokens (see models.static.model), those that occur most first.
    """

    begin: tuple[int, ...]
    end: tuple[int, ...]
    special: tuple[int, ...]
    separator: int | None
    counts: NDArray[np.int64]  # (V,)
    pairs: NDArray[np.int64]


def words_of(
    tokenizer: PreTrainedTokenizerBase,
    input_ids: NDArray[np.integer],
    lengths: Sequence[int],
    vocab_size: int,
) -> Words:
    """Return the Words of texts of these lengths, whose input_ids follow one another."""
    around = tuple(tokenizer("")["input_ids"])
    begin = around[: len(around) // 2]
    used = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id,
            tokenizer.bos_token_id, tokenizer.eos_token_id)  # fmt: skip
    special = {number for number in (*around, *used) if number is not None}
    return Words(
        begin=begin,
        end=around[len(begin) :],
        special=tuple(sorted(special)),
        separator=around[-1] if around else None,
        counts=np.bincount(input_ids, minlength=len(tokenizer)),
        pairs=_frequent_pairs(input_ids.astype(np.int64), lengths, sorted(special), vocab_size),
    )


def _frequent_pairs(
    ids: NDArray[np.int64], lengths: Sequence[int], special: Sequence[int], size: int
) -> NDArray[np.int64]:
    """Return the keys of neighbours that occur OFTEN times or more, the most frequent first.

    Of pairs with the same slot the most frequent one counts.
    """
    beside = ~np.isin(ids, special)
    both = beside[:-1] & beside[1:]
    both[np.cumsum(lengths)[:-1] - 1] = False  # the last token of a text and the next one's first
    keys, counts = np.unique(ids[:-1][both] * size + ids[1:][both], return_counts=True)
    keys = keys[counts >= OFTEN][np.argsort(-counts[counts >= OFTEN], kind="stable")]
    slots = (keys // size * LEFT + keys % size * RIGHT) % SLOTS
    frequent: NDArray[np.int64] = keys[np.sort(np.unique(slots, return_index=True)[1])]
    return frequent


def static_student(
    fields: dict[str, object],
    head: str,
    labels: Sequence[str],
    teacher: PreTrainedModel | None,
    words: Words,
    seed: int,
    texts: Sequence[Ids] = (),
) -> PreTrainedModel:
    """Return a static student; without a teacher its vectors are drawn at random.

    Those of a teacher are fitted to what it says of these texts (`text_vectors.single_texts`).

    Raises UserError for vectors wider than the teacher's, and where pairs cannot be told apart.
    """
    told = {"special_token_ids": words.special, "sep_token_id": words.separator}
    config = config_of(fields | told | label_fields(head, labels))
    if config.pairs and words.separator is None:
        raise UserError("a static student of pairs needs a tokenizer with a token between texts")
    student = draw_model(config, head, seed)
    body = student.base_model
    assert isinstance(body, StaticModel)
    with torch.no_grad():
        body.embeddings.log_weights.copy_(_weights(words, config.vocab_size).log())
    if config.bigrams:
        body.embeddings.list_pairs(torch.from_numpy(words.pairs[: config.bigrams]))
    if teacher is not None:
        _start(body, teacher, words, texts)
    return student


@torch.no_grad()
def _start(body: StaticModel, teacher: PreTrainedModel, words: Words, texts: Sequence[Ids]) -> None:
    """Give a student the teacher's vectors of its tokens, which these texts then move."""
    width = body.config.hidden_size
    if width > int(teacher.config.hidden_size):
        raise UserError(
            f"student.hidden_size {width}: a static student's vectors are at most as wide as its "
            f"teacher's, {teacher.config.hidden_size}"
        )
    tokens = _centred(_vectors(teacher, words, body.config.vocab_size))
    read = tokens[:0]
    if texts:
        found = vectors_of(teacher, texts, words.begin, words.end)
        read = _centred(torch.from_numpy(found))
    # few texts have fewer components than the student
    basis = principal(torch.cat([_unit(read), FEW * _unit(tokens)]), width)
    narrow = tokens @ basis
    size = SPREAD / narrow.square().mean().sqrt().clamp_min(1e-12)
    body.embeddings.word_embeddings.weight.copy_(narrow * size)
    if texts:
        fit(body, texts, (read @ basis).numpy())


def _centred(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(dim=0)


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors of which all numbers together have length 1."""
    length: Tensor = vectors.norm().clamp_min(1e-12)
    return vectors / length


def _weights(words: Words, size: int) -> Tensor:
    """Return the weight (V,) of each token: small for frequent ones, 1 for one not seen."""
    counts = np.zeros(size)
    counts[: len(words.counts)] = words.counts[:size]
    counts[[number for number in words.special if number < size]] = 0
    share = torch.from_numpy(counts / max(counts.sum(), 1)).float()
    return SMOOTHING / (SMOOTHING + share)


@torch.no_grad()
def _vectors(teacher: PreTrainedModel, words: Words, size: int) -> Tensor:
    """Return the mean (V, H) of the teacher's last states of each token alone in a text."""
    body, found = teacher.base_model, []
    before, after = (torch.tensor(ids, dtype=torch.long) for ids in (words.begin, words.end))
    for part in counted(torch.arange(size).split(BATCH), "teacher's vectors", "batches"):
        around = [ids.expand(len(part), -1) for ids in (before, after)]
        ids = torch.cat([around[0], part[:, None], around[1]], dim=1)
        states = body(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        found.append(states.mean(dim=1).float())
    return torch.cat(found)
