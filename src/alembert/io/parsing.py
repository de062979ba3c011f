"""JSON and YAML of others as plain values; what would exhaust the stack or memory is refused."""

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

DEPTH = 64  # levels of nesting
YAML_SIZE = 1_000_000  # characters; a recipe has some thousand
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # a half of a surrogate pair, as JSON writes it
_CONTAINERS = {dict, list}
_LARGEST = 2**63
# what a value has to be, for `misfit`; a number may be NaN, which runs write, but not infinite
TEXT, COUNT, NUMBER, FLAG = "a text", "a whole number", "a number", "true or false"
POSITIVE = "a whole number over 0"
_KINDS: dict[str, tuple[type, ...]] = {
    TEXT: (str,), COUNT: (int,), POSITIVE: (int,), NUMBER: (int, float), FLAG: (bool,)
}  # fmt: skip


def json_of(text: str) -> Any:
    """The value of a JSON text.

    Raises ValueError with a reason on one line; besides what `json.loads` refuses, for more than
    DEPTH levels, and for an unpaired surrogate (half an emoji), which no file or tokenizer takes.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEPTH} levels") from None
    if text.count("[") + text.count("{") > DEPTH:
        _check_depth(value)
    if _ESCAPED.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise ValueError(f"{half} is half of a surrogate pair, such as half an emoji") from None
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [each for each in level if type(each) in _CONTAINERS]:
        depth += 1
        if depth > DEPTH:
            raise ValueError(f"it is nested deeper than {DEPTH} levels")
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if type(inner) in _CONTAINERS
        ]


def misfit(value: Any, shape: Any, name: str = "") -> str:
    """The reason why a value does not have a shape; "" where it has.

    A shape is TEXT, COUNT, POSITIVE, NUMBER or FLAG, `[shape]` of a list's values, a tuple of those
    of a list, `{str: shape}` of an object's values, or an object of its fields' shapes. A field
    with a "?" may be missing or null.
    """
    kinds: dict[type, str] = {list: "a list", tuple: f"a list of {len(shape)}", dict: "an object"}
    kind = shape if isinstance(shape, str) else kinds[type(shape)]
    if value is None:
        return f"no {name!r} in it"
    if isinstance(shape, str):
        number = isinstance(value, int | float)
        fits = type(value) in _KINDS[shape] and not (number and abs(value) >= _LARGEST)
        fits = fits and (shape != POSITIVE or value > 0)
        parts: Iterable[tuple[str, Any, Any]] = ()
    elif isinstance(shape, tuple):
        fits = type(value) is list and len(value) == len(shape)
        parts = ((f"{name}[{i}]", value[i], shape[i]) for i in range(len(shape) if fits else 0))
    elif isinstance(shape, list):
        fits = type(value) is list
        parts = ((f"{name}[{i}]", each, shape[0]) for i, each in enumerate(value if fits else ()))
    else:
        fits = type(value) is dict
        parts = _fields(value, shape, name) if fits else ()
    if not fits:
        what = repr(name) if name else "it"
        return f"{what} is {repr(value)[:40]} and not {kind}"
    return next((reason for at, each, inner in parts if (reason := misfit(each, inner, at))), "")


def _fields(
    value: dict[str, Any], shape: dict[Any, Any], name: str
) -> Iterable[tuple[str, Any, Any]]:
    """The name, value and shape of each field of an object that has to be there, or is."""
    before = f"{name}." if name else ""
    if str in shape:
        return ((f"{before}{key:.40}", each, shape[str]) for key, each in value.items())
    return (
        (before + key.rstrip("?"), value.get(key.rstrip("?")), inner)
        for key, inner in shape.items()
        if not key.endswith("?") or value.get(key.rstrip("?")) is not None
    )


def yaml_of(text: str) -> Any:
    """The value of a YAML text that has no tags, anchors or aliases, whose expansion has no bound.

    Raises ValueError with a reason on one line, for numbers too that YAML 1.1 reads as others than
    they seem: 0x1F, 017, 1:30 (90), dates; and those that no field can hold.
    """
    if len(text) > YAML_SIZE:
        raise ValueError(f"it is longer than {YAML_SIZE:,} characters")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH:
                raise ValueError(f"it is nested deeper than {DEPTH} levels")
            if reason := _refused(event):
                at = event.start_mark
                raise ValueError(reason if at is None else f"line {at.line + 1}: {reason}")
        return yaml.safe_load(text)
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def _refused(event: yaml.Event) -> str:
    """The reason to refuse a part of a YAML text; empty for none."""
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        return "anchors and aliases (&, *) are not read: write the value out, or quote it"
    if tag := getattr(event, "tag", None):
        return f"the tag {tag} is not read: leave it out, or quote the value"
    if not isinstance(event, yaml.ScalarEvent):
        return ""
    value: str = event.value
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "half of a surrogate pair, such as half an emoji: give the whole character"
    if not event.implicit[0]:  # in quotes
        return ""
    kind = _kind(value)
    shown = value if len(value) <= 30 else value[:30] + "..."
    if kind == "timestamp":
        return f"{shown} is a date: quote it"
    if kind not in ("int", "float"):
        return ""
    digits = value.lstrip("+-").replace("_", "")
    if ":" in digits or (kind == "int" and len(digits) > 1 and digits[0] == "0"):
        return f"{shown} is no decimal number: write it as one, or quote it"
    if kind == "int" and (len(digits) > 19 or int(digits) >= _LARGEST):
        return f"{shown} is a number over 64 bits: write a smaller one, or quote it"
    return ""


def _kind(value: str) -> str:
    """What YAML takes a value without quotes for: int, float, timestamp, bool, null, str ..."""
    for kind, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(value[:1], ()):
        if pattern.match(value):
            return str(kind).rpartition(":")[2]
    return "str"
