"""The log of a server: it neither stops nor delays one, whatever becomes of its stream."""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from alembert.cli.lines import Requests, ready
from alembert.cli.news import News

LINE = logging.LogRecord("alembert.access", logging.INFO, "", 0, "a line", None, None)


class Full(io.StringIO):
    """A stream on a full disk."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """The end of a pipe that is read, and the other as a stream."""
    begin, end = os.pipe()
    with os.fdopen(end, "w") as stream:
        yield begin, stream
    os.close(begin)


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's lines reach caplog, whatever a command line has set up before."""
    monkeypatch.setattr(logging.getLogger("alembert"), "handlers", [])


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe has no poll there")
def test_a_line_is_not_waited_for_where_the_reader_of_a_pipe_has_stopped(
    pipe: tuple[int, TextIO], caplog: pytest.LogCaptureFixture
) -> None:
    begin, stream = pipe
    written = Requests(stream)
    for _ in range(20_000):  # a pipe takes about 9,000 of them
        written.emit(LINE)
    assert not ready(stream)
    assert caplog.messages == [
        "the log of requests cannot be written (nobody reads it): 1 lines are lost"
    ]
    kept = os.read(begin, 100_000).decode()
    assert set(kept.splitlines()) == {"a line"}
    written.emit(LINE)
    assert os.read(begin, 100).decode() == "a line\n"


def test_a_full_disk_is_told_once_a_minute_and_without_a_stack_trace(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    now = [1000.0]
    monkeypatch.setattr("alembert.cli.lines.time.monotonic", lambda: now[0])
    written = Requests(Full())
    for _ in range(50):
        written.emit(LINE)
    now[0] += 61
    written.emit(LINE)
    told = "the log of requests cannot be written (No space left on device): "
    assert caplog.messages == [told + "1 lines are lost", told + "50 lines are lost"]
    assert capsys.readouterr().err == ""


def test_a_closed_stream_is_told_like_a_full_disk(caplog: pytest.LogCaptureFixture) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        Requests(stream).emit(LINE)
    assert [each.partition(" (")[0] for each in caplog.messages] == [
        "the log of requests cannot be written"
    ] * 2


def test_news_that_cannot_be_printed_stop_a_verb_and_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    news = News(err=True)
    with pytest.raises(OSError, match="No space left"):
        news.emit(LINE)
    news.serves = True
    news.emit(LINE)


def test_a_file_takes_every_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        written = Requests(stream)
        for _ in range(20_000):
            written.emit(LINE)
    assert (tmp_path / "log").read_text() == "a line\n" * 20_000
