"""Alembert distils a BERT teacher into a small student and puts it to work on CPU."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembert.api import search as search  # a checker would take the room of this name

__version__ = "0.2.0"
_HOMES = {  # public name: the module that has it, imported when the name is used
    "finetune": "alembert.api",
    "distill": "alembert.api",
    "search": "alembert.api",
    "load": "alembert.api",
    "check": "alembert.api",
    "compare": "alembert.api",
    "augment": "alembert.api",
    "Model": "alembert.api",
    "Recipe": "alembert.recipes.schema",
    "Stage": "alembert.recipes.schema",
    "Term": "alembert.objectives.term",
    "Callback": "alembert.training.callbacks",
    "Progress": "alembert.training.callbacks",
    "Session": "alembert.inference",
    "Client": "alembert.client",
    "Prediction": "alembert.io.answers",
    "UserError": "alembert.io.errors",
}
__all__ = [*_HOMES]


class _Package(ModuleType):
    """The package, whose public names are never taken by a room.

    Importing a module of the room `search` binds the room to that name in the package.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if (package := (error.name or __name__).split(".")[0]) == __name__:
            raise
        from alembert.io.environment import extra_for, missing
        from alembert.io.errors import UserError

        raise UserError(missing(error.name, extra_for(name.lower(), package))) from error
    if name == "search":  # so that alembert.search.trials is the room's module all the same
        room = vars(import_module("alembert.search"))
        room["__wrapped__"] = getattr(value, "__wrapped__", value)  # has the signature
        value.__dict__ = room
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
