"""How much the command line tells beside its result: news, progress, --quiet and --verbose."""

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from alembert.io import progress
from alembert.io.errors import UserError, leads

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="print the result and warnings, and no news")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="print more news, such as stages that are left out")
]


class _News(logging.Handler):
    """Prints what the package logs as plain lines; of several processes one does."""

    def __init__(self, err: bool) -> None:
        super().__init__()
        self.err = err

    def emit(self, record: logging.LogRecord) -> None:
        if leads():
            with progress.above():
                typer.echo(self.format(record), err=self.err or record.levelno > logging.INFO)


def start(err: bool) -> None:
    """News go to stdout, or to stderr for a verb whose stdout is its result."""
    log = logging.getLogger("alembert")
    for handler in [each for each in log.handlers if isinstance(each, _News)]:
        log.removeHandler(handler)
    log.addHandler(_News(err))
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
