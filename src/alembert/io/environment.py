"""What a figure depends on beside the code: versions, processor, and the files on record."""

import os
import platform
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembert.io.parsing import yaml_of

FILE = "environment.json"  # of a run folder
LENGTH = 128  # the most tokens of a text where nothing says otherwise


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
    files = _recorded(model, FILE, lambda told: told["arguments"]["files"].items())
    return {name: value for name, value in files or () if isinstance(value, str)}


def recorded_digest(model: str | Path) -> str | None:
    """The digest of the rows that the run of a model learnt from; None for a model of no run."""
    digest: str | None = _recorded(model, FILE, lambda told: told["digests"]["files.train"])
    return digest


def recorded_length(model: str | Path) -> int | None:
    """The most tokens of a text that the run of a model read; None for a model of no run."""
    length: int | None = _recorded(model, "recipe.yaml", lambda told: max(
        stage.get("max_length", LENGTH) for stage in told["stages"] if stage["data"] == "task"
    ))  # fmt: skip
    return length


def _recorded(model: str | Path, name: str, found: Callable[[Any], Any]) -> Any:
    """What a file of a model's run tells; None where there is none, or it tells nothing of it."""
    for folder in (Path(model), Path(model).parent):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            return found(yaml_of((folder / name).read_text(encoding="utf-8")))  # JSON is YAML
    return None


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


# by verb, the extra that has all it needs; the others need "train"
EXTRAS = {
    "quickstart": "quickstart", "search": "search", "export": "deploy", "bench": "deploy",
    "report": "report", "serve": "serve", "client": "serve",
}  # fmt: skip
ANSWERING = ("tokenizers", "onnxruntime")  # packages that answer
WITHOUT_TORCH = ("serve", "files", "ray")


def extra_for(verb: str, package: str) -> str:
    """Return the extra that brings a package, and whatever else the verb needs."""
    if verb.startswith("predict"):  # an exported model needs little, a file more, torch much
        if package == "pyarrow":
            return "files"
        return "serve" if package in ANSWERING else "train"
    return EXTRAS.get(verb, "train")


def missing(package: str | None, extra: str) -> str:
    """Return the line for a package that is not installed, with the extra that brings it."""
    line = f"{package} is not installed: pip install 'alembert[{extra}]'"
    if extra in WITHOUT_TORCH or find_spec("torch") is not None:
        return line
    return f"{line} (docs/install.md: torch without CUDA, which is much smaller)"
