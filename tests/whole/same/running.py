"""Runs the probes on the installed sides, each in a process of its own, one core each."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from . import install, words
from .install import NET, Side

KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # of the environment
FIXED = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **dict.fromkeys(("HF_HUB_OFFLINE", "TQDM_DISABLE", "PYTHONUTF8"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "COLUMNS": "120",
}


def run(sides: Sequence[tuple[Side, Sequence[words.Rename]]], only: str, jobs: int) -> None:
    """Probe these sides, with their renamed words. Raises SystemExit where one does not end."""
    if not sides:
        return
    house = _house(sides[0][0].home.parent)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for side, renames in sides:
            install.install(side)
            task = {"house": str(house), "only": only, "entry": side.entry}
            task |= {"renames": [astuple(each) for each in renames]}
            (side.home / "task.json").write_text(json.dumps(task))
            running.append(_started(side.home, "worker", side.home))
            if jobs == 1:
                running[-1].wait()
        if [process for process in running if process.wait()]:
            sys.exit("make same: a side did not come to its end")
    finally:
        for process in running:
            process.terminate()


def seen(side: Side) -> dict[str, dict[str, str]]:
    """What its probes were seen to do, by their titles."""
    found = [json.loads(path.read_text()) for path in sorted((side.home / "seen").glob("*.json"))]
    return {each["title"]: each["seen"] for each in found}


def _house(home: Path) -> Path:
    """The models and files of the probes, made once for both sides."""
    house = home / f"house-{install.digest(install.machine())}"
    if not house.is_dir():
        for old in home.glob("house*"):
            shutil.rmtree(old)
        made = home / "house"
        if _started(home, "house", made).wait():
            sys.exit("make same: the models of the probes could not be made")
        made.rename(house)
    return house


def _started(home: Path, module: str, given: Path) -> "subprocess.Popen[bytes]":
    """A module of the net as a process: one thread, no network, caches and packages of its own."""
    home.mkdir(parents=True, exist_ok=True)
    paths = (home / "package", NET / "clock", NET.parents[1])
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | FIXED
    environment |= {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "XDG_CACHE_HOME": str(home / "cache"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
    }
    command = [sys.executable, "-m", f"{__package__}.{module}", str(given)]
    return subprocess.Popen(command, env=environment, cwd=home)
