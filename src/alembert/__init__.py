"""Alembert distils a BERT teacher into a small student and puts it to work on CPU."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_HOMES = {  # public name: the module that has it, imported when the name is used
    "finetune": "alembert.api",
    "distill": "alembert.api",
    "load": "alembert.api",
    "Model": "alembert.api",
    "Recipe": "alembert.recipes.schema",
    "Stage": "alembert.recipes.schema",
    "Term": "alembert.objectives.term",
    "Callback": "alembert.training.callbacks",
    "Progress": "alembert.training.callbacks",
    "Session": "alembert.inference",
    "Client": "alembert.client",
    "UserError": "alembert.io.errors",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
