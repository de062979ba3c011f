"""The command line, called in this process."""

import sys

import pytest

from alembert.cli import main


def command(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `alembert LINE`."""
    monkeypatch.setattr(sys, "argv", ["alembert", *line.split()])
    try:
        main.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
