"""Arguments that no verb can read, and the line and the file of a fault of Alembert itself."""

import itertools
import sys
import tempfile
import traceback

import typer

from alembert.io.errors import UserError

FAULT = 1  # the exit code; that of a user's mistake is 2


def check_arguments() -> None:
    """Raises UserError for an argument of bytes that are no UTF-8, which no record can hold."""
    for before, argument in itertools.pairwise(sys.argv):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            option, equals, _ = argument.partition("=")
            option = option if equals else before
            which = f"{option}: " if option.startswith("-") else ""
            raise UserError(
                f"{which}{argument!a}: byte {ord(argument[error.start]) & 0xFF:#04x} is no UTF-8: "
                "rename the file, or give the text in UTF-8"
            ) from error


def told(error: Exception) -> int:
    """Writes the stack trace of a fault to a file, names it in a line, and returns the exit code.

    The file lies among the temporary ones, as the folder of --out may be another run's, or full.
    """
    reason = " ".join(str(error).split())[:200]
    try:
        number, path = tempfile.mkstemp(prefix="alembert-", suffix=".log")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{sys.argv}\n{''.join(traceback.format_exception(error))}")
        where = f"the stack trace is in {path}"
    except OSError as closed:
        where = f"no file can be made for the stack trace ({closed.strerror})"
    line = f"a fault of Alembert, {type(error).__name__} ({reason}): {where}: please report it"
    typer.echo(f"alembert: {printable(line)}", err=True)  # of any process: each has its own faults
    return FAULT


def printable(line: str) -> str:
    """A line whose control characters, which would steer the terminal, are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
