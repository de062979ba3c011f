"""Finds the object that a user names as module:name, such as a term or a metric of their own."""

import hashlib
import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

from alembert.io.errors import UserError, near

FORM = "module:name, such as my_package.losses:MyTerm"


def is_named(name: str) -> bool:
    """Whether a name is written as module:name."""
    return ":" in name


def named(name: str, what: str) -> Any:
    """Return the object at `name`, a module and a name in it; `what` says what it is for.

    The module is imported, which runs its code. Raises UserError for another form, for a module
    that cannot be imported and for a name that is not in it.
    """
    module, _, path = name.partition(":")
    parts = path.split(".")
    if not all(part.isidentifier() for part in (*module.split("."), *parts)):
        raise UserError(f"{what} {name}: write it as {FORM}")
    try:
        found = import_module(module)
    except (ImportError, SyntaxError) as error:
        raise UserError(
            f"{what} {name}: {module} cannot be imported ({error}): start the command in the "
            "folder that holds it, or install it"
        ) from error
    for part in parts:
        if not hasattr(found, part):
            if module == "__main__":
                raise UserError(
                    f"{what} {name}: was defined in a notebook or a script, and is not here: put "
                    f"it into a file such as terms.py, and name it terms:{path}"
                )
            like = near(part, [each for each in vars(found) if not each.startswith("_")])
            raise UserError(f"{what} {name}: {module} has no {path}: fix the name{like}")
        found = getattr(found, part)
    return found


def module_file(name: str) -> Path | None:
    """Return the file of the module in module:name, which is imported; None where it has none."""
    at = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    return None if at is None else Path(at)


def code_digest(name: str) -> str:
    """Return the sha256 of the code at module:name, which a notebook defined and no file holds.

    It covers the functions of a class, and those of the same module that they call.
    """
    module = sys.modules[name.partition(":")[0]]
    state, seen = hashlib.sha256(), set[int]()

    def add(found: Any) -> None:
        found = inspect.unwrap(getattr(found, "fget", None) or getattr(found, "__func__", found))
        if id(found) in seen or getattr(found, "__module__", None) != module.__name__:
            return
        seen.add(id(found))
        if isinstance(found, type):
            for key in sorted(vars(found)):
                add(vars(found)[key])
        elif (code := getattr(found, "__code__", None)) is not None:
            add_code(code)

    def add_code(code: CodeType) -> None:
        state.update(code.co_code + repr(code.co_names).encode())
        for value in code.co_consts:
            if isinstance(value, CodeType):
                add_code(value)
            else:
                state.update(repr(value).encode())
        for called in code.co_names:
            add(getattr(module, called, None))

    add(named(name, "code"))
    return state.hexdigest()


def name_of(found: Any, what: str) -> str:
    """Return the module:name of a class or a function; UserError where that does not lead to it.

    A class that a function made, or one that was replaced, has no such name.
    """
    module, path = str(found.__module__), str(found.__qualname__)
    at: Any = sys.modules.get(module)
    for part in path.split("."):
        at = getattr(at, part, None)
    if at is not found:
        raise UserError(
            f"{what} {module}:{path}: is not at the top of its module, so no recipe can name it: "
            "define it there"
        )
    return f"{module}:{path}"
