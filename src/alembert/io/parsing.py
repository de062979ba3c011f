"""JSON and YAML of others as plain values; what would exhaust the stack or memory is refused."""

import json
import re
from typing import Any

import yaml

DEPTH = 64  # levels of nesting
YAML_SIZE = 1_000_000  # characters; a recipe has some thousand
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # a half of a surrogate pair, as JSON writes it
_CONTAINERS = {dict, list}
_LARGEST = 2**63


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
