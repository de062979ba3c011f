"""Where each transformers architecture keeps the parts that distillation touches."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.errors import UserError


@dataclass(frozen=True)
class Anatomy:
    """Paths of parts. `layers` and `embeddings` start at the base model, the others at a layer.

    `copies` names the eight parts of a layer that a student takes over, in one order for all
    architectures; empty where layers have another build. `transform` is the module of a MaskedLM
    model whose output enters the decoder, from the whole model.
    """

    layers: str
    query: str
    key: str
    value: str
    transform: tuple[str, ...]  # the whole chain, first to last
    copies: tuple[str, ...] = ()
    embeddings: str = "embeddings"


_BERT_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_DISTILBERT_LAYER = (
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)


def _bert_like(*transform: str, copies: tuple[str, ...] = _BERT_LAYER) -> Anatomy:
    return Anatomy("encoder.layer", *_BERT_LAYER[:3], transform=transform, copies=copies)


_ANATOMIES = {
    "bert": _bert_like("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "roberta": _bert_like("lm_head.dense", "lm_head.layer_norm"),
    "xlm-roberta": _bert_like("lm_head.dense", "lm_head.layer_norm"),
    "electra": _bert_like("generator_predictions.dense", "generator_predictions.LayerNorm"),
    **dict.fromkeys(
        ("mobilebert", "ibbert"),
        _bert_like(
            "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", copies=()
        ),
    ),
    "distilbert": Anatomy(
        "transformer.layer",
        *_DISTILBERT_LAYER[:3],
        transform=("vocab_transform", "vocab_layer_norm"),
        copies=_DISTILBERT_LAYER,
    ),
}


def anatomy(config: PreTrainedConfig, wanted_by: str) -> Anatomy:
    """The anatomy of a model's architecture. Raises UserError naming it when it is not known."""
    found = _ANATOMIES.get(config.model_type)
    if found is None:
        raise UserError(
            f"{wanted_by} cannot read the architecture '{config.model_type}': it reads "
            f"{', '.join(sorted(_ANATOMIES))}. Soft and hard labels work with any encoder"
        )
    return found


def known(config: PreTrainedConfig) -> bool:
    """Whether the architecture's insides can be read."""
    return config.model_type in _ANATOMIES


def depth(config: PreTrainedConfig) -> int:
    """The number of encoder layers."""
    return int(config.num_hidden_layers)


def bottlenecked(config: PreTrainedConfig) -> bool:
    """Whether a model's layers are MobileBERT's, narrow or, in IB-BERT, wide inside."""
    return config.model_type in ("mobilebert", "ibbert")


def attention_width(config: PreTrainedConfig) -> int:
    """The width of all heads' queries side by side."""
    return int(getattr(config, "true_hidden_size", config.hidden_size))


def layers(model: PreTrainedModel, wanted_by: str) -> nn.ModuleList:
    """The encoder layers of a model, first to last."""
    found = model.base_model.get_submodule(anatomy(model.config, wanted_by).layers)
    assert isinstance(found, nn.ModuleList)
    return found


def inner_size(model: PreTrainedModel) -> int:
    """The number of feed-forward neurons of a layer."""
    name = anatomy(model.config, "reading the inner size").copies[5]
    first = layers(model, "reading the inner size")[0].get_submodule(name)
    return len(first.get_parameter("weight"))


def positions(model: PreTrainedModel) -> Tensor:
    """The embeddings of positions 0, 1, ...: a view (P, H); RoBERTa's begin after pad."""
    table = model.base_model.get_parameter("embeddings.position_embeddings.weight")
    offset = model.config.model_type in ("roberta", "xlm-roberta")
    return table[model.config.pad_token_id + 1 :] if offset else table


def vocabulary_matrix(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    """Weight (V, H) and bias (V,) that turn the transform's output into logits over the words."""
    decoder = model.get_output_embeddings()
    if decoder is None:
        raise UserError(f"{type(model).__name__} has no masked-word head: no logits over the words")
    if bottlenecked(model.config):  # a second matrix widens it
        extra = model.get_parameter("cls.predictions.dense.weight")
        return torch.cat([decoder.weight, extra.T], dim=1), decoder.bias
    return decoder.weight, decoder.bias
