"""`make same BASE=commit`: two states of the package, side by side, compared to the last digit.

This is the net under a rebuild, for changes that must not alter what the package does. It installs
BASE and HEAD (the working tree unless HEAD=commit is given) into .same/, runs every command line in
probes/ on both, and compares all that they print, write and answer over HTTP: losses, metrics,
predictions, weights, graphs, help texts, refusals, names of files. It uses the command, the files
it writes and HTTP alone, so modules may move as they like.

    make same BASE=v1                       # everything: about ten minutes on two cores
    make same BASE=v1 ARGS="--only 'help:*'"

What differs is printed, grouped by file; all of it is in .same/differences.txt. The exit code is 1
when something differs that is not meant:

- probes/*.yaml: the command lines (probes.py says what a probe may have). They speak as the package
  did when they were written.
- words.yaml: renamed words, `old` and `new`: options, keys, file names, sentences. HEAD is called by
  its new words, and what BASE says is read in them. Each commit is called by its own table.
- meant.yaml: differences that are wanted: `probe`, `file`, `lines` (a pattern), and the `reason`. An
  entry that nothing needs any more is named.
- noise.yaml: what differs between two runs of one commit, by name. Clocks stand still for both
  sides (clock/), so most times do not.

What BASE did is kept in .same/ and used again while neither it nor the probes nor the machine's
packages change.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import astuple
from pathlib import Path

from . import install, probes, show, words
from .compare import differences, meant, unmeant
from .install import NET, ROOT, TREE, Side

HOME = ROOT / ".same"


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="make same", description=__doc__.split("\n")[0])
    parser.add_argument("base", help="a commit")
    parser.add_argument("--head", default=TREE, help="a commit; default: the working tree")
    parser.add_argument("--only", default="*", help="probes whose titles match this pattern")
    parser.add_argument("--jobs", type=int, default=2, help="1 runs the sides one after the other")
    given = parser.parse_args()
    began = time.monotonic()
    tree = install.git("rev-parse", f"{given.base}^{{tree}}").strip()
    key = install.digest(tree, given.only, install.machine())
    base = Side(given.base, HOME / f"base-{key}")
    # a name as long as the other's: where a path is printed, lines break at the same place
    head = Side(given.head, HOME / "head".ljust(len(base.home.name), "-"))
    tables = [words.read(side.text(_table("words.yaml"))) for side in (base, head)]
    wanted = meant(head.text(_table("meant.yaml")), base.text(_table("meant.yaml")))
    if install.dependencies(base) != install.dependencies(head):
        print("the dependencies of the two differ; both run with the packages that are installed")
    count = len(probes.read(only=given.only))
    new = [side for side in (base, head) if side is head or not (side.home / "done").is_file()]
    print(f"{count} probes, on {' and '.join(side.commit for side in new)}", flush=True)
    for side in new:
        install.install(side)
    _run(new, dict(zip((base.home, head.home), tables, strict=True)), given.only, given.jobs)
    renames = [each for each in tables[1] if each not in tables[0]]
    found = list(unmeant(differences(_seen(base), _seen(head), renames), wanted))
    texts = [f"{each.probe}\n{each.file}\n" + "\n".join(each.lines) for each in found]
    (HOME / "differences.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    print("\n".join(show.shown(found, wanted if given.only == "*" else (), count)))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if found else 0


def _table(name: str) -> str:
    return str((NET / name).relative_to(ROOT))


def _run(
    sides: list[Side], tables: dict[Path, tuple[words.Rename, ...]], only: str, jobs: int
) -> None:
    """All probes on these sides, each in a process; raises SystemExit where one fails."""
    home = _house()
    running: list[subprocess.Popen[bytes]] = []
    try:
        for side in sides:
            name, entry = side.script
            task = {
                "house": str(home), "only": only, "script": f"{name}={entry}",
                "renames": [astuple(each) for each in tables[side.home]],
            }  # fmt: skip
            (side.home / "task.json").write_text(json.dumps(task))
            command = [sys.executable, "-m", "whole.same.worker", str(side.home)]
            running.append(subprocess.Popen(command, env=_environment(side), cwd=side.home))
            if jobs == 1:
                running[-1].wait()
        if any([process.wait() for process in running]):
            sys.exit("a side did not come to its end")
    finally:
        for process in running:
            process.terminate()


def _house() -> Path:
    """The models and files of the probes, made once."""
    home = HOME / f"house-{install.digest((NET / 'house.py').read_text(), install.machine())}"
    if not home.is_dir():
        unfinished = HOME / "house.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        build = [sys.executable, "-m", "whole.same.house", str(unfinished)]
        subprocess.run(build, env=_environment(Side(TREE, unfinished)), check=True)
        unfinished.rename(home)
    return home


def _environment(side: Side) -> dict[str, str]:
    """Variables of a side's process: one thread, no network, caches and packages of its own."""
    names = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    paths = (side.package, NET / "clock", NET.parents[1])
    return {name: os.environ[name] for name in names if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "XDG_CACHE_HOME": str(side.home / "cache"),
        "MPLCONFIGDIR": str(side.home / "matplotlib"),
        "COLUMNS": "120",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        **dict.fromkeys(("HF_HUB_OFFLINE", "TQDM_DISABLE", "PYTHONUTF8"), "1"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
    }


def _seen(side: Side) -> dict[str, dict[str, str]]:
    found = [json.loads(path.read_text()) for path in sorted((side.home / "seen").glob("*.json"))]
    return {each["title"]: each["seen"] for each in found}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        sys.exit(main())
    except (words.TableError, subprocess.CalledProcessError) as error:
        sys.exit(f"make same: {error}")
