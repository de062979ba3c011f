"""Arguments of Python calls as plain values: paths, numbers of numpy, lists; or a UserError."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from itertools import zip_longest
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from alembert.io.environment import extra_for, missing
from alembert.io.errors import UserError
from alembert.io.progress import doing

P = ParamSpec("P")
T = TypeVar("T")
Convert = Callable[[str, Any], Any]  # of an argument's name and value


def path(name: str, value: object) -> str:
    """A path as a text; a Model is that of its folder."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise UserError(f"{name}: {value!r:.60} is no path: give a text, a Path or a Model")


def file(name: str, value: object) -> Path:
    return Path(path(name, value))


def paths(name: str, value: object) -> list[str]:
    """One path or several, as a list."""
    return [path(name, each) for each in _several(value)]


def files(name: str, value: object) -> list[Path]:
    return [Path(each) for each in paths(name, value)]


def model(name: str, value: object) -> str | list[str]:
    """The path of a model, or those of several."""
    found = paths(name, value)
    return found if isinstance(value, list | tuple) else found[0]


def rows(name: str, value: object) -> object:
    """Rows in memory as they are, and a path as a text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def recipe(name: str, value: object) -> object:
    """A Recipe as it is, and a name or a file as a text."""
    return value if hasattr(value, "stages") else path(name, value)


def text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    commas = ", with commas between names" if isinstance(value, list | tuple) else ""
    raise UserError(f"{name}: {value!r:.60} is no text: give one{commas}")


def texts(name: str, value: object) -> list[str]:
    return [text(name, each) for each in _list(name, value)]


def objects(name: str, value: object) -> list[object]:
    return list(_list(name, value))


def number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{name}: {value!r:.60} is no number: give one")
    return int(value) if isinstance(value, Integral) else float(value)


def whole(name: str, value: object) -> int:
    found = number(name, value)
    if isinstance(value, Integral) or (isfinite(found) and found == int(found)):
        return int(found)
    raise UserError(f"{name}: {value!r:.60} is no whole number: give one")


def wholes(name: str, value: object) -> list[int]:
    return [whole(name, each) for each in _several(value)]


def flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise UserError(f"{name}: {value!r:.60} is neither True nor False: give one of them")


def mapping(name: str, value: object) -> dict[Any, Any]:
    """A mapping whose values are plain."""
    if not isinstance(value, Mapping):
        raise UserError(f"{name}: {value!r:.60} is no mapping: give one, such as a dict")
    return {key: _plain(each) for key, each in value.items()}


def settings(name: str, value: object) -> dict[str, Any]:
    """Settings of a recipe, whose values can be written as YAML."""
    found = mapping(name, value)
    for key, each in found.items():
        text(name, key)
        try:
            json.dumps(each)
        except (TypeError, ValueError):
            raise UserError(
                f"{name}: {key!r} is {each!r:.60}: give a text, a number, a list or a dict of such"
            ) from None
    return found


def metric(name: str, value: object) -> object:
    return value if callable(value) else text(name, value)


_KINDS: dict[str, Convert] = {
    **dict.fromkeys(("student", "general_teacher", "mlm", "vectors", "corpus", "tokenizer",
                     "embeddings", "api_keys", "folder", "model"), path),
    **dict.fromkeys(("train", "valid", "eval", "unlabelled", "data"), rows),
    **dict.fromkeys(("out", "json", "chart"), file),
    **dict.fromkeys(("task", "text", "text_pair", "label", "kind", "precision", "vocabulary",
                     "cache_precision", "recipes", "backend", "long", "name", "host", "engine",
                     "replicas", "api_key"), text),
    **dict.fromkeys(("batch_size", "max_length", "layers", "hidden_size", "cache_top", "seed",
                     "skip_bad_rows", "length", "trials", "steps", "sequences", "batch", "copies",
                     "candidates", "top", "port", "threads", "batch_tokens",
                     "max_requests", "rate", "max_inputs", "max_body", "seeds"), whole),
    **dict.fromkeys(("epochs", "learning_rate", "max_latency_ms", "min_retention", "min_speedup",
                     "seconds", "share", "coverage", "max_wait", "grace", "keep"), number),
    **dict.fromkeys(("cache_teacher", "export", "open_metrics", "int8", "openvino",
                     "attentions", "auto", "baselines", "with_undistilled", "scores",
                     "fix_offsets", "windows"), flag),
    **dict.fromkeys(("track", "tries", "backends", "baseline", "cors", "slices"), texts),
    "teacher": model, "runs": files, "models": paths, "callbacks": objects, "columns": mapping,
    "settings": settings, "metric": metric, "recipe": recipe, "bench.threads": wholes,
    "trim.data": paths, "trim.keep": whole, "corpus.texts": paths, "recipe.name": text,
    "predict_file.data": path,
}  # fmt: skip


ENDLESS = ("serve",)  # which is not work that ends


def plain(function: Callable[P, T]) -> Callable[P, T]:
    """The function, called with plain values in place of those of numpy, of Path and of Model.

    Values of a type that it cannot have are refused by a UserError that names the argument.
    """
    names, verb = list(signature(function).parameters), function.__name__

    def converted(name: str | None, value: Any) -> Any:
        convert = _KINDS.get(f"{verb}.{name}", _KINDS.get(name or ""))
        value = _plain(value)
        return value if convert is None or value is None else convert(name or "", value)

    @wraps(function)
    def call(*positional: P.args, **named: P.kwargs) -> T:
        # a surplus argument stays, for Python to refuse
        values: Any = [
            converted(name, value)
            for name, value in zip_longest(names[: len(positional)], positional)
        ]
        more: Any = {name: converted(name, value) for name, value in named.items()}
        if verb in ENDLESS:
            return function(*values, **more)
        try:
            with doing(verb.replace("_", " ")):
                return function(*values, **more)
        except ModuleNotFoundError as error:
            if (package := (error.name or "alembert").split(".")[0]) == "alembert":
                raise
            raise UserError(missing(error.name, extra_for(verb, package))) from error

    return call


def _plain(value: Any) -> Any:
    """A number or text of numpy in Python's own type; others as they are."""
    scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    return value.item() if scalar else value


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else [value]


def _list(name: str, value: object) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    hint = f": give a list, such as [{value!r:.40}]" if isinstance(value, str) else ": give a list"
    raise UserError(f"{name}: {value!r:.60} is no list{hint}")
