"""Reads the embedding tables of a model, and writes them into a student."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.io.errors import UserError
from alembert.models import architectures

WIDER = ("embeddings_project", "encoder.embedding_hidden_mapping_in")  # ELECTRA's and ALBERT's


def tables(model: PreTrainedModel) -> tuple[Tensor, ...]:
    """The word (V, H), position (P, H) and token type (K, H) tables, as wide as the layers.

    The positions of a model without a position table are zeros, and K is 0 without token types.
    Where a matrix widens the normed sum (ALBERT, a small ELECTRA), the tables are multiplied by
    the linear part of norm and matrix.
    """
    parts = dict(model.base_model.named_parameters())
    words = model.get_input_embeddings().get_parameter("weight")
    types = parts.get("embeddings.token_type_embeddings.weight", words.new_zeros(0, words.shape[1]))
    matrix: Tensor | None = parts.get("embeddings.embed_proj.weight")  # DeBERTa norms afterwards
    for name in WIDER:
        if (wide := parts.get(f"{name}.weight")) is not None:
            normed = parts["embeddings.LayerNorm.weight"] * wide
            matrix = normed - normed.mean(dim=1, keepdim=True)
    summed = (words, architectures.positions(model), types)
    return summed if matrix is None else tuple(table @ matrix.T for table in summed)


def norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm of the embedding sum; None where a matrix stands between it and the layers."""
    parts = dict(model.base_model.named_modules())
    if any(name in parts for name in WIDER):
        return None
    layer_norm: nn.Module = parts.get("embeddings.LayerNorm") or parts["embeddings.norm"]
    return layer_norm


@torch.no_grad()
def write(student: PreTrainedModel, words: Tensor, positions: Tensor, types: Tensor) -> None:
    """Writes tables of the student's hidden size into its embeddings; the norm is left alone.

    In a student without token types, type 0 is added to the positions. Raises UserError when the
    student has more positions than the table.
    """
    params = dict(student.base_model.get_submodule("embeddings").named_parameters())
    params["word_embeddings.weight"].copy_(words)
    type_table = params.get("token_type_embeddings.weight")
    if type_table is not None:
        type_table.zero_()[: len(types)] = types[: len(type_table)]
    elif len(types):
        positions = positions + types[0]
    table = architectures.positions(student)
    if len(table) > len(positions):
        raise UserError(
            f"the student has {len(table)} positions and its teacher {len(positions)}: lower its "
            "max_position_embeddings"
        )
    table.copy_(positions[: len(table)])


@torch.no_grad()
def copy_distances(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Copies the table of relative positions (D, A) of the heads that both have, if both have one.

    A narrower student's head stands for the teacher's of the same number.
    """
    if not architectures.keeps_distances(student.config, teacher.config):
        return
    name = architectures.anatomy(teacher.config, "").distances
    to, source = (
        model.base_model.get_submodule(name).get_parameter("weight") for model in (student, teacher)
    )
    heads = min(to.shape[1], source.shape[1])
    to.zero_()[:, :heads] = source[:, :heads]


@torch.no_grad()
def copy_module(to: nn.Module, source: nn.Module) -> None:
    """Copies a Linear or a norm into another of the same shape; a missing bias counts as zeros."""
    to.get_parameter("weight").copy_(source.get_parameter("weight"))
    bias = dict(source.named_parameters()).get("bias")
    if (to_bias := dict(to.named_parameters()).get("bias")) is not None:
        to_bias.zero_() if bias is None else to_bias.copy_(bias)
