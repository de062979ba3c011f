"""Where each transformers architecture keeps the parts that distillation touches: a table."""

import inspect
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.io.errors import UserError

# their positions begin after the padding's number
SHIFTED = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Anatomy:
    """Paths of parts. `layers` starts at the base model, `attention` and `copies` at a layer.

    attention: what makes queries, keys and values; one path for all three where one matrix makes
    them side by side. copies: the eight parts of a layer that a student takes over, in one order
    for all architectures; empty where layers have another build. transform: of a MaskedLM model,
    from the whole model, the chain of modules whose output enters the decoder. relative: attention
    scores depend on how far apart two tokens are, which the queries and keys read here do not say.
    """

    layers: str
    attention: tuple[str, ...]
    transform: tuple[str, ...]
    copies: tuple[str, ...] = ()
    relative: bool = False


_BERT = (
    *(f"attention.{name}" for name in ("self.query", "self.key", "self.value")),
    *(f"attention.output.{name}" for name in ("dense", "LayerNorm")),
    *("intermediate.dense", "output.dense", "output.LayerNorm"),
)
_DISTILBERT = (
    *(f"attention.{name}_lin" for name in ("q", "k", "v", "out")),
    *("sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
)
_ALBERT = tuple(
    f"albert_layers.0.{part}"  # the one of its group; no published model has more
    for part in (
        *(f"attention.{name}" for name in ("query", "key", "value", "dense", "LayerNorm")),
        *("ffn", "ffn_output", "full_layer_layer_norm"),
    )
)
_MPNET = (*(f"attention.attn.{name}" for name in "qkvo"), "attention.LayerNorm", *_BERT[5:])
_DEBERTA = (*(f"{path}_proj" for path in _BERT[:3]), *_BERT[3:])

_BERT_HEAD = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm")
_ROBERTA_HEAD = ("lm_head.dense", "lm_head.layer_norm")
_ALBERT_HEAD = ("predictions.dense", "predictions.LayerNorm")
_ELECTRA_HEAD = ("generator_predictions.dense", "generator_predictions.LayerNorm")
_ROBERTA = Anatomy("encoder.layer", _BERT[:3], _ROBERTA_HEAD, _BERT)
_THIN = Anatomy("encoder.layer", _BERT[:3], _BERT_HEAD)

ANATOMIES = {
    "albert": Anatomy("encoder.albert_layer_groups", _ALBERT[:3], _ALBERT_HEAD, _ALBERT),
    "bert": Anatomy("encoder.layer", _BERT[:3], _BERT_HEAD, _BERT),
    "camembert": _ROBERTA,
    "deberta-v2": Anatomy("encoder.layer", _DEBERTA[:3], _BERT_HEAD, _DEBERTA, relative=True),
    "distilbert": Anatomy(
        "transformer.layer", _DISTILBERT[:3], ("vocab_transform", "vocab_layer_norm"), _DISTILBERT
    ),
    "electra": Anatomy("encoder.layer", _BERT[:3], _ELECTRA_HEAD, _BERT),
    "ibbert": _THIN,
    "mobilebert": _THIN,
    "modernbert": Anatomy("layers", ("attn.Wqkv",) * 3, ("head.dense", "head.norm"), relative=True),
    "mpnet": Anatomy("encoder.layer", _MPNET[:3], _ROBERTA_HEAD, _MPNET, relative=True),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}


def inputs_of(model: nn.Module) -> tuple[str, ...]:
    """Those of INPUTS that its forward pass takes and uses.

    DistilBERT has no token types; RoBERTa takes them, and knows one type alone.
    """
    taken = inspect.signature(model.forward).parameters
    typed = getattr(getattr(model, "config", None), "type_vocab_size", 0) > 1
    return tuple(name for name in INPUTS if name in taken and (typed or name != INPUTS[2]))


def anatomy(config: PreTrainedConfig, wanted_by: str) -> Anatomy:
    """The anatomy of a model's architecture. Raises UserError naming it when it is not known."""
    found = ANATOMIES.get(config.model_type)
    if found is None:
        raise UserError(
            f"{wanted_by} cannot read the architecture '{config.model_type}': it reads "
            f"{', '.join(sorted(ANATOMIES))}. Soft and hard labels work with any encoder"
        )
    if not getattr(config, "legacy", True):  # DeBERTa's own head, not transformers' first
        head = "lm_predictions.lm_head"
        return replace(found, transform=(f"{head}.dense", f"{head}.LayerNorm"))
    return found


def known(config: PreTrainedConfig) -> bool:
    """Whether the architecture's insides can be read."""
    return config.model_type in ANATOMIES


def depth(config: PreTrainedConfig) -> int:
    """The number of encoder layers."""
    return int(config.num_hidden_layers)


def bottlenecked(config: PreTrainedConfig) -> bool:
    """Whether a model's layers are MobileBERT's, narrow or, in IB-BERT, wide inside."""
    return config.model_type in ("mobilebert", "ibbert")


def plain(config: PreTrainedConfig) -> bool:
    """Whether a model is built as a BERT is, so that it can take over another's layers."""
    found, width = ANATOMIES.get(config.model_type), getattr(config, "embedding_size", None)
    whole = width in (None, config.hidden_size) and config.model_type != "albert"
    return whole and found is not None and bool(found.copies) and not found.relative


def attention_width(config: PreTrainedConfig) -> int:
    """The width of all heads' queries side by side."""
    return int(getattr(config, "true_hidden_size", config.hidden_size))


def layers(model: PreTrainedModel, wanted_by: str) -> list[nn.Module]:
    """The encoder layers of a model, first to last; one that is shared comes up again."""
    parts = model.base_model.get_submodule(anatomy(model.config, wanted_by).layers)
    found = list(parts.children())
    if model.config.model_type != "albert":
        return found
    turns = model.config.num_hidden_layers
    return [found[int(turn / (turns / len(found)))] for turn in range(turns)]


def ends(model: PreTrainedModel, wanted_by: str) -> list[nn.Module]:
    """The modules whose outputs are hidden states 1, 2, ...: the layers, or what follows them."""
    found, config = layers(model, wanted_by), model.config
    if getattr(config, "conv_kernel_size", 0) > 0:  # of large DeBERTas
        found[0] = model.base_model.get_submodule("encoder.conv")
    if config.model_type == "modernbert":
        found[-1] = model.base_model.get_submodule("final_norm")
    return found


def sharpness(config: PreTrainedConfig) -> float:
    """What q k / sqrt(d) counts in attention scores; DeBERTa's have parts for positions beside."""
    if config.model_type != "deberta-v2":
        return 1.0
    return 1 / math.sqrt(1 + len({"c2p", "p2c"} & set(config.pos_att_type or ())))


def inner_size(config: PreTrainedConfig) -> int:
    """The number of feed-forward neurons of a layer."""
    return int(getattr(config, "intermediate_size", 0) or config.hidden_dim)


def offset(config: PreTrainedConfig) -> int:
    """Rows of a table of positions before that of a text's first token."""
    return int(config.pad_token_id) + 1 if config.model_type in SHIFTED else 0


def positions(model: PreTrainedModel) -> Tensor:
    """The embeddings of positions 0, 1, ...: a view (P, H); zeros of a model that has none."""
    parts = dict(model.base_model.named_parameters())
    table = parts.get("embeddings.position_embeddings.weight")
    if table is None:
        words = model.get_input_embeddings().get_parameter("weight")
        return words.new_zeros(model.config.max_position_embeddings, words.shape[1])
    return table[offset(model.config) :]


def vocabulary_matrix(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    """Weight (V, H) and bias (V,) that turn the transform's output into logits over the words."""
    decoder = model.get_output_embeddings()
    if decoder is None:
        raise UserError(f"{type(model).__name__} has no masked-word head: no logits over the words")
    if not getattr(model.config, "legacy", True):
        bias = model.get_parameter("lm_predictions.lm_head.bias")
        return model.get_input_embeddings().get_parameter("weight"), bias
    if bottlenecked(model.config):  # a second matrix widens it
        extra = model.get_parameter("cls.predictions.dense.weight")
        return torch.cat([decoder.weight, extra.T], dim=1), decoder.bias
    return decoder.weight, decoder.bias
