"""What a figure depends on beside the code: the versions of packages and the processor."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of Python and of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"python": platform.python_version()}


def processor() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor()


def has_vnni() -> bool:
    """Whether the processor can add products of 8-bit numbers without overflow."""
    return "vnni" in _cpuinfo("flags")


def _cpuinfo(field: str) -> str:
    """The first value of a field in Linux's /proc/cpuinfo; empty where there is none."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""
