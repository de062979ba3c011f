"""Where each transformers architecture keeps the parts that distillation touches: a table."""

from dataclasses import dataclass

# their positions begin after the padding's number
SHIFTED = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta")


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
