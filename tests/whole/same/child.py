"""Runs one command line of the package in a child process, and ends it."""

import importlib
import os
import resource
import shlex
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .probes import Probe

LIMIT = 180.0  # seconds that a command may take
LATE = "none in time"


def start(line: str, entry: str, place: Path, home: Path, probe: Probe, stdin: str = "") -> int:
    """Fork a child that calls the entry point, `name=module:function`; returns its number.

    It works in `place`, reads home/in and writes home/out and home/err.
    """
    (home / "in").write_text(stdin)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for number, name in enumerate(("in", "out", "err")):
                flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if number else 0)
                os.dup2(os.open(home / name, flags, 0o644), number)
            os.chdir(place)
            _hide(probe.without, entry)
            if probe.bytes:
                most = (int(probe.bytes), resource.RLIM_INFINITY)
                resource.setrlimit(resource.RLIMIT_FSIZE, most)
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            code = _called(line, entry)
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            os._exit(code)
        finally:
            os._exit(99)  # whatever happens, it never goes on as its parent
    return child


def ended(child: int) -> str:
    """Its exit code. What does not end is killed, and so is what it leaves behind."""
    end = time.monotonic() + LIMIT
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return str(os.waitstatus_to_exitcode(status))
            time.sleep(0.002)
        return LATE
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def stopped(child: int, wanted: str, lines: int, place: Path, name: str) -> str | None:
    """The exit code after a signal once a file is there, or has so many lines; else None."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and not _there(place, wanted, lines):
        if os.waitpid(child, os.WNOHANG)[0]:
            return None
        time.sleep(0.0005)
    os.kill(child, getattr(signal, name))
    return ended(child)


def _hide(packages: tuple[str, ...], entry: str) -> None:
    """Make packages seem not installed; the package itself is loaded anew, without them."""
    if packages:
        own = entry.partition("=")[2].split(".")[0]
        for name in [each for each in sys.modules if each.split(".")[0] in (*packages, own)]:
            del sys.modules[name]
        sys.modules |= dict.fromkeys(packages)  # type: ignore[arg-type]  # None refuses the import


def _called(line: str, entry: str) -> int:
    """The exit code of the command line."""
    name, _, place = entry.partition("=")
    module, _, function = place.partition(":")
    sys.argv = [name, *shlex.split(line)]
    sys.modules["__main__"].__package__ = None  # a usage line would name it
    try:
        getattr(importlib.import_module(module), function)()
    except SystemExit as end:
        code: Any = end.code
        return code if isinstance(code, int) else int(code is not None)
    except BaseException as error:  # of a fault its kind and text are kept, for its lines move
        print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _there(place: Path, wanted: str, lines: int) -> bool:
    """Whether a file of this pattern is there, and has so many lines."""
    for path in place.glob(wanted):
        with suppress(OSError):
            if not lines or path.read_bytes().count(b"\n") >= lines:
                return True
    return False
