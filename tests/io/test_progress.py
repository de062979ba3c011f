"""Work is shown while it lasts: drawn on a terminal and in a notebook, logged elsewhere."""

import fcntl
import io
import logging
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import pytest

from alembert.io import progress
from alembert.io.progress import Screen, Work, span

BAR = "from alembert.io.progress import Work\nwith Work('reading', 2, 'rows', kept=True) as work:\n"
BAR += "    work.update(2)\n"
# a kernel without ipywidgets, of which tqdm warns
KERNEL = """
import sys, types
for name in ("ipykernel.zmqshell", "IPython"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = object
sys.modules["ipywidgets"] = None
"""


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a new screen, whose thread is too slow to draw by itself."""
    clock = Clock()
    monkeypatch.setattr(progress, "screen", Screen(clock))
    monkeypatch.setattr(progress, "DRAWN", 3600.0)
    monkeypatch.setattr(progress, "FIRST", 3600.0)
    monkeypatch.setattr(progress, "EVERY", 3600.0)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    # pytest puts its own stream in place of one that a fixture sets
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal, modules={}))
    return terminal


@pytest.mark.parametrize(("before", "shown"), [("", False), (KERNEL, True)])
def test_a_notebook_has_bars_and_a_pipe_has_none(before: str, shown: bool) -> None:
    line = [sys.executable, "-W", "always", "-c", before + BAR]
    found = subprocess.run(line, capture_output=True, text=True, check=True)
    assert ("2/2" in found.stderr) == shown
    assert "Warning" not in found.stderr
    assert found.stdout == ""


def test_a_terminal_sees_what_is_done_and_for_how_long(clock: Clock, terminal: Terminal) -> None:
    with progress.doing("loading the teacher"):
        clock.now = 7
        progress.screen.show()
        assert "loading the teacher 00:07" in terminal.getvalue()
        with Work("task", 40, "steps") as work:
            work.update(10)
            work.tell(loss="0.512")
            progress.screen.show()
    assert "task:  25%" in terminal.getvalue()
    assert "10/40" in terminal.getvalue()
    assert "loss=0.512" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")  # nothing is left on the line


def test_only_a_kept_bar_stays_on_the_terminal(clock: Clock, terminal: Terminal) -> None:
    with Work("task", 2, "steps", kept=True) as work:
        work.update(2)
    assert terminal.getvalue().endswith("\n")
    assert "2/2" in terminal.getvalue()


def test_a_length_that_changes_is_drawn_anew(clock: Clock, terminal: Terminal) -> None:
    with Work("task", 40, "steps", kept=True) as work:
        progress.screen.show()
        work.total = 20
        progress.screen.show()
        assert "0/20" in terminal.getvalue()
        assert "\n" not in terminal.getvalue().rstrip("\r\n ")


def test_a_log_gets_a_line_with_steps_loss_metric_and_the_time_that_is_left(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alembert")
    with progress.doing("distill"):
        clock.now = 10
        progress.screen.show()
        with Work("task", 300, "steps", done=100, at_most=True) as work:
            work.update(50)
            work.tell(**{"loss": "0.512", "best accuracy": "0.8333"})
            clock.now = 40
            progress.screen.show()
            with progress.doing("saving"):
                progress.screen.show()
    told = "task: 150 of 300 steps, loss 0.512, best accuracy 0.8333, at most 1 min 30 s left"
    assert caplog.messages == ["distill, 10 s", told, f"{told}; saving, 0 s"]


def test_bytes_are_told_in_megabytes(clock: Clock) -> None:
    work = Work("reading text", 4_000_000, progress.BYTES)
    work.update(1_000_000)
    assert work.line(2.0) == "reading text: 1.0 of 4.0 MB, 6 s left"


def test_a_thread_draws_while_a_step_lasts(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DRAWN", 0.001)
    with progress.doing("a long step"):
        until = time.monotonic() + 30
        while "a long step" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.001)
    assert "a long step" in terminal.getvalue()
    seen = terminal.getvalue()
    time.sleep(0.01)
    assert terminal.getvalue() == seen


def test_a_log_gets_its_first_line_within_a_second() -> None:
    told = """
import logging, time
from alembert.io.progress import doing
logging.basicConfig(level="INFO", format="%(message)s")
with doing("distill"):
    time.sleep(1.3)
"""
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stderr == "distill, 1 s\n"


def test_a_terminal_without_columns_is_drawn_on_as_well() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    subprocess.run([sys.executable, "-c", BAR], stderr=theirs, check=True)
    seen = b""
    while b"2/2" not in seen and select.select([ours], [], [], 0)[0]:
        seen += os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert b"2/2" in seen


def test_hidden_work_draws_nothing(clock: Clock, terminal: Terminal) -> None:
    progress.hide(True)
    with Work("task", 2, "steps", kept=True) as work:
        progress.screen.show()
        work.update(2)
    assert terminal.getvalue() == ""


def test_news_stand_above_the_bars(
    clock: Clock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    with Work("task", 4, "steps"):
        progress.screen.show()
        with progress.above():
            print("news", file=terminal)
    before, after = terminal.getvalue().split("news\n")
    assert before.endswith("\r")  # the bar was taken off the line
    assert "task:   0%" in after


def test_counted_yields_all_items(clock: Clock) -> None:
    assert list(progress.counted([3, 4], "reading", "rows")) == [3, 4]
    assert not progress.screen.works


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_time_is_told_in_words(seconds: float, told: str) -> None:
    assert span(seconds) == told
