"""A share of train that is kept for the evaluation, for a user with one file."""

import csv
import json
from pathlib import Path

import pytest
from support.runs import task_file

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.runs.texts.apart import share_of, with_share_apart


@pytest.fixture(autouse=True)
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def parts(files: Files) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    assert files.evaluation is not None
    return files.train.rows.to_list(), files.evaluation.rows.to_list()


@pytest.mark.parametrize(
    ("given", "share"), [("20%", 0.2), ("7.5 %", 0.075), ("test.csv", None), (None, None)]
)
def test_a_share_is_written_with_a_percent_sign(given: object, share: float | None) -> None:
    assert share_of(given) == share


@pytest.mark.parametrize("given", ["0%", "50%", "100 %", "1.2.3%"])
def test_an_impossible_share_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="a share of --train is over 0 and under 50 %"):
        share_of(given)


def test_each_class_has_its_proportion_and_the_same_rows_give_the_same_files(
    tmp_path: Path, news: list[str]
) -> None:
    files = with_share_apart(Files(train=task_file(tmp_path / "train.csv", 300)), 0.2)
    train, test = parts(files)
    labels = [row["label"] for row in test]
    assert {labels.count(name) for name in ("up", "down", "flat")} <= {18, 19, 20}
    assert not {row["text"] for row in train} & {row["text"] for row in test}
    assert any("rows are kept for the evaluation alone" in line for line in news)
    copied = Path(task_file(tmp_path / "elsewhere.csv", 300))
    again = with_share_apart(Files(train=str(copied), windows=True), 0.2)
    assert again.windows
    assert parts(again) == parts(files)
    assert Path(again.train.name) == Path(files.train.name).with_name("elsewhere, 80 %.parquet")


def test_a_text_that_is_there_twice_is_on_one_side(tmp_path: Path, news: list[str]) -> None:
    lines = Path(task_file(tmp_path / "train.csv", 60)).read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*lines, *lines[1:]]) + "\n")
    train, test = parts(with_share_apart(Files(train=str(tmp_path / "twice.csv")), 0.2))
    assert not {row["text"] for row in train} & {row["text"] for row in test}
    assert any("that are in train too are left out" in line for line in news)


def test_columns_of_any_name_scores_and_labels_in_columns_are_divided(tmp_path: Path) -> None:
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["One", "Other", "Alike"])
        writer.writerows([f"text {i}", f"other {i}", i / 10] for i in range(40))
    files = Files(train=str(tmp_path / "pairs.csv"), text="One", text_pair="Other", label="Alike")
    train, test = parts(with_share_apart(files, 0.25))
    assert (len(train), len(test)) == (30, 10)
    with (tmp_path / "several.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "a", "b", "c"])
        writer.writerows([f"text {i}", i % 2, int(i % 3 == 0), 1] for i in range(40))
    divided = with_share_apart(Files(train=str(tmp_path / "several.csv"), label="a,b,c"), 0.25)
    read = divided.labelled(divided.train, None)
    assert len(read.rows) == 30
    again = divided.labelled(divided.train.with_role("eval"), None)
    assert again.known == read.known


def test_tags_of_words_are_divided_by_texts(tmp_path: Path) -> None:
    rows = [{"tokens": [f"w{i}", "b"], "tags": ["B-X", "O"]} for i in range(20)]
    (tmp_path / "tags.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    train, test = parts(with_share_apart(Files(train=str(tmp_path / "tags.jsonl")), 0.2))
    assert (len(train), len(test)) == (16, 4)
    assert train[0]["tokens"][1] == "b"  # type: ignore[index]
