"""Files as people have them are read as meant, or refused with the cause: files_of_people.yaml."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from alembert.data.labels import label_names
from alembert.data.splits import Files
from alembert.data.tasks import infer_task
from alembert.io.errors import UserError

TABLE = yaml.safe_load(Path(__file__).with_name("files_of_people.yaml").read_text(encoding="utf-8"))
CASES = [
    pytest.param(case, id=f"{kind['kind']}: {case['name']}".replace(" ", "_"))
    for kind in TABLE
    for case in kind["cases"]
]


def read(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is read of a case's file, by the names of the table."""
    path = folder / case["file"]
    path.write_bytes(case["content"].encode(case.get("encoding", "utf-8")))
    files = Files(train=str(path), **case.get("options", {}))
    labelled = files.labelled(files.train, case.get("known"))
    rows, columns = labelled.rows, labelled.columns
    task = infer_task(rows, columns, str(path), labelled.known)
    scored = task.kind == "regression"
    return {
        "task": task.kind,
        "labels": list(task.labels),
        "metric": task.metric,
        "text": columns.text,
        "pair": columns.text_pair,
        "label": columns.label,
        "columns": rows.column_names,
        "rows": len(rows),
        "words": rows[columns.text][0],
        "first": None if scored else label_names(rows, columns, str(path))[0],
    }


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_read_as_meant_or_refused_with_the_cause(
    case: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alembert")
    if "refused" in case:
        with pytest.raises(UserError, match=case["refused"]) as refusal:
            read(case, tmp_path)
        assert "\n" not in str(refusal.value)
        return
    found = read(case, tmp_path)
    assert {name: found[name] for name in case["reads"]} == case["reads"]
    if "pair" not in case["reads"]:
        assert found["pair"] is None
    assert case.get("says", "") in caplog.text


def test_a_file_that_is_read_without_a_guess_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alembert")
    content = 'text,label\n"good, so",pos\nbad,neg\n'
    read({"file": "d.csv", "content": content}, tmp_path)
    assert caplog.text == ""


def test_every_kind_has_an_example_and_five_neighbours_or_its_few_shapes() -> None:
    for kind in TABLE:
        assert re.fullmatch(".+", kind["example"])
        assert len(kind["cases"]) >= 2
        assert len({case["name"] for case in kind["cases"]}) == len(kind["cases"])
