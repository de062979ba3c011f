"""Which tensors of a batch a model reads."""

import inspect

from torch import nn

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def inputs_of(model: nn.Module) -> tuple[str, ...]:
    """Those of INPUTS that its forward pass takes and uses.

    DistilBERT has no token types; RoBERTa takes them, and knows one type alone.
    """
    taken = inspect.signature(model.forward).parameters
    typed = getattr(getattr(model, "config", None), "type_vocab_size", 0) > 1
    return tuple(name for name in INPUTS if name in taken and (typed or name != INPUTS[2]))
