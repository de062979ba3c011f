"""The error for a user's mistake, several told together, and which process reports it."""

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A user's mistake: one line that names the file, row, column or option, and the fix.

    The command line prints it without a stack trace and exits with its code.
    """

    code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names in it may hold line breaks


class DivergedError(UserError):
    """Training ended because the loss or the gradient became NaN or infinite."""


class MistakesError(UserError):
    """Several mistakes in one call, which the command line prints a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class Together:
    """Keeps the mistakes that several checks find, to tell them all at once."""

    def __init__(self) -> None:
        self._found: list[UserError] = []

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Keep the mistake that the block raises, if it does."""
        try:
            yield
        except UserError as error:
            self._found.append(error)

    def tell(self) -> None:
        """Raise what was kept: the error itself where there is one, or MistakesError."""
        lines = list(dict.fromkeys(map(str, self._found)))
        if len(lines) > 1:
            raise MistakesError(lines)
        if self._found:
            raise self._found[0]


def near(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the known one that is near, if any is."""
    by_case = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.strip().casefold(), by_case, n=1, cutoff=0.7)
    return f"; did you mean {by_case[found[0]]!r}?" if found else ""


def leads() -> bool:
    """Whether this is the main process, which writes files and prints.

    A launcher sets RANK and LOCAL_RANK in each process; RANK alone is a scheduler's.
    """
    return os.environ.get("RANK", "0") == "0" or "LOCAL_RANK" not in os.environ
