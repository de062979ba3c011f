"""Makes a config of a recipe's student, and a randomly drawn model of a config."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from alembert.io.environment import memory
from alembert.io.errors import UserError
from alembert.models.architectures import bottlenecked
from alembert.models.checks import wrong_field
from alembert.models.loading import HEADS, quiet


def config_of(fields: dict[str, object]) -> PreTrainedConfig:
    """The config of a recipe's student. Raises UserError for a field or value it cannot have."""
    values = dict(fields)
    kind = str(values.pop("model_type", ""))
    with _config_errors():
        defaults = AutoConfig.for_model(kind)
        known = defaults.to_dict().keys() - {"true_hidden_size"}  # a MobileBERT's own arithmetic
        unknown = sorted(values.keys() - known - defaults.attribute_map.keys())
        if unknown:
            raise UserError(f"the recipe's student: a {kind} has no field '{unknown[0]}'")
        config: PreTrainedConfig = AutoConfig.for_model(kind, **values)
    return config


def checked_config(fields: dict[str, object]) -> PreTrainedConfig:
    """The config of a recipe's student. Raises UserError if no model can be built from it."""
    for name, value in fields.items():
        counts = re.match(r"(num|n|max)_|(hidden_)?dim$|.*(?<!type_vocab)_size$", name)
        if counts and type(value) is int and value < 1:
            raise UserError(f"student.{name} {value}: must be 1 or more")
    if reason := wrong_field(fields):
        raise UserError(f"student.{reason}")
    config = config_of(fields)
    if bottlenecked(config):
        _check_bottleneck(config)
    with _config_errors(), torch.device("meta"):
        model = HEADS["encoder"].from_config(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    if 4 * count > memory():  # bytes in fp32
        raise UserError(
            f"the recipe's student: has {count:,} parameters, which are {4 * count / 1e9:,.0f} GB "
            f"in fp32, and this machine has {memory() / 1e9:,.0f} GB of memory: make it smaller"
        )
    return config


def _check_bottleneck(config: PreTrainedConfig) -> None:
    """Refuses values that transformers accepts although its MobileBERT cannot compute with them."""
    heads, inside = config.num_attention_heads, config.true_hidden_size
    words, stream = config.embedding_size, config.hidden_size
    name = "intra_bottleneck_size" if config.use_bottleneck else "hidden_size"
    shared = config.key_query_shared_bottleneck or config.use_bottleneck_attention
    wrong = {
        f"{name} {inside}: must be a multiple of the {heads} heads": inside % heads,
        f"embedding_size {words}: at most student.hidden_size, {stream}": words > stream,
        "type_vocab_size 0: must be 1 or more": config.type_vocab_size < 1,
        "key_query_shared_bottleneck false: an IB-BERT's alone (see the recipe ibbert)": (
            config.model_type == "mobilebert" and inside != stream and not shared
        ),
    }
    for message, applies in wrong.items():
        if applies:
            raise UserError(f"student.{message}")


def draw_model(config: PreTrainedConfig, head: str, seed: int) -> PreTrainedModel:
    """A model of this config and head with random weights, in fp32."""
    torch.manual_seed(seed)
    with _config_errors():
        model: PreTrainedModel = HEADS[head].from_config(config, dtype=torch.float32)
    return model


@contextmanager
def _config_errors() -> Iterator[None]:
    """Turns transformers' errors about a config into a UserError."""
    try:
        with quiet():
            yield
    except (ValueError, TypeError, KeyError, AssertionError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:200]
        reason = f"{reason} is unknown" if isinstance(error, KeyError) else reason
        raise UserError(f"the recipe's student: {reason}; fix the recipe") from error
