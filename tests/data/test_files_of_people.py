"""Files as people have them are read as meant, or refused with the cause: files_of_people.yaml."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import ClassLabel, Dataset, List, Value
from openpyxl import Workbook

from alembert.data.labels import label_ids, label_names
from alembert.data.splits import Files
from alembert.data.tasks import infer_task
from alembert.io.errors import UserError

TABLE = yaml.safe_load(Path(__file__).with_name("files_of_people.yaml").read_text(encoding="utf-8"))
CASES = [
    pytest.param(case, id=f"{kind['kind']}: {case['name']}".replace(" ", "_"))
    for kind in TABLE
    for case in kind["cases"]
]


def write(case: dict[str, Any], folder: Path) -> Path:
    """Writes a case's file: a text, the sheets of a spreadsheet, or the columns of Parquet."""
    path = folder / case["file"]
    if "sheets" in case:
        book = Workbook()
        book.remove(book.active)
        for title, rows in case["sheets"].items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(path.open("wb"))
    elif "table" in case:
        rows = Dataset.from_dict(case["table"])
        for column, names in case.get("classes", {}).items():
            rows = rows.cast_column(column, like(rows.features[column], ClassLabel(names=names)))
        for column, dtype in case.get("types", {}).items():
            rows = rows.cast_column(column, like(rows.features[column], Value(dtype)))
        rows.to_parquet(path)
    else:
        path.write_bytes(case["content"].encode(case.get("encoding", "utf-8")))
    return path


def like(feature: Any, inner: Any) -> Any:
    """The type of a column of lists or of single values, with another type of its values."""
    return List(inner) if isinstance(feature, List) else inner


def files_of(case: dict[str, Any], folder: Path) -> Files:
    """The files of a case: rows in memory, or one of train, and perhaps one of eval."""
    given: Any = case["rows"] if "rows" in case else str(write(case, folder))
    evaluation = str(write(case["eval"], folder)) if "eval" in case else None
    files = Files(train=given, evaluation=evaluation, **case.get("options", {}))
    if "record" in case:
        record = {"arguments": {"files": case["record"]}}
        (folder / "environment.json").write_text(json.dumps(record), encoding="utf-8")
        files = files.as_trained(str(folder))
    return files


def read(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is read of a case's file, by the names of the table."""
    files = files_of(case, folder)
    labelled = files.labelled(files.train, case.get("known"))
    rows, columns = labelled.rows, labelled.columns
    source = files.train.name
    task = infer_task(rows, columns, source, labelled.known)
    scored = task.kind == "regression"
    unseen = list[str]()
    if files.evaluation is not None:
        other = files.labelled(files.evaluation, task.labels, labelled.form)
        names = label_names(other.rows, other.columns, files.evaluation.name)
        label_ids(names, task.labels, files.evaluation.name, unseen)
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
        "first": None if scored else label_names(rows, columns, source)[0],
        "unseen": unseen,
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


def test_every_kind_has_an_example_and_five_different_files() -> None:
    assert len({kind["kind"] for kind in TABLE}) == len(TABLE)
    for kind in TABLE:
        assert re.fullmatch(".+", kind["example"])
        contents = [
            [value for key, value in sorted(case.items()) if key not in ("name", "says")]
            for case in kind["cases"]
        ]
        assert len(set(map(str, contents))) == len(contents) >= 5, kind["kind"]
        assert len({case["name"] for case in kind["cases"]}) == len(kind["cases"])
