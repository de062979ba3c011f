"""The one error that speaks to the user, a mistake in what was given, and who of several speaks."""

import os


class UserError(Exception):
    """A user's mistake: one line that names the file, row, column or option and says the mend.

    The command line prints it without a stack trace and exits with code 2.
    """

    def __init__(self, said: str) -> None:
        super().__init__(" ".join(said.splitlines()))  # what it names may hold line breaks


class DivergedError(UserError):
    """A training whose loss or gradient is no number any more."""


def leads() -> bool:
    """Whether this process is the one that writes and speaks.

    A launcher numbers its processes in RANK and LOCAL_RANK; a scheduler that sets RANK starts one.
    """
    return os.environ.get("RANK", "0") == "0" or "LOCAL_RANK" not in os.environ
