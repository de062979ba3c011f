"""How much a verb tells: its news, less with --quiet, more with --verbose, and its progress."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import command

from alembert.api import given
from alembert.cli import news
from alembert.io import progress

LEFT_OUT = "stage 'general' is left out: it runs when --corpus is given"
TRAIN = "finetune teacher --train train.csv --eval train.csv --out run --epochs 1 --no-baselines "
TRAIN += "--set stages.linear=null"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a verb sets in this process ends with its test."""
    log = logging.getLogger("alembert")
    level, handlers, hidden = log.level, list(log.handlers), progress.screen.hidden
    yield
    log.setLevel(level)
    log.handlers[:] = handlers
    progress.hide(hidden)


@pytest.mark.parametrize(
    ("options", "told", "left_out"),
    [("", True, False), ("--quiet", False, False), ("-q", False, False), ("-v", True, True)],
)
def test_a_training_tells_as_much_as_is_asked_for(
    options: str,
    told: bool,
    left_out: bool,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(f"{TRAIN} {options}", monkeypatch) == 0
    printed = capsys.readouterr().out
    assert ("stage 'task': done" in printed) == told
    assert (LEFT_OUT in printed) == left_out
    assert "accuracy" in printed.splitlines()[-1]  # the result comes in any case


def test_quiet_and_verbose_stand_before_the_verb_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"--quiet {TRAIN}", monkeypatch) == 0
    assert "stage" not in capsys.readouterr().out
    assert command(f"{TRAIN} --quiet --verbose", monkeypatch) == 2
    assert "--quiet and --verbose: choose one" in capsys.readouterr().err


def test_warnings_are_told_in_any_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    news.start(err=False)
    news.choose(quiet=True, verbose=False)
    logging.getLogger("alembert.data").warning("a row is left out")
    logging.getLogger("alembert.data").info("rows were read")
    assert capsys.readouterr() == ("", "a row is left out\n")


@pytest.mark.parametrize(
    ("line", "titles"),
    [
        (TRAIN, ["finetune", "reading train.csv", "tokenising", "loading teacher", "task",
                 "held-out texts", "student, test texts", "intervals"]),
        ("evaluate teacher --data train.csv --max-length 64",
         ["evaluate", "loading teacher", "predicting"]),
        ("check --train train.csv --eval train.csv --teacher teacher", ["check", "task"]),
    ],
)  # fmt: skip
def test_a_verb_says_what_it_is_doing(
    line: str, titles: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()
    add = progress.screen.add
    monkeypatch.setattr(
        progress.screen, "add", lambda work: (seen.append(work.title), add(work))[1]
    )
    assert command(line, monkeypatch) == 0
    assert [title for title in titles if title not in seen] == []
    assert seen[0] == titles[0]
    assert progress.screen.works == []


def test_every_function_but_a_server_is_work_from_its_first_moment() -> None:
    def waits() -> list[str]:
        return [work.title for work in progress.screen.works]

    def serve() -> list[str]:
        return waits()

    waits.__name__ = "predict_file"
    assert given.plain(waits)() == ["predict file"]
    assert given.plain(serve)() == []


def test_no_color_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from alembert.cli.train import _print_table

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    row = {
        "model": "teacher", "backend": "torch", "parameters": 1e6, "size_mb": 4.0,
        "accuracy": 0.5, "kept": "", "ratios": [], "cpu_ms": {"median": 1.0},
    }  # fmt: skip
    _print_table({"teacher": row})
    assert "teacher" in (printed := capsys.readouterr().out)
    assert not any(f"\x1b[{code}m" in printed for code in [*range(30, 48), *range(90, 108)])
