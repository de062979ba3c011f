"""The command line, called in this process."""

import sys
from collections.abc import Sequence

import pytest

from alembert.cli import main


def command(line: str | Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `alembert LINE`, a line being words or text that spaces part into words."""
    words = line.split() if isinstance(line, str) else line
    monkeypatch.setattr(sys, "argv", ["alembert", *words])
    try:
        main.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
