"""The verb predict: a file is answered as its texts are, and texts are not taken for files."""

import csv
import io
import json
from pathlib import Path

import pytest
from support.command_line import command
from support.runs import task_file


@pytest.fixture
def place(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and a file of 60 texts, of which the third is empty."""
    (tmp_path / "model").symlink_to(classifier)
    task_file(tmp_path / "data.csv")
    lines = (tmp_path / "data.csv").read_text().splitlines()
    lines[3] = ",up"
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_has_the_answers_that_its_texts_have(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("predict model --data data.csv --out answers.csv --scores", monkeypatch) == 0
    told = capsys.readouterr().out
    assert told == "answers.csv: made, 60 rows, 1 without a text and without an answer\n"
    with open("answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows if row["text"]]
    assert len(rows) == 60
    assert len(texts) == 59
    assert rows[2]["prediction"] == rows[2]["score"] == rows[2]["score up"] == ""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
    assert command("predict model - --json", monkeypatch) == 0
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    for row, line in zip([row for row in rows if row["text"]], lines, strict=True):
        assert (row["text"], row["prediction"]) == (line["text"], line["label"])
        assert float(row["score"]) == pytest.approx(line["score"], abs=1e-6)
        for label, score in line["scores"].items():
            assert float(row[f"score {label}"]) == pytest.approx(score, abs=1e-6)


def test_a_text_that_is_the_name_of_a_file_is_warned_of(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["predict", "model", "data.csv", "no file"], monkeypatch) == 0
    captured = capsys.readouterr()
    assert captured.err.count("is the name of a file") == 1
    assert captured.err.startswith("data.csv: ")
    assert "--data data.csv --out answers.csv" in captured.err
    assert len(captured.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "nothing to predict: give texts"),
        ("--data data.csv", "--data and --out belong together"),
        ("--out a.csv film", "--data and --out belong together"),
        ("--data data.csv --out a.csv film", "--data data.csv: is answered in --out"),
        ("--data data.csv --out a.csv --pair", "--text-pair names the second column"),
        ("--data data.csv --out a.txt", "--out a.txt: unknown kind of file"),
        ("--data data.csv --out data.csv", "--out data.csv: is there already"),
        ("--data data.csv --out a.csv --text body", "--text body: data.csv has no such column"),
        ("--data nothing.csv --out a.csv", "nothing.csv: no such file"),
        ("--text body film", "--text: is about the columns of --data"),
    ],
)
def test_what_cannot_be_predicted_is_refused_before_the_model_is_opened(
    words: str,
    line: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(place.iterdir())
    assert command(f"predict nowhere {words}", monkeypatch) == 2
    assert line in capsys.readouterr().err
    assert sorted(place.iterdir()) == before
