"""What a command says that is interrupted, runs out of disk or cuts a text."""

import pkgutil
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import command

from alembert.recipes import choose
from alembert.runs import checks, run
from alembert.runs.folder import writing
from alembert.runs.stages import prepare
from alembert.serving import served_model

DISTIL = (
    "distill distilbert --train train.csv --out run --max-length 32 --epochs 1 --teacher teacher"
)
GENERAL = (
    "distill distilbert --teacher words --corpus corpus.txt --out run --set stages.general.steps=2"
)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (DISTIL, "alembert: interrupted; the same command goes on where it stopped\n"),
        (
            "corpus corpus.txt --tokenizer words --out prepared",
            "alembert: interrupted; the same command goes on where it stopped\n",
        ),
        ("predict teacher good", "alembert: interrupted\n"),
        ("serve teacher", ""),
    ],
)
def test_what_is_interrupted_says_so_in_a_line(
    line: str, says: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    # first, so that no room is loaded while the others are in place, and keeps them
    for room in (prepare, checks, choose, run):
        monkeypatch.setattr(room, "load_config", interrupted)
    monkeypatch.setattr("alembert.models.loading.load_config", interrupted)
    monkeypatch.setattr("alembert.models.loading.load_tokenizer", interrupted)
    monkeypatch.setattr("alembert.inference.manifest.exported_folder", interrupted)
    monkeypatch.setattr(served_model, "exported_folder", interrupted)
    capsys.readouterr()
    assert command(line, monkeypatch) == 130
    assert capsys.readouterr().err == says


def test_a_cache_that_cannot_be_written_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "train.csv"))
    assert command(f"{GENERAL} --max-length 32", monkeypatch) == 2
    says = r"alembert: \S+/train\.csv/alembert/corpus: cannot be written \(.*\): .*XDG_CACHE_HOME\n"
    assert re.fullmatch(says, capsys.readouterr().err)
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_text_of_100_kb_is_cut_and_that_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("long.csv").write_text(Path("train.csv").read_text() + "very good " * 10_000 + ",up\n")
    assert command(f"{DISTIL} --train long.csv", monkeypatch) == 0
    said = capsys.readouterr()
    assert (
        "1 of 61 texts are longer than 32 tokens and are truncated: --max-length or --windows\n"
        in said.out
    )
    assert said.err == ""
    assert command("evaluate run --data long.csv --json", monkeypatch) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"\{[^\n]*\}\n", said.out)
    learnt, cut = said.err.splitlines()
    assert learnt.startswith("long.csv: run has learnt from these texts, so that its figures")
    assert (
        cut
        == "1 of 61 texts are longer than 32 tokens and are truncated: --max-length or --windows"
    )


def full(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    """The function on a disk that takes no more, where an argument names this part of a path."""

    def limited(*given: Any, **more: Any) -> Any:
        if not any(part in str(value) for value in given):
            return function(*given, **more)
        least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
        try:
            return function(*given, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))

    return limited


BOTH = (
    f"{DISTIL} --no-export --general-teacher words --corpus corpus.txt --set stages.general.steps=2"
)


@pytest.mark.parametrize(
    ("what", "part", "says"),
    [
        (
            "alembert.io.tensors.save_file",
            "02-",
            "run/stages/02-task/checkpoint/best.safetensors",
        ),
        ("transformers.PreTrainedModel.save_pretrained", "02-task", "run/stages/02-task/model"),
        (
            "alembert.runs.folder.writing.shutil.copyfile",
            "model.safetensors",
            "run/student/model.safetensors",
        ),
        ("alembert.training.monitor.Log.note", "accuracy", "run/stages/02-task/log.jsonl"),
        ("alembert.io.files.write_text", "run/metrics.json", "run/metrics.json"),
    ],
)  # fmt: skip
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_later(
    what: str,
    part: str,
    says: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        module, _, name = what.rpartition(".")
        patch.setattr(what, full(getattr(pkgutil.resolve_name(module), name), part))
        assert command(BOTH, monkeypatch) == 2
    printed = capsys.readouterr().err
    why = r"cannot be written \(.*File too large.*\): free some space .*"
    line = rf"alembert: {re.escape(says)}: {why}\n"
    assert re.fullmatch(line, printed), printed
    assert not list(Path("run").rglob("*.partial"))
    first = Path("run/stages/01-general/model/model.safetensors").read_bytes()
    assert command(BOTH, monkeypatch) == 0
    said = capsys.readouterr()
    assert "stage 'general': done" not in said.out
    assert said.err == ""
    assert Path("run/stages/01-general/model/model.safetensors").read_bytes() == first


def test_a_disk_full_from_the_start_leaves_no_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writing, "open_run", full(writing.open_run, "run"))
    assert command(DISTIL, monkeypatch) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"alembert: run/environment\.json: cannot be written \(.*\): .*\n", said)
    assert not Path("run").exists()
