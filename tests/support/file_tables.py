"""The tables of docs/files.md and docs/public.md, made from the files that the tests read.

`PYTHONPATH=tests python -m support.file_tables` rewrites them; tests/data compares them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

TESTS = Path(__file__).parents[1] / "data"
DOCS = Path(__file__).parents[2] / "docs"
HEAD = "<!-- made by tests/support/file_tables.py -->"


def of_kinds() -> str:
    """The table of docs/files.md: the kinds of files_of_people.yaml."""
    kinds = _yaml(TESTS / "files_of_people.yaml")
    rows = ((each["kind"], each["example"], each["happens"]) for each in kinds)
    return _table(("A file has", "For example", "Then"), rows)


def of_field() -> str:
    """The table of docs/public.md: the files of field/, and what field.yaml says of each."""
    found = _yaml(TESTS / "field.yaml")
    entries = _yaml(TESTS / "field" / "expected.yaml")
    rows = ((each["kind"], _happens(each, found[each["file"]])) for each in entries)
    return _table(("Shape", "What happens"), rows)


PAGES = {"files.md": of_kinds, "public.md": of_field}


def _happens(entry: dict[str, Any], found: dict[str, str]) -> str:
    if found["happens"] == "ask":
        then = entry["then"]
        label = then["label"] if isinstance(then["label"], str) else ",".join(then["label"])
        pair = f" --text-pair {then['text_pair']}" if then.get("text_pair") else ""
        return f"asks for columns: `--text {then['text']}{pair} --label {label}`"
    said = f": `{found['says']}`" if "says" in found else ""
    return ("refused" if found["happens"] == "refuse" else "read") + said


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return (
        "".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
        )
        .replace("| --- |", "|---|")
        .replace(" --- |", "---|")
    )


def on_page(page: str) -> str:
    """The table that a page has now: the lines below the mark, to the first empty one."""
    return page.partition(f"{HEAD}\n")[2].partition("\n\n")[0] + "\n"


if __name__ == "__main__":
    for name, table in PAGES.items():
        path = DOCS / name
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(on_page(text), table()), encoding="utf-8")
