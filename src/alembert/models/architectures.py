"""A table of the paths of the modules that distillation reads, for each architecture."""

import inspect
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.io.errors import UserError
from alembert.models.static.config import STATIC

# their position ids begin after the id of the padding token
SHIFTED = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Paths of modules: `layers` from the base model, `attention` and `copies` from a layer.

    attention: the projections of queries, keys and values; the same path three times where one
    matrix computes all of them. copies: the eight modules of a layer that a student copies, in one
    order for all architectures; empty where layers are built differently. transform: the modules
    of a MaskedLM model, from its root, whose output enters the decoder. relative: attention scores
    have a part for relative positions beside the product of queries and keys. distances: the table
    of that part, from the base model, where all layers add the same; a student of the same
    architecture then keeps it.
    """

    layers: str
    attention: tuple[str, ...]
    transform: tuple[str, ...]
    copies: tuple[str, ...] = ()
    relative: bool = False
    distances: str = ""


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
    f"albert_layers.0.{part}"  # the only layer of its group; no published model has more
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
_ROBERTA = Anatomy(
    layers="encoder.layer", attention=_BERT[:3], transform=_ROBERTA_HEAD, copies=_BERT
)
_BOTTLENECK = Anatomy(layers="encoder.layer", attention=_BERT[:3], transform=_BERT_HEAD)

ANATOMIES = {
    "albert": Anatomy(
        layers="encoder.albert_layer_groups",
        attention=_ALBERT[:3],
        transform=_ALBERT_HEAD,
        copies=_ALBERT,
    ),
    "bert": Anatomy(
        layers="encoder.layer", attention=_BERT[:3], transform=_BERT_HEAD, copies=_BERT
    ),
    "camembert": _ROBERTA,
    "deberta-v2": Anatomy(
        layers="encoder.layer",
        attention=_DEBERTA[:3],
        transform=_BERT_HEAD,
        copies=_DEBERTA,
        relative=True,
    ),
    "distilbert": Anatomy(
        layers="transformer.layer",
        attention=_DISTILBERT[:3],
        transform=("vocab_transform", "vocab_layer_norm"),
        copies=_DISTILBERT,
    ),
    "electra": Anatomy(
        layers="encoder.layer", attention=_BERT[:3], transform=_ELECTRA_HEAD, copies=_BERT
    ),
    "ibbert": _BOTTLENECK,
    "mobilebert": _BOTTLENECK,
    "modernbert": Anatomy(
        layers="layers",
        attention=("attn.Wqkv",) * 3,
        transform=("head.dense", "head.norm"),
        relative=True,
    ),
    "mpnet": Anatomy(
        layers="encoder.layer",
        attention=_MPNET[:3],
        transform=_ROBERTA_HEAD,
        copies=_MPNET,
        relative=True,
        distances="encoder.relative_attention_bias",
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}


def inputs_of(model: nn.Module) -> tuple[str, ...]:
    """The names among INPUTS that a model's forward pass takes and uses.

    DistilBERT has no token types; RoBERTa takes them but has one type only.
    """
    parameters = inspect.signature(model.forward).parameters
    has_types = getattr(getattr(model, "config", None), "type_vocab_size", 0) > 1
    return tuple(name for name in INPUTS if name in parameters and (has_types or name != INPUTS[2]))


def anatomy(config: PreTrainedConfig, wanted_by: str) -> Anatomy:
    """The anatomy of a model's architecture. Raises UserError naming it when it is not known."""
    paths = ANATOMIES.get(config.model_type)
    if paths is None:
        raise UserError(
            f"{wanted_by} cannot read the architecture '{config.model_type}': it reads "
            f"{', '.join(sorted(ANATOMIES))}. Soft and hard labels work with any encoder"
        )
    if not getattr(config, "legacy", True):  # the head of DeBERTa's authors
        head = "lm_predictions.lm_head"
        return replace(paths, transform=(f"{head}.dense", f"{head}.LayerNorm"))
    return paths


