"""IB-BERT, the inverted-bottleneck BERT that teaches MobileBERT (Sun et al. 2020, table 1).

Its layers are MobileBERT's with an inverted bottleneck: hidden states of size 512 are projected up
to 1,024 inside each layer. transformers has the layer but computes queries and keys from projected
states; here they read the layer's input, as in the authors' code. Importing this module registers
the classes with the Auto classes.
"""

from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    MobileBertConfig,
    MobileBertForMaskedLM,
    MobileBertForQuestionAnswering,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
    MobileBertModel,
    MobileBertPreTrainedModel,
)

# the differences from MobileBERT; all else (24 layers, 4 heads, hidden size 512, embeddings of 128,
# trigrams) is the same
PAPER = {
    "intra_bottleneck_size": 1024,
    "intermediate_size": 4096,
    "num_feedforward_networks": 1,
    "key_query_shared_bottleneck": False,
    "use_bottleneck_attention": False,
    "normalization_type": "layer_norm",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "classifier_activation": False,
}


class IBBertConfig(MobileBertConfig):
    """A MobileBertConfig whose defaults are IB-BERT_LARGE's (293M parameters)."""

    model_type = "ibbert"

    def __init__(self, **fields: Any) -> None:
        values: dict[str, Any] = PAPER | fields
        super().__init__(**values)


class _Inverted(MobileBertPreTrainedModel):
    """A MobileBERT whose queries and keys are computed from the layer's input."""

    config_class = IBBertConfig

    def __init__(self, config: IBBertConfig, *positional: Any, **named: Any) -> None:
        super().__init__(config, *positional, **named)
        if config.key_query_shared_bottleneck or config.use_bottleneck_attention:
            return
        for layer in self.base_model.get_submodule("encoder.layer").children():
            part = layer.get_submodule("attention.self")
            for name in ("query", "key"):
                width = part.get_submodule(name).get_parameter("weight").shape[0]
                wide = nn.Linear(config.hidden_size, width)
                nn.init.normal_(wide.weight, std=config.initializer_range)
                nn.init.zeros_(wide.bias)
                setattr(part, name, wide)


class IBBertModel(_Inverted, MobileBertModel):
    """IB-BERT's encoder."""


class IBBertForMaskedLM(_Inverted, MobileBertForMaskedLM):
    """IB-BERT with an MLM head."""


class IBBertForSequenceClassification(_Inverted, MobileBertForSequenceClassification):
    """IB-BERT with a head for one row of logits a text."""


class IBBertForTokenClassification(_Inverted, MobileBertForTokenClassification):
    """IB-BERT with a head for one row of logits a token."""


class IBBertForQuestionAnswering(_Inverted, MobileBertForQuestionAnswering):
    """IB-BERT with a head for the start and the end of an answer."""


AutoConfig.register("ibbert", IBBertConfig)
for auto, kind in (
    (AutoModel, IBBertModel),
    (AutoModelForMaskedLM, IBBertForMaskedLM),
    (AutoModelForSequenceClassification, IBBertForSequenceClassification),
    (AutoModelForTokenClassification, IBBertForTokenClassification),
    (AutoModelForQuestionAnswering, IBBertForQuestionAnswering),
):
    auto.register(IBBertConfig, kind)
