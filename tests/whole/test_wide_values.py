"""Dataclasses of five or more fields are made by keywords: positions of so many are mixed up."""

import dataclasses
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

from transformers import PreTrainedConfig

import alembert

MOST_BY_POSITION = 4


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(alembert.__path__, "alembert."):
        if not found.name.endswith((".__main__", ".serving.ray")):  # ray is an extra
            yield import_module(found.name)


def too_wide(module: Any) -> list[str]:
    """The module's own dataclasses that take five or more fields, and one of them by position."""
    found = []
    for name, kind in vars(module).items():
        own = inspect.isclass(kind) and kind.__module__ == module.__name__
        if not own or not dataclasses.is_dataclass(kind) or issubclass(kind, PreTrainedConfig):
            continue  # transformers makes a dataclass of each config
        given = [field for field in dataclasses.fields(kind) if field.init]
        if len(given) > MOST_BY_POSITION and not all(field.kw_only for field in given):
            found.append(f"{module.__name__}.{name}")
    return found


def test_values_of_five_or_more_fields_are_made_by_keywords() -> None:
    seen = list(modules())
    assert len(seen) > 100
    assert [name for module in seen for name in too_wide(module)] == []


def test_a_wide_value_that_takes_positions_is_named() -> None:
    fields = [(name, int) for name in "abcde"]
    made = {
        "Wide": dataclasses.make_dataclass("Wide", fields),
        "Named": dataclasses.make_dataclass("Named", fields, kw_only=True),
        "Narrow": dataclasses.make_dataclass("Narrow", fields[:4]),
    }
    for kind in made.values():
        kind.__module__ = "here"
    module = SimpleNamespace(__name__="here", **made)
    assert too_wide(module) == ["here.Wide"]
