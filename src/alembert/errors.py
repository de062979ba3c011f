"""The one error that speaks to the user: a mistake in what was given, said in a line."""


class UserError(Exception):
    """A user's mistake: one line that names the file, row, column or option and says the mend.

    The command line prints it without a stack trace and exits with code 2.
    """

    def __init__(self, said: str) -> None:
        super().__init__(" ".join(said.splitlines()))  # what it names may hold line breaks


class DivergedError(UserError):
    """A training whose loss or gradient is no number any more."""
