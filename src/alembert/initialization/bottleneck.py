"""A MobileBERT or IB-BERT starts as what fits its teacher: embeddings, then layer by layer."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from alembert.initialization import embeddings
from alembert.initialization.bottleneck_layers import DAMPINGS, WHY, fit_layers
from alembert.initialization.least_squares import ridge
from alembert.initialization.pca import match_statistics, principal
from alembert.io.errors import UserError
from alembert.models import architectures
from alembert.models.architectures import anatomy, bottlenecked
from alembert.models.layer_map import Pairs
from alembert.models.trace import Batch, Reads, no_grad_trace

NOISE = 1e-3  # share of the largest singular value, under which a direction says nothing
LIFT = 4.0  # standard deviations over 0, where an activation changes nothing


def init_bottleneck(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Pairs, sample: Batch
) -> None:
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
    if anatomy(teacher.config, WHY).copies or bottlenecked(teacher.config):
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
    student_embeddings, teacher_embeddings = (
        m.base_model.get_submodule("embeddings") for m in (student, teacher)
    )
    have, want = (
        dict(part.named_parameters()) for part in (student_embeddings, teacher_embeddings)
    )
    with torch.no_grad():
        if {n: p.shape for n, p in have.items()} == {n: p.shape for n, p in want.items()}:
            student_embeddings.load_state_dict(teacher_embeddings.state_dict())
            return
        words, *others = embeddings.tables(teacher)
        names = ("position_embeddings.weight", "token_type_embeddings.weight")
        for name, table in zip(names, others, strict=True):
            rows = table @ basis
            have[name][: len(rows)] = rows[: len(have[name])]
        if bottlenecked(teacher.config):  # its words are narrow already
            have["word_embeddings.weight"].copy_(words)
            for name in ("embedding_transformation.weight", "embedding_transformation.bias"):
                have[name].copy_(basis.T @ want[name])
        else:
            _words(have, words, basis)
        match_statistics(
            student, student_embeddings.get_submodule("LayerNorm"), 0, states @ basis, sample
        )


def _words(have: Mapping[str, Tensor], table: Tensor, basis: Tensor) -> None:
    """The words' table (V, H) in fewer dimensions, and the way back to the stream."""
    narrow, mean = have["word_embeddings.weight"], table.mean(dim=0)
    if narrow.shape[1] > table.shape[1]:
        raise UserError(
            f"student.embedding_size {narrow.shape[1]}: at most the {table.shape[1]} of the teacher"
        )
    back = principal(table - mean, narrow.shape[1])  # (H, E)
    narrow.copy_(table @ back)
    weight = have["embedding_transformation.weight"].zero_()
    middle = weight.shape[1] // narrow.shape[1] // 2 * narrow.shape[1]  # of before, itself, after
    weight[:, middle : middle + narrow.shape[1]] = basis.T @ back
    have["embedding_transformation.bias"].copy_(basis.T @ (mean - back @ (back.T @ mean)))


def fit_mlm_head(student: PreTrainedModel, teacher: PreTrainedModel, sample: Batch) -> None:
    """Fit a masked-word head to the teacher's logits on a sample with words hidden, in place.

    The student's matrix (V, S) is its words' table (V, E) beside a second one (V, S - E). The
    teacher's (V, H) is read through the first, and what that leaves over is put, by its principal
    components, into the second. What all words share drops out of the softmax. So it is known what
    the transformation has to give, a least squares answer to the student's last states: lifted over
    its activation's bend, centred again by its norm.
    """
    depth = architectures.depth(student.config)
    told = no_grad_trace(teacher, sample, Reads(words="all")).words
    last = no_grad_trace(student, sample, Reads(hidden=frozenset({depth}))).hidden[depth]
    have = dict(student.get_submodule("cls.predictions").named_parameters(remove_duplicate=False))
    with torch.no_grad():
        assert told is not None
        teacher_decoder = told.weight - told.weight.mean(dim=0)
        student_decoder = have["decoder.weight"] - have["decoder.weight"].mean(dim=0)
        first = torch.linalg.pinv(student_decoder, rtol=NOISE) @ teacher_decoder  # (E, H)
        left = teacher_decoder - student_decoder @ first
        second = principal(left, len(have["dense.weight"]))  # (H, S - E), fewer of a narrow head
        have["dense.weight"][: second.shape[1]] = (left @ second).T
        if told.bias is not None:
            have["decoder.bias"].copy_(told.bias)
        aim = torch.zeros(len(told.rows), len(have["transform.dense.weight"]))
        aim[:, : len(first) + second.shape[1]] = told.rows.float() @ torch.cat([first.T, second], 1)
        mean, spread = aim.mean(dim=0), aim.std(dim=0).clamp(min=1e-6)
        states = last[told.selected].float()
        weight, bias = ridge(states, (aim - mean) / spread, *DAMPINGS)
        found = states @ weight.T + bias
        have["transform.dense.weight"].copy_(weight)
        have["transform.dense.bias"].copy_(bias + LIFT)
        have["transform.LayerNorm.weight"].copy_(spread * found.std(dim=1).mean())
        have["transform.LayerNorm.bias"].copy_(mean)
