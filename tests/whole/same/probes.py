"""The probes: command lines and what they need, read from the data files in probes/."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from .words import TableError

FOLDER = Path(__file__).parent / "probes"


@dataclass(frozen=True)
class Probe:
    """Command lines that are run one after the other in a folder of their own.

    name: the line itself where there is none. run: the lines; beside the package's verbs there are
    `rm PATH`, and `cut PATH`, which leaves the first half of a file.
    files: what is written into the folder before: text, in which "{recipe}" is a recipe as YAML, or
    bytes after "hex:"; a name that ends in / is a folder.
    stdin: what the last command reads. without: packages that seem not to be installed.
    bytes: the largest file that can be written.
    stop: the first line is stopped when a file is there, or has so many lines:
    {file: GLOB, lines: N, signal: SIGKILL}.
    serve: a command line that listens; requests are asked of it, one after the other:
    {ask: METHOD PATH, body: JSON or a str, times: how often a str is repeated, headers: {}}.
    ignore: patterns of files that are not compared, since they cannot be the same twice.
    """

    topic: str
    name: str
    run: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    without: tuple[str, ...] = ()
    bytes: int = 0
    stop: dict[str, Any] = field(default_factory=dict)
    serve: str = ""
    requests: tuple[dict[str, Any], ...] = ()
    ignore: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name by which it is printed and matched."""
        return f"{self.topic}: {self.name}"

    @property
    def lines(self) -> tuple[str, ...]:
        """All command lines."""
        return (*self.run, *filter(None, [self.serve]))


def read(folder: Path = FOLDER, only: str = "*") -> list[Probe]:
    """The probes of all files, in order, whose titles match. Raises TableError."""
    found = [
        probe
        for path in sorted(folder.glob("*.yaml"))
        for row in yaml.safe_load(path.read_text(encoding="utf-8"))
        for probe in expanded(path.stem, row)
    ]
    titles = [probe.title for probe in found]
    if twice := [title for title in titles if titles.count(title) > 1]:
        raise TableError(f"two probes have the same name: {twice[0]}")
    return [probe for probe in found if fnmatch(probe.title, only)]


def expanded(topic: str, row: dict[str, Any]) -> Iterator[Probe]:
    """One probe for each mix of the values in `each`; <key> stands for a value in all texts."""
    row = {"name": row.get("run"), **row}
    each = row.pop("each", {})
    known = {one.name for one in fields(Probe)} - {"topic"}
    if wrong := set(row) - known:
        raise TableError(f"{topic}: {row}: there is no field {sorted(wrong)[0]!r}")
    for mix in product(*each.values()):
        values = dict(zip(each, mix, strict=True))
        yield Probe(topic=topic, **_filled(_lists(row), values))


def _lists(row: dict[str, Any]) -> dict[str, Any]:
    """Single values of the fields that hold several, as tuples."""
    several = ("run", "without", "ignore", "requests")
    return {
        key: ((value,) if isinstance(value, str) else tuple(value)) if key in several else value
        for key, value in row.items()
    }


def _filled(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return re.sub(r"<(\w+)>", lambda m: str(values.get(m[1], m[0])), value)
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, values) for each in value)
    return value
