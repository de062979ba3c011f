"""Fits a MobileBERT or IB-BERT to its teacher: embeddings, layers and MLM head."""

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

NOISE = 1e-3  # singular values below this share of the largest are taken for 0
LIFT = 4.0  # standard deviations above 0, where ReLU and GELU are linear


def init_bottleneck(
    student: PreTrainedModel, teacher: PreTrainedModel, pairs: Pairs, sample: Batch
) -> None:
    """Fits embeddings and layers to the teacher's, in place.

    The student's hidden states approximate the teacher's where both are equally wide, and their
    principal components otherwise.
    """
    trace = no_grad_trace(teacher, sample, Reads(hidden=frozenset({0}))).hidden[0]
    states = trace[sample["attention_mask"].bool()].float()
    stream = int(student.config.hidden_size)
    basis = torch.eye(states.shape[1])
    if stream != states.shape[1]:
        basis = principal(states - states.mean(dim=0), stream)
    _fit_embeddings(student, teacher, states, basis, sample)
    if anatomy(teacher.config, WHY).copies or bottlenecked(teacher.config):
        fit_layers(student, teacher, pairs, basis, sample)


def _fit_embeddings(
    student: PreTrainedModel, teacher: PreTrainedModel, states: Tensor, basis: Tensor, sample: Batch
) -> None:
    """Copies the embeddings where both models have the same parts, else fits them, in place.

    The student's word table holds the principal components of the teacher's, which the student's
    transformation maps back; a MobileBERT's or IB-BERT's narrow table is copied. Position and type
    tables are projected onto `basis` (H, S). The norm is set to give the mean and spread that the
    teacher's embedding output, `states` (N, H), has on the sample.
    """
    student_embeddings, teacher_embeddings = (
        m.base_model.get_submodule("embeddings") for m in (student, teacher)
    )
    params, teacher_params = (
        dict(part.named_parameters()) for part in (student_embeddings, teacher_embeddings)
    )
    with torch.no_grad():
        if {n: p.shape for n, p in params.items()} == {
            n: p.shape for n, p in teacher_params.items()
        }:
            student_embeddings.load_state_dict(teacher_embeddings.state_dict())
            return
        words, *others = embeddings.tables(teacher)
        names = ("position_embeddings.weight", "token_type_embeddings.weight")
        for name, table in zip(names, others, strict=True):
            rows = table @ basis
            params[name][: len(rows)] = rows[: len(params[name])]
        if bottlenecked(teacher.config):  # its words are narrow already
            params["word_embeddings.weight"].copy_(words)
            for name in ("embedding_transformation.weight", "embedding_transformation.bias"):
                params[name].copy_(basis.T @ teacher_params[name])
        else:
            _fit_word_table(params, words, basis)
        match_statistics(
            student, student_embeddings.get_submodule("LayerNorm"), 0, states @ basis, sample
        )


def _fit_word_table(params: Mapping[str, Tensor], table: Tensor, basis: Tensor) -> None:
    """Writes the word table (V, H) in fewer dimensions, and the matrix back to the hidden size."""
    small, mean = params["word_embeddings.weight"], table.mean(dim=0)
    if small.shape[1] > table.shape[1]:
        raise UserError(
            f"student.embedding_size {small.shape[1]}: at most the {table.shape[1]} of the teacher"
        )
    components = principal(table - mean, small.shape[1])  # (H, E)
    small.copy_(table @ components)
    weight = params["embedding_transformation.weight"].zero_()
    middle = weight.shape[1] // small.shape[1] // 2 * small.shape[1]  # of before, itself, after
    weight[:, middle : middle + small.shape[1]] = basis.T @ components
    rest = mean - components @ (components.T @ mean)
    params["embedding_transformation.bias"].copy_(basis.T @ rest)


def fit_mlm_head(student: PreTrainedModel, teacher: PreTrainedModel, sample: Batch) -> None:
    """Fits an MLM head to the teacher's logits on a masked sample, in place.

    The student's decoder (V, S) is its word table (V, E) beside a second matrix (V, S - E). The
    teacher's decoder (V, H) is regressed on the first, and the second takes the principal
    components of the residual. A constant added to all logits cancels in the softmax, so we
    subtract the mean row. The output of the transform is then known and is solved for by least
    squares from the student's last hidden states; a bias keeps it in the linear range of the
    activation, and the norm centres it again.
    """
    depth = architectures.depth(student.config)
    mlm = no_grad_trace(teacher, sample, Reads(vocabulary="all")).vocabulary
    last = no_grad_trace(student, sample, Reads(hidden=frozenset({depth}))).hidden[depth]
    params = dict(student.get_submodule("cls.predictions").named_parameters(remove_duplicate=False))
    with torch.no_grad():
        assert mlm is not None
        teacher_decoder = mlm.weight - mlm.weight.mean(dim=0)
        student_decoder = params["decoder.weight"] - params["decoder.weight"].mean(dim=0)
        first = torch.linalg.pinv(student_decoder, rtol=NOISE) @ teacher_decoder  # (E, H)
        residual = teacher_decoder - student_decoder @ first
        second = principal(residual, len(params["dense.weight"]))  # (H, S - E) or fewer
        params["dense.weight"][: second.shape[1]] = (residual @ second).T
        if mlm.bias is not None:
            params["decoder.bias"].copy_(mlm.bias)
        targets = torch.zeros(len(mlm.rows), len(params["transform.dense.weight"]))
        both = torch.cat([first.T, second], 1)
        targets[:, : both.shape[1]] = mlm.rows.float() @ both
        mean, spread = targets.mean(dim=0), targets.std(dim=0).clamp(min=1e-6)
        states = last[mlm.selected].float()
        weight, bias = ridge(states, (targets - mean) / spread, *DAMPINGS)
        outputs = states @ weight.T + bias
        params["transform.dense.weight"].copy_(weight)
        params["transform.dense.bias"].copy_(bias + LIFT)
        params["transform.LayerNorm.weight"].copy_(spread * outputs.std(dim=1).mean())
        params["transform.LayerNorm.bias"].copy_(mean)
