"""A copy of a model whose graph is smaller and whose answers are the same.

MobileBERT's NoNorm, x -> x * w + b, is no norm at all: where x comes out of a matrix, w and b go
into it. What every matrix reads stays as it was, so int8 loses nothing by it.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def folded(model: PreTrainedModel) -> PreTrainedModel:
    """The copy, in eager attention, whose graph is the smallest; the model stays as it is."""
    found: PreTrainedModel = copy.deepcopy(model).eval()
    found.set_attn_implementation("eager")
    with torch.no_grad():
        for name, module in list(found.named_modules()):
            kind = type(module).__name__
            if kind == "MobileBertLMPredictionHead":
                found.set_submodule(name, _words_head(module))
            elif kind == "BottleneckLayer" and _is_plain(module):
                _into_matrix(_linear(module), module.get_submodule("LayerNorm"))
                module.LayerNorm = nn.Identity()
            elif kind in ("FFNOutput", "MobileBertSelfOutput") and _is_plain(module):
                found.set_submodule(name, _Sum(module))
            elif kind == "MobileBertOutput" and _is_plain(module) and module.use_bottleneck:
                found.set_submodule(name, _Output(module))
    return found


class _Sum(nn.Module):
    """(dense(h) + r) * w + b as dense'(h) + r * w."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        norm = module.get_submodule("LayerNorm")
        self.dense = _linear(module)
        _into_matrix(self.dense, norm)
        self.weight = norm.get_parameter("weight")

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        found: Tensor = self.dense(hidden) + residual * self.weight
        return found


class _Output(nn.Module):
    """The end of a layer: back to the width of the stream."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner, self.outer = _Sum(module), _Sum(module.get_submodule("bottleneck"))

    def forward(self, hidden: Tensor, narrow: Tensor, wide: Tensor) -> Tensor:
        found: Tensor = self.outer(self.inner(hidden, narrow), wide)
        return found


def _is_plain(module: nn.Module) -> bool:
    return type(module.get_submodule("LayerNorm")).__name__ == "NoNorm"


def _linear(module: nn.Module) -> nn.Linear:
    found = module.get_submodule("dense")
    assert isinstance(found, nn.Linear)
    return found


def _into_matrix(dense: nn.Linear, norm: nn.Module) -> None:
    weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    dense.weight.mul_(weight[:, None])
    dense.bias.mul_(weight).add_(bias)


def _words_head(module: nn.Module) -> nn.Module:
    """MobileBERT's decoder as one matrix; the model glues it from two at every call."""
    decoder, dense = module.get_submodule("decoder"), module.get_submodule("dense")
    weight = torch.cat([decoder.get_parameter("weight"), dense.get_parameter("weight").T], dim=1)
    whole = nn.Linear(weight.shape[1], weight.shape[0])
    whole.weight, whole.bias = nn.Parameter(weight), decoder.get_parameter("bias")
    return nn.Sequential(module.get_submodule("transform"), whole)
