"""How much the command line tells beside its result: news, progress, --quiet and --verbose."""

import inspect
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Annotated, Any

import typer

from alembert.cli.lines import ready
from alembert.io import progress
from alembert.io.errors import UserError, leads

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="print the result and warnings, and no news")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="print more news, such as stages that are left out")
]


class News(logging.Handler):
    """Prints what the package logs as plain lines, those on files once; of several processes one.

    A server goes on where its lines cannot be printed; other verbs end.
    """

    def __init__(self, err: bool) -> None:
        super().__init__()
        self.err, self.serves = err, False
        self.of_data: set[str] = set()  # what was told of files, which may be read for each run

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if not leads() or line in self.of_data:
            return
        if record.name.startswith("alembert.data.") or record.name.endswith(".apart"):
            self.of_data.add(line)
        err = self.err or record.levelno > logging.INFO
        if not self.serves:
            with progress.above():
                typer.echo(line, err=err)
        elif ready(sys.stderr if err else sys.stdout):
            with suppress(OSError, ValueError):  # a full disk, a closed pipe, a closed file
                typer.echo(line, err=err)


def start(err: bool) -> None:
    """News go to stdout, or to stderr for a verb whose stdout is its result."""
    log = logging.getLogger("alembert")
    for handler in [each for each in log.handlers if isinstance(each, News)]:
        log.removeHandler(handler)
    log.addHandler(News(err))
    log.setLevel(logging.INFO)
    progress.hide(False)


def choose(*, quiet: bool, verbose: bool) -> None:
    """Tell less or more than usual. Raises UserError for both at once."""
    if quiet and verbose:
        raise UserError("--quiet and --verbose: choose one of them")
    if quiet:
        progress.hide(True)
    if quiet or verbose:
        logging.getLogger("alembert").setLevel(logging.WARNING if quiet else logging.DEBUG)


def told(run: Callable[..., None]) -> Callable[..., None]:
    """Return a verb that takes --quiet and --verbose, too."""

    @wraps(run)
    def command(quiet: bool = False, verbose: bool = False, **given: Any) -> None:
        choose(quiet=quiet, verbose=verbose)
        run(**given)

    own = {"quiet": Quiet, "verbose": Verbose}
    command.__annotations__ = {**run.__annotations__, **own}
    signature = inspect.signature(run)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in own.items()
    ]
    given = signature.parameters.values()
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in given), *more]
    )
    return command