def known(config: PreTrainedConfig) -> bool:
    """Whether the architecture is in the table."""
    return config.model_type in ANATOMIES


def depth(config: PreTrainedConfig) -> int:
    """The number of encoder layers."""
    return int(config.num_hidden_layers)


def bottlenecked(config: PreTrainedConfig) -> bool:
    """Whether a model has MobileBERT's layers, with a bottleneck or IB-BERT's inverted one."""
    return config.model_type in ("mobilebert", "ibbert")


def layerless(config: PreTrainedConfig) -> bool:
    """Whether a model is a static student: vectors of tokens and a head, without layers."""
    return bool(config.model_type == STATIC)


def plain(config: PreTrainedConfig) -> bool:
    """Whether a model is built like BERT, so that layers of others can be copied into it."""
    paths, width = ANATOMIES.get(config.model_type), getattr(config, "embedding_size", None)
    full_width = width in (None, config.hidden_size) and config.model_type != "albert"
    return full_width and paths is not None and bool(paths.copies) and not paths.relative


def keeps_distances(student: PreTrainedConfig, teacher: PreTrainedConfig) -> bool:
    """Whether a student has the table of relative positions that all layers of its teacher share.

    Both then add the same to their attention scores, in which queries and keys can be compared.
    """
    paths = ANATOMIES.get(teacher.model_type)
    same = student.model_type == teacher.model_type
    return same and paths is not None and bool(paths.distances)


def attention_width(config: PreTrainedConfig) -> int:
    """The width of all heads' queries side by side."""
    return int(getattr(config, "true_hidden_size", config.hidden_size))


def layers(model: PreTrainedModel, wanted_by: str) -> list[nn.Module]:
    """The encoder layers of a model, first to last; a shared layer is listed repeatedly."""
    parts = model.base_model.get_submodule(anatomy(model.config, wanted_by).layers)
    blocks = list(parts.children())
    if model.config.model_type != "albert":
        return blocks
    depth = model.config.num_hidden_layers
    return [blocks[int(number / (depth / len(blocks)))] for number in range(depth)]


def ends(model: PreTrainedModel, wanted_by: str) -> list[nn.Module]:
    """The modules whose outputs are hidden states 1, 2, ...: the layers, or modules after them."""
    modules, config = layers(model, wanted_by), model.config
    if getattr(config, "conv_kernel_size", 0) > 0:  # of large DeBERTas
        modules[0] = model.base_model.get_submodule("encoder.conv")
    if config.model_type == "modernbert":
        modules[-1] = model.base_model.get_submodule("final_norm")
    return modules


def sharpness(config: PreTrainedConfig) -> float:
    """The factor of q k / sqrt(d) in attention scores, below 1 for DeBERTa's disentangled ones."""
    if config.model_type != "deberta-v2":
        return 1.0
    return 1 / math.sqrt(1 + len({"c2p", "p2c"} & set(config.pos_att_type or ())))


def inner_size(config: PreTrainedConfig) -> int:
    """The number of feed-forward neurons of a layer."""
    return int(getattr(config, "intermediate_size", 0) or config.hidden_dim)


def offset(config: PreTrainedConfig) -> int:
    """The row of the position table that a text's first token reads."""
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
    """Weight (V, H) and bias (V,) from the transform's output to logits over the vocabulary.

    Raises UserError when the model has no MLM head.
    """
    decoder = model.get_output_embeddings()
    if decoder is None:
        name = type(model).__name__
        raise UserError(f"{name} has no masked-word head: no logits over the vocabulary")
    if not getattr(model.config, "legacy", True):
        bias = model.get_parameter("lm_predictions.lm_head.bias")
        return model.get_input_embeddings().get_parameter("weight"), bias
    if bottlenecked(model.config):  # a second matrix beside the word embeddings
        extra = model.get_parameter("cls.predictions.dense.weight")
        return torch.cat([decoder.weight, extra.T], dim=1), decoder.bias
    return decoder.weight, decoder.bias
