"""What a model's embeddings add up, and how a student takes it over."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.io.errors import UserError
from alembert.models import architectures

WIDER = ("embeddings_project", "encoder.embedding_hidden_mapping_in")  # ELECTRA's and ALBERT's


def tables(model: PreTrainedModel) -> tuple[Tensor, ...]:
    """Words (V, H), positions 0, 1, ... (P, H) and token types (K, H), as wide as the layers.

    Positions of a model that has none are zeros, types none. A sum that is normed before a matrix
    widens it (ALBERT, a small ELECTRA) is taken as far as norm and matrix are linear.
    """
    parts = dict(model.base_model.named_parameters())
    words = model.get_input_embeddings().get_parameter("weight")
    types = parts.get("embeddings.token_type_embeddings.weight", words.new_zeros(0, words.shape[1]))
    way: Tensor | None = parts.get("embeddings.embed_proj.weight")  # a DeBERTa's, normed after
    for name in WIDER:
        if (wide := parts.get(f"{name}.weight")) is not None:
            normed = parts["embeddings.LayerNorm.weight"] * wide
            way = normed - normed.mean(dim=1, keepdim=True)
    found = (words, architectures.positions(model), types)
    return found if way is None else tuple(table @ way.T for table in found)


def norm(model: PreTrainedModel) -> nn.Module | None:
    """The norm of the sum, which layers read; None where a matrix stands between."""
    parts = dict(model.base_model.named_modules())
    if any(name in parts for name in WIDER):
        return None
    found: nn.Module = parts.get("embeddings.LayerNorm") or parts["embeddings.norm"]
    return found


@torch.no_grad()
def write(student: PreTrainedModel, words: Tensor, positions: Tensor, types: Tensor) -> None:
    """Put tables as wide as a student into its embeddings; all but its norm.

    One without types takes type 0 into its positions. Raises UserError where there are fewer
    positions than it has.
    """
    have = dict(student.base_model.get_submodule("embeddings").named_parameters())
    have["word_embeddings.weight"].copy_(words)
    kinds = have.get("token_type_embeddings.weight")
    if kinds is not None:
        kinds.zero_()[: len(types)] = types[: len(kinds)]
    elif len(types):
        positions = positions + types[0]
    room = architectures.positions(student)
    if len(room) > len(positions):
        raise UserError(
            f"the student has {len(room)} positions and its teacher {len(positions)}: lower its "
            "max_position_embeddings"
        )
    room.copy_(positions[: len(room)])


@torch.no_grad()
def copied(to: nn.Module, source: nn.Module) -> None:
    """Write a Linear or a norm over another; one without a bias has zeros."""
    to.get_parameter("weight").copy_(source.get_parameter("weight"))
    bias = dict(source.named_parameters()).get("bias")
    if (student := dict(to.named_parameters()).get("bias")) is not None:
        student.zero_() if bias is None else student.copy_(bias)
