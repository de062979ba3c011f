"""`make same BASE=commit`: two states of the package, side by side, compared to the last digit.

This is the net under a rebuild, for changes that must not alter what the package does. It installs
BASE and HEAD (the working tree unless HEAD=commit is given) into .same/, runs every command line in
probes/ on both, and compares all that they print, write and answer over HTTP: losses, metrics,
predictions, weights, graphs, help texts, refusals, names of files. It uses the command, the files
it writes and HTTP alone, so modules may move as they like.

    make same BASE=v1                              # everything: under twenty minutes on two cores
    make same BASE=v1 ARGS="--only 'help:*'"       # probes whose titles match

What differs is printed, grouped by file, and all of it is in .same/differences.txt. The exit code
is 1 when something differs that is not meant. Its data files:

- probes/*.yaml: the command lines (probes.py says what a probe may have). They speak as the package
  did when they were written.
- words.yaml: renamed options, keys, file names, sentences: `old` and `new`. HEAD is called by its
  new words, and what BASE says is read in them. Each commit is called by its own table.
- meant.yaml: differences that are wanted: `probe`, `file`, `lines` (a pattern) and the `reason`.
  A row that nothing needs any more is named. What BASE's own list has is no difference to it.
- noise.yaml: what differs between two runs of one commit, by name. Clocks tick alike for both sides
  (clock/), so that what is chosen by times is the same.
- house.yaml: the tiny models.

What the last BASE did is kept in .same/ and used again while neither it nor the probes nor the
installed packages change.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import time

from . import install, probes, running, words
from .compare import differences, meant, unmeant
from .install import NET, ROOT, TREE, Side
from .show import shown

HOME = ROOT / ".same"
ALL = "*"


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="make same", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("base", help="a commit")
    parser.add_argument("--head", default=TREE, help="a commit; default: the working tree")
    parser.add_argument("--only", default=ALL, help="probes whose titles match this pattern")
    parser.add_argument("--jobs", type=int, default=2, help="1 runs the sides one after the other")
    given = parser.parse_args()
    began, count = time.monotonic(), len(probes.read(only=given.only))
    base, head = _sides(given.base, given.head, given.only)
    old, new = (words.read(_table(side, "words.yaml")) for side in (base, head))
    wanted = meant(_table(head, "meant.yaml"), _table(base, "meant.yaml"))
    if install.dependencies(base) != install.dependencies(head):
        print("the dependencies of the two differ: both run with the packages that are installed")
    known = (base.home / "done").is_file()
    print(f"{count} probes of {head.commit}{'' if known else f' and {base.commit}'}", flush=True)
    sides = [(base, old), (head, new)][known:]
    running.run(sides, given.only, given.jobs)
    renames = [each for each in new if each not in old]
    found = list(unmeant(differences(running.seen(base), running.seen(head), renames), wanted))
    texts = ["\n".join((each.probe, each.file, *each.lines)) for each in found]
    (HOME / "differences.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    print("\n".join(shown(found, wanted, count, whole=given.only == ALL)))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if found else 0


def _sides(base: str, head: str, only: str) -> tuple[Side, Side]:
    """Both sides and their folders; what another BASE did is forgotten."""
    base, head = (name if name == TREE else install.commit(name) for name in (base, head))
    tree = install.git("rev-parse", f"{base}^{{tree}}").strip()
    home = HOME / f"base-{install.digest(tree, only, install.machine())}"
    for old in HOME.glob("base-*") if only == ALL else ():
        if old != home:
            shutil.rmtree(old)
    # names of one length: where a path is printed, lines break at the same place
    return Side(base, home), Side(head, HOME / "head".ljust(len(home.name), "-"))


def _table(side: Side, name: str) -> str:
    return side.text(str((NET / name).relative_to(ROOT)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended, too
    try:
        sys.exit(main())
    except (words.TableError, subprocess.CalledProcessError) as error:
        sys.exit(f"make same: {error}")
