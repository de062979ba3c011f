"""Fifty files in the shapes that public data comes in, written by one who had not seen the reader.

field/expected.yaml says what is right for each, and its head how to read it. field.yaml says what
happens: it is read, or the options to give are asked for, or it is refused with the cause.
"""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.file_tables import DOCS, PAGES, on_page

from alembert.data.labels import label_names
from alembert.data.splits import Files
from alembert.data.tasks import infer_task
from alembert.io.errors import UserError

FOLDER = Path(__file__).with_name("field")
EXPECTED = yaml.safe_load((FOLDER / "expected.yaml").read_text(encoding="utf-8"))
FOUND = yaml.safe_load(Path(__file__).with_name("field.yaml").read_text(encoding="utf-8"))
# what the columns are called of files that have no names for them
NAMES = {
    "rest of the line": "text", "the file": "text", "the folder": "label", "__label__": "label",
}  # fmt: skip
IN_ORDER = ("task", "text", "text_pair", "label", "rows", "range", "labels")


def read(file: str, options: dict[str, Any]) -> dict[str, Any]:
    """What is read of a file, by the names of expected.yaml."""
    files = Files(train=str(FOLDER / file), **options)
    labelled = files.labelled(files.train, None)
    rows, columns = labelled.rows, labelled.columns
    task = infer_task(rows, columns, file, labelled.known)
    found: dict[str, Any] = {
        "task": task.kind,
        "text": columns.text,
        "text_pair": columns.text_pair,
        "label": columns.label,
        "rows": len(rows),
        "labels": None,
    }
    if task.kind == "regression":
        scores = rows[columns.label][:]
        return found | {"range": [min(scores), max(scores)]}
    label_names(rows, columns, file)
    return found | {"labels": sorted({bare(name, task.kind) for name in task.labels} - {"O"})}


def bare(name: str, kind: str) -> str:
    """A label as expected.yaml has it: a span's type alone, and a number without its plus."""
    if kind == "tokens" and name[:2] in ("B-", "I-"):
        return name[2:]
    if name in ("True", "False"):
        return name.casefold()
    return name[1:] if name[:1] == "+" and name[1:].isdecimal() else name


def meant(reading: dict[str, Any]) -> dict[str, Any]:
    """A reading of expected.yaml by the same names as `read`; columns by place are words."""
    wanted = {key: reading[key] for key in IN_ORDER if key in reading}
    for key, words in (("text", "tokens"), ("label", "tags")):
        if isinstance(wanted.get(key), int):
            wanted[key] = words
        if isinstance(wanted.get(key), list):
            wanted[key] = ",".join(wanted[key])
        wanted[key] = NAMES.get(wanted.get(key, ""), wanted.get(key))
    if wanted.get("labels") is not None:
        wanted["labels"] = sorted(bare(name, wanted["task"]) for name in wanted["labels"])
    return {key: value for key, value in wanted.items() if key in reading}


def outcomes(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes that are right, the first choice first."""
    return [entry, *({**entry, **other} for other in entry.get("accept", ()))]


def options(then: dict[str, Any]) -> dict[str, Any]:
    """The options that answer what was asked."""
    named = {key: then[key] for key in ("text", "text_pair", "label") if then.get(key) is not None}
    label = named.get("label")
    joined = {"label": ",".join(label)} if isinstance(label, list) else {}
    return {**named, **joined, "kind": then["task"]}


@pytest.mark.parametrize("entry", EXPECTED, ids=[entry["file"] for entry in EXPECTED])
def test_a_file_of_the_field_is_read_as_meant_asked_about_or_refused_with_the_cause(
    entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alembert")
    found = FOUND[entry["file"]]
    right = [each for each in outcomes(entry) if each["outcome"] == found["happens"]]
    assert right
    if found["happens"] == "read":
        reading = read(entry["file"], {})
        assert any(meant(each).items() <= reading.items() for each in right), reading
        assert found.get("says", "") in caplog.text
        assert "says" in found or not any("says" in each for each in right[:1])
        return
    with pytest.raises(UserError) as refusal:
        read(entry["file"], {})
    assert "\n" not in str(refusal.value)
    assert found["says"] in str(refusal.value)
    if found["happens"] == "ask":
        then = meant(entry["then"])
        assert then.items() <= read(entry["file"], options(entry["then"])).items()


def test_every_file_of_the_field_has_what_happens() -> None:
    assert len(EXPECTED) == 50
    assert FOUND.keys() == {entry["file"] for entry in EXPECTED}


@pytest.mark.parametrize("page", PAGES)
def test_the_table_of_a_page_is_made_from_the_files(page: str) -> None:
    # PYTHONPATH=tests python -m support.file_tables rewrites it
    assert on_page((DOCS / page).read_text(encoding="utf-8")) == PAGES[page]()
