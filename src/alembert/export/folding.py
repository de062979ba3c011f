"""A copy of a model whose graph is smaller and whose outputs are the same.

MobileBERT's NoNorm, x -> x * w + b, is linear: where x is the output of a matrix, w and b are
multiplied into it. The inputs of all matrices stay as they were, so int8 loses no precision.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def folded(model: PreTrainedModel) -> PreTrainedModel:
    """Return a folded copy with eager attention, whose graph is the smallest."""
    copied: PreTrainedModel = copy.deepcopy(model).eval()
    copied.set_attn_implementation("eager")
    with torch.no_grad():
        for name, module in list(copied.named_modules()):
            kind = type(module).__name__
            if kind == "MobileBertLMPredictionHead":
                copied.set_submodule(name, _mlm_head(module))
            elif kind == "BottleneckLayer" and _is_plain(module):
                _into_matrix(_linear(module), module.get_submodule("LayerNorm"))
                module.LayerNorm = nn.Identity()
            elif kind in ("FFNOutput", "MobileBertSelfOutput") and _is_plain(module):
                copied.set_submodule(name, _Sum(module))
            elif kind == "MobileBertOutput" and _is_plain(module) and module.use_bottleneck:
                copied.set_submodule(name, _Output(module))
    return copied


class _Sum(nn.Module):
    """Computes (dense(h) + r) * w + b as dense'(h) + r * w."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        norm = module.get_submodule("LayerNorm")
        self.dense = _linear(module)
        _into_matrix(self.dense, norm)
        self.weight = norm.get_parameter("weight")

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        output: Tensor = self.dense(hidden) + residual * self.weight
        return output


class _Output(nn.Module):
    """The end of a layer, which projects back from the bottleneck to the hidden size."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner, self.outer = _Sum(module), _Sum(module.get_submodule("bottleneck"))

    def forward(self, hidden: Tensor, narrow: Tensor, wide: Tensor) -> Tensor:
        output: Tensor = self.outer(self.inner(hidden, narrow), wide)
        return output


def _is_plain(module: nn.Module) -> bool:
    return type(module.get_submodule("LayerNorm")).__name__ == "NoNorm"


def _linear(module: nn.Module) -> nn.Linear:
    dense = module.get_submodule("dense")
    assert isinstance(dense, nn.Linear)
    return dense


def _into_matrix(dense: nn.Linear, norm: nn.Module) -> None:
    weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    dense.weight.mul_(weight[:, None])
    dense.bias.mul_(weight).add_(bias)


def _mlm_head(module: nn.Module) -> nn.Module:
    """Return MobileBERT's decoder as one matrix; the model joins it from two at every call."""
    decoder, dense = module.get_submodule("decoder"), module.get_submodule("dense")
    weight = torch.cat([decoder.get_parameter("weight"), dense.get_parameter("weight").T], dim=1)
    joined = nn.Linear(weight.shape[1], weight.shape[0])
    joined.weight, joined.bias = nn.Parameter(weight), decoder.get_parameter("bias")
    return nn.Sequential(module.get_submodule("transform"), joined)
