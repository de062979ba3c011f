"""The command line itself, around the verb that is called."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command_line import command
from typer.testing import CliRunner

from alembert import __version__
from alembert.cli import main
from alembert.io.errors import UserError


@pytest.mark.parametrize("asked", ["--version", "-V"])
def test_the_version_is_told_without_a_verb(asked: str) -> None:
    done = CliRunner().invoke(main.app, [asked])
    assert (done.exit_code, done.output) == (0, f"alembert {__version__}\n")


def fails(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "error",
    [RecursionError("too\ndeep"), KeyError("x"), ModuleNotFoundError("a", name="alembert.a")],
)
def test_a_fault_is_one_line_that_names_the_file_of_its_stack_trace(
    error: Exception,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("alembert.report.page.make", fails(error))
    assert command("report run", monkeypatch) == 1
    printed = capsys.readouterr().err
    assert re.fullmatch(r"alembert: a fault of Alembert, \w+ \([^\n]+\): [^\n]+\n", printed)
    (log,) = temporary.iterdir()
    assert f"the stack trace is in {log}: please report it" in printed
    text = log.read_text()
    assert text.startswith("['alembert', 'report', 'run']\nTraceback")
    assert "in fail\n" in text
    assert type(error).__name__ in text


def test_a_fault_is_told_where_no_file_can_be_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.mkstemp", fails(OSError(28, "No space left on device")))
    monkeypatch.setattr("alembert.report.page.make", fails(KeyError("x")))
    assert command("report run", monkeypatch) == 1
    assert "no file can be made for the stack trace (No space left" in capsys.readouterr().err


def test_a_mistake_is_no_fault_and_leaves_no_file(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alembert.report.page.make", fails(UserError("no")))
    assert command("report run", monkeypatch) == 2
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(7), 7)])
def test_an_interrupt_and_an_exit_are_no_faults(
    error: BaseException, code: int, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alembert.report.page.make", fails(error))
    assert command("report run", monkeypatch) == code
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--out", "r\udcff"], r"--out: 'r\\udcff': byte 0xff is no UTF-8: rename the file"),
        (["--out=é\udce9"], r"--out: '--out=\\xe9\\udce9': byte 0xe9 is no UTF-8"),
        (["--train", "\udcff.csv"], r"--train: '\\udcff\.csv': byte 0xff is no"),
        (["tiny\udcff"], r"alembert: 'tiny\\udcff': byte 0xff is no UTF-8"),
    ],
)
def test_bytes_that_are_no_utf8_are_named_with_their_option(
    words: list[str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(["distill", *words], monkeypatch) == 2
    printed = capsys.readouterr().err
    assert re.fullmatch(r"alembert: [^\n]+\n", printed)
    assert re.search(line, printed)


def test_a_line_never_steers_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alembert.report.page.make", fails(UserError("\x1b[2Ja\x07 é 日 😀")))
    assert command("report run", monkeypatch) == 2
    assert capsys.readouterr().err == "alembert: \\x1b[2Ja\\x07 é 日 😀\n"
