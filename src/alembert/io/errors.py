"""The error for a user's mistake, and whether this process is the one that reports it."""

import os


class UserError(Exception):
    """A user's mistake: one line that names the file, row, column or option, and the fix.

    The command line prints it without a stack trace and exits with its code.
    """

    code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names in it may hold line breaks


class DivergedError(UserError):
    """Training ended because the loss or the gradient became NaN or infinite."""


def leads() -> bool:
    """Whether this is the main process, which writes files and prints.

    A launcher sets RANK and LOCAL_RANK in each process; RANK alone is a scheduler's.
    """
    return os.environ.get("RANK", "0") == "0" or "LOCAL_RANK" not in os.environ
