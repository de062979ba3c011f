"""A run on files as people have them: rows left out are listed, and an unseen label is an error."""

import json
from pathlib import Path

import pytest
from support.command_line import command
from support.runs import saved
from transformers import BertTokenizerFast

TRAIN = "body;queue\n" + "".join(
    f"the {word} film {'very ' * (n % 4)};{label}\n"
    for n in range(20)
    for word, label in (("good", "up"), ("bad", "down"))
)


@pytest.mark.slow
def test_a_run_lists_what_it_left_out_and_counts_an_unseen_label_as_an_error(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "base", tokenizer, "classification")
    Path("train.csv").write_text(TRAIN + ";up\na;b;c\n", encoding="utf-8")
    rows = "the good film;up\n" * 10 + "the bad film;down\n" * 10 + "is it;sideways\n"
    Path("test.csv").write_text("body;queue\n" + rows, encoding="utf-8")
    verb = "finetune base --train train.csv --eval test.csv --text body --label queue --out run"
    verb += " --max-length 16 --epochs 1 --skip-bad-rows 2 --kind classification"
    assert command(verb, monkeypatch) in (0, None), capsys.readouterr().err
    out = capsys.readouterr()
    told = out.out + out.err
    assert "train.csv: read as cells separated by semicolons" in told
    assert "1 of 21 labels were not trained on and count as errors of every model" in told
    assert json.loads(Path("run/skipped_rows.json").read_text(encoding="utf-8")) == [
        {
            "file": "train.csv",
            "row": "line 43",
            "why": "3 fields where the header has 2; fix the row (in CSV, quote a text that holds "
            "a comma)",
        },
        {"file": "train.csv", "row": "row 41", "why": "'body' is empty; fill it or drop the row"},
    ]
    metrics = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["student"]["accuracy"] <= 20 / 21
    assert command("evaluate run --data test.csv --max-length 16 --json", monkeypatch) in (0, None)
    out = capsys.readouterr()
    assert json.loads(out.out)["accuracy"] == metrics["student"]["accuracy"]
    assert "read as the run of run has it: --text body --label queue" in out.err
    assert command("report run", monkeypatch) in (0, None), capsys.readouterr().err
    assert "sideways" in Path("run/report.html").read_text(encoding="utf-8")
    Path("run/predictions.parquet").unlink()
    Path("run/report.html").unlink()
    assert command("report run", monkeypatch) in (0, None), capsys.readouterr().err
    assert "sideways" in Path("run/report.html").read_text(encoding="utf-8")
