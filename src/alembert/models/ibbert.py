"""IB-BERT, the inverted-bottleneck BERT that teaches MobileBERT (Sun et al. 2020, table 1).

Its layers are MobileBERT's with the bottleneck turned inside out: a stream of 512 that widens to
1,024 inside each layer. transformers has the layer but builds queries and keys for a narrowed
stream; here they read the stream itself, as in the authors' code. Importing this module registers
the classes with the Auto classes.
"""

from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    MobileBertConfig,
    MobileBertForMaskedLM,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
    MobileBertModel,
)

# what differs from MobileBERT; everything else (24 layers, 4 heads, stream of 512, words of 128,
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
        whole: dict[str, Any] = PAPER | fields
        super().__init__(**whole)


def _widen(model: nn.Module, config: MobileBertConfig) -> None:
    """Queries and keys from the stream itself."""
    if config.key_query_shared_bottleneck or config.use_bottleneck_attention:
        return
    for name in ("query", "key"):
        for layer in model.get_submodule("encoder.layer").children():
            part = layer.get_submodule("attention.self")
            width = part.get_submodule(name).get_parameter("weight").shape[0]
            wide = nn.Linear(config.hidden_size, width)
            nn.init.normal_(wide.weight, std=config.initializer_range)
            nn.init.zeros_(wide.bias)
            setattr(part, name, wide)


class IBBertModel(MobileBertModel):
    """The encoder."""

    config_class = IBBertConfig

    def __init__(self, config: IBBertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config, add_pooling_layer)
        _widen(self, config)


class IBBertForMaskedLM(MobileBertForMaskedLM):
    """With a masked-word head."""

    config_class = IBBertConfig

    def __init__(self, config: IBBertConfig) -> None:
        super().__init__(config)
        _widen(self.mobilebert, config)


class IBBertForSequenceClassification(MobileBertForSequenceClassification):
    """With a head for one answer a text."""

    config_class = IBBertConfig

    def __init__(self, config: IBBertConfig) -> None:
        super().__init__(config)
        _widen(self.mobilebert, config)


class IBBertForTokenClassification(MobileBertForTokenClassification):
    """With a head for one answer a token."""

    config_class = IBBertConfig

    def __init__(self, config: IBBertConfig) -> None:
        super().__init__(config)
        _widen(self.mobilebert, config)


AutoConfig.register("ibbert", IBBertConfig)
for auto, kind in (
    (AutoModel, IBBertModel),
    (AutoModelForMaskedLM, IBBertForMaskedLM),
    (AutoModelForSequenceClassification, IBBertForSequenceClassification),
    (AutoModelForTokenClassification, IBBertForTokenClassification),
):
    auto.register(IBBertConfig, kind)
