"""Fits a static student's vectors to what an encoder says of whole texts.

The mean of a text's vectors is linear in them: those whose means come nearest to the encoder's
vectors of the texts are a ridge regression away from the vectors of single tokens. Model2Vec trains
its vectors to the same end by gradient descent ("tokenlearn"); this takes seconds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge
from torch import nn
from transformers import PreTrainedModel

from alembert.data.collate import pad
from alembert.io.progress import counted
from alembert.models.static.model import StaticModel

TEXTS = 10_000  # that the encoder reads
BATCH = 64
RIDGE = 0.05  # how far vectors keep to those of single tokens; those of texts have length 1
TOLERANCE = 1e-3  # of conjugate gradients, as a share
Ids = NDArray[np.integer]


def single_texts(ids: Ids, lengths: Sequence[int], special: Sequence[int]) -> list[Ids]:
    """Return the tokens of each text of the rows once, those of a pair apart, none of them special.

    At most TEXTS are drawn, the same ones whenever it is asked.
    """
    seen: set[bytes] = set()
    ends_of = np.cumsum(lengths)[:-1]
    split = zip(np.split(ids, ends_of), np.split(~np.isin(ids, special), ends_of), strict=True)
    for row, real in split:
        there = np.concatenate(([False], real, [False]))
        starts, ends = np.flatnonzero(there[1:] != there[:-1]).reshape(-1, 2).T
        seen.update(row[i:j].tobytes() for i, j in zip(starts, ends, strict=True))
    texts = [np.frombuffer(text, ids.dtype) for text in sorted(seen)]
    drawn = np.random.default_rng(0).permutation(len(texts))[:TEXTS]
    return [texts[i] for i in np.sort(drawn)]


@torch.no_grad()
def vectors_of(
    encoder: PreTrainedModel, texts: Sequence[Ids], begin: Sequence[int], end: Sequence[int]
) -> NDArray[np.float32]:
    """Return the mean (N, H) of the encoder's last states of each text, at length 1.

    begin and end are the special tokens around a text.
    """
    found = np.zeros((len(texts), int(encoder.config.hidden_size)), np.float32)
    padding = int(encoder.config.pad_token_id or 0)
    order = np.argsort([len(text) for text in texts], kind="stable")[::-1]
    batches = np.split(order, range(BATCH, len(order), BATCH))
    for numbers in counted(batches, "teacher's vectors of texts", "batches"):
        batch = pad([{"input_ids": [*begin, *texts[i].tolist(), *end]} for i in numbers], padding)
        states = encoder.base_model(**batch).last_hidden_state
        sums = (states.float() * batch["attention_mask"][..., None]).sum(dim=1)
        found[numbers] = nn.functional.normalize(sums).numpy()
    return found


def fit(body: StaticModel, texts: Sequence[Ids], vectors: NDArray[np.float32]) -> None:
    """Move a student's vectors, of tokens and of pairs, so that the means of texts are `vectors`.

    vectors (N, h) are centred; those of one text alone are 0, from which nothing is learnt. The
    vectors of tokens keep their size, a root mean square.
    """
    if not vectors.any():
        return
    embeddings, shares = body.embeddings, _shares(body, texts)
    table = embeddings.word_embeddings.weight.detach().numpy()
    means = shares[:, : len(table)] @ table
    start = table * ((means * vectors).sum() / max(float(np.square(means).sum()), 1e-12))
    rest = vectors - shares[:, : len(table)] @ start
    ridge = Ridge(RIDGE, fit_intercept=False, solver="sparse_cg", tol=TOLERANCE)
    moves = ridge.fit(shares, rest).coef_.reshape(vectors.shape[1], -1).T  # 1-D of one column
    fitted = start + moves[: len(table)]
    size = np.sqrt(np.square(table).mean() / max(float(np.square(fitted).mean()), 1e-12))
    with torch.no_grad():
        embeddings.word_embeddings.weight.copy_(torch.from_numpy(size * fitted))
        if embeddings.bigrams:
            pairs = torch.from_numpy(size * moves[len(table) :])
            embeddings.bigram_embeddings.weight.copy_(pairs)


def _shares(body: StaticModel, texts: Sequence[Ids]) -> csr_matrix:
    """Return how much each token and each pair counts in the mean of a text: (N, V + bigrams)."""
    embeddings, size = body.embeddings, body.config.vocab_size
    ids = np.concatenate(texts).astype(np.int64)
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    weights = embeddings.log_weights.detach().exp().numpy()[ids]
    sums = np.bincount(rows, weights)
    entries = [(rows, ids, weights / sums[rows])]
    if embeddings.bigrams:
        numbers, known = (part.numpy() for part in embeddings.pairs_of(torch.from_numpy(ids)))
        listed = known & (rows[:-1] == rows[1:])
        at = rows[:-1][listed]
        entries.append((at, size + numbers[listed], 1 / sums[at]))
    of_text, columns, values = (np.concatenate(part) for part in zip(*entries, strict=True))
    shape = (len(texts), size + embeddings.bigrams)
    return csr_matrix((values.astype(np.float32), (of_text, columns)), shape=shape)
