"""A MobileBERT or IB-BERT starts as what fits its teacher: embeddings, then layer by layer."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from alembert import anatomy, embedding
from alembert.layermap import Pairs
from alembert.layerwise import WHY, fit_layers
from alembert.narrowing import match, principal
from alembert.trace import Batch, Reads, no_grad_trace


def thin(student: PreTrainedModel, teacher: PreTrainedModel, pairs: Pairs, sample: Batch) -> None:
    """Fit embeddings and layers to the teacher's, in place.

    Where both streams are equally wide they stand for the same states, else the student's for
    the principal components of the teacher's.
    """
    read = no_grad_trace(teacher, sample, Reads(hidden=frozenset({0}))).hidden[0]
    states = read[sample["attention_mask"].bool()].float()
    stream = int(student.config.hidden_size)
    basis = torch.eye(states.shape[1])
    if stream != states.shape[1]:
        basis = principal(states - states.mean(dim=0), stream)
    _embeddings(student, teacher, states, basis, sample)
    if anatomy.anatomy(teacher.config, WHY).copies or anatomy.bottlenecked(teacher.config):
        fit_layers(student, teacher, pairs, basis, sample)


def _embeddings(
    student: PreTrainedModel, teacher: PreTrainedModel, states: Tensor, basis: Tensor, sample: Batch
) -> None:
    """Copy the embeddings where both models have the same parts, else fit them; in place.

    Of a teacher that embeds words at its full width: principal components of its table, which the
    student's transformation turns back; of a MobileBERT or IB-BERT its own narrow table. Positions
    and types through the components of the hidden states where the student's stream is narrower.
    The norm is set to give the mean and spread that the teacher's embeddings, `states` (N, H), have
    on the sample.
    """
    mine, theirs = (m.base_model.get_submodule("embeddings") for m in (student, teacher))
    have, want = (dict(part.named_parameters()) for part in (mine, theirs))
    with torch.no_grad():
        if {n: p.shape for n, p in have.items()} == {n: p.shape for n, p in want.items()}:
            mine.load_state_dict(theirs.state_dict())
            return
        words, *others = embedding.tables(teacher)
        names = ("position_embeddings.weight", "token_type_embeddings.weight")
        for name, table in zip(names, others, strict=True):
            rows = table @ basis
            have[name][: len(rows)] = rows[: len(have[name])]
        if anatomy.bottlenecked(teacher.config):  # its words are narrow already
            have["word_embeddings.weight"].copy_(words)
            for name in ("embedding_transformation.weight", "embedding_transformation.bias"):
                have[name].copy_(basis.T @ want[name])
        else:
            _words(have, words, basis)
        match(student, mine.get_submodule("LayerNorm"), 0, states @ basis, sample)


def _words(have: Mapping[str, Tensor], table: Tensor, basis: Tensor) -> None:
    """The words' table (V, H) in fewer dimensions, and the way back to the stream."""
    narrow, mean = have["word_embeddings.weight"], table.mean(dim=0)
    back = principal(table - mean, narrow.shape[1])  # (H, E)
    narrow.copy_(table @ back)
    weight = have["embedding_transformation.weight"].zero_()
    middle = weight.shape[1] // narrow.shape[1] // 2 * narrow.shape[1]  # of before, itself, after
    weight[:, middle : middle + narrow.shape[1]] = basis.T @ back
    have["embedding_transformation.bias"].copy_(basis.T @ (mean - back @ (back.T @ mean)))
