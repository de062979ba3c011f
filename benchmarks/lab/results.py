"""Results of a measurement in a JSON file: loaded, merged with new ones, written."""

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alembert.io.environment import processor, versions

PACKAGES = ("alembert", "torch", "transformers", "tokenizers", "onnxruntime", "openvino")
Row = dict[str, Any]


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the first line of a docstring; what the package reports is shown."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("alembert").setLevel(logging.INFO)
    return argparse.ArgumentParser(description=(doc or "").partition("\n")[0])


def load(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return rows


def merged(before: Iterable[Row], new: Iterable[Row], key: Sequence[str]) -> list[Row]:
    """All rows, in order; a new one takes the place of the one with the same key."""
    found = {tuple(row[name] for name in key): row for row in (*before, *new)}
    return list(found.values())


def write(path: Path, content: Any, without: Iterable[Path | str] = ()) -> None:
    """Write JSON, with no word of the folders that the paths in it begin with."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    for folder in without:
        text = text.replace(f"{folder}/", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def add(
    path: Path, new: Iterable[Row], key: Sequence[str], without: Iterable[Path | str] = ()
) -> list[Row]:
    """Write new rows beside those that a file has by now; returns all of them."""
    rows = merged(load(path), new, key)
    write(path, rows, without)
    return rows


def machine() -> dict[str, Any]:
    """The processor, and the versions of what is installed."""
    return {"hardware": {"cpu": processor()}, "versions": versions(PACKAGES)}
