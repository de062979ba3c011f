"""The command line itself, before a verb is called."""

import pytest
from typer.testing import CliRunner

from alembert import __version__
from alembert.cli import main


@pytest.mark.parametrize("asked", ["--version", "-V"])
def test_the_version_is_told_without_a_verb(asked: str) -> None:
    done = CliRunner().invoke(main.app, [asked])
    assert (done.exit_code, done.output) == (0, f"alembert {__version__}\n")
