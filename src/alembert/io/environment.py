"""What a figure depends on beside the code: versions, processor, and the files on record."""

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from alembert.io.parsing import json_of

FILE = "environment.json"  # of a run folder


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed; "python" is that of Python."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = platform.python_version() if name == "python" else version(name)
    return found


def recorded_files(model: str | Path) -> dict[str, str]:
    """The files and columns that the run of a model has on record; {} for a model of no run.

    `model` is a run folder or the model's own folder in it.
    """
    for folder in (Path(model), Path(model).parent):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            files = json_of((folder / FILE).read_text(encoding="utf-8"))["arguments"]["files"]
            return {name: value for name, value in files.items() if isinstance(value, str)}
    return {}


def processor() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor()


def memory() -> int:
    """The machine's memory in bytes; 2**63 where the system does not tell."""
    if not hasattr(os, "sysconf"):  # Windows
        return 2**63
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def int8_overflows() -> bool:
    """Whether sums of products of 8-bit numbers may overflow 16 bits here: on x86 without VNNI."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return x86 and "vnni" not in _cpuinfo("flags")


def _cpuinfo(field: str) -> str:
    """The first value of a field in Linux's /proc/cpuinfo; empty where there is none."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def peak_mb() -> float:
    """The peak memory of this process; getrusage would count its parent's before the fork."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # Unix alone has it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS
