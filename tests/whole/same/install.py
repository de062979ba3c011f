"""Installs one state of the repository into a folder of its own, and says what it depends on."""

import hashlib
import platform
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]
NET = Path(__file__).parent
TREE = "the working tree"


@dataclass(frozen=True)
class Side:
    """One of the two states that are compared. commit: a commit, or TREE."""

    commit: str
    home: Path

    @property
    def package(self) -> Path:
        """Where the package is installed."""
        return self.home / "package"

    @property
    def entry(self) -> str:
        """The name of its command and what that calls, `name=module:function`."""
        return "=".join(next(iter(self.project["scripts"].items())))

    @property
    def project(self) -> dict[str, dict[str, str]]:
        """The table `project` of its pyproject.toml."""
        project: dict[str, dict[str, str]] = tomllib.loads(self.text("pyproject.toml"))["project"]
        return project

    def text(self, name: str) -> str:
        """A file of the repository, by its path; empty where it does not exist."""
        if self.commit == TREE:
            path = ROOT / name
            return path.read_text(encoding="utf-8") if path.is_file() else ""
        shown = subprocess.run(
            ["git", "show", f"{self.commit}:{name}"], cwd=ROOT, capture_output=True, text=True
        )
        return shown.stdout if shown.returncode == 0 else ""


def git(*words: str) -> str:
    """What git prints. Raises CalledProcessError."""
    done = subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def commit(name: str) -> str:
    """The number of a commit, that stays the same while branches move."""
    return git("rev-parse", "--short=12", "--verify", f"{name}^{{commit}}").strip()


def install(side: Side) -> None:
    """Make the side's folder anew, with the package in it."""
    shutil.rmtree(side.home, ignore_errors=True)
    source = side.home / "source"
    source.mkdir(parents=True)
    if side.commit == TREE:
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file() and not name.startswith(("results/", "tests/")):
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, source / name)
    else:
        archive = side.home / "source.tar"
        git("archive", "-o", str(archive), side.commit)
        shutil.unpack_archive(archive, source)
        archive.unlink()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", side.package, source], check=True)
    shutil.rmtree(source)


def machine() -> str:
    """What the numbers depend on beside the package: interpreter, its packages, the processor."""
    packages = sorted(f"{each.name} {each.version}" for each in distributions())
    cpu = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "")
    return "\n".join([sys.version, platform.machine(), cpu, *packages])


def digest(*texts: str) -> str:
    """A short name for what these texts say and for the program of the net."""
    known = hashlib.sha256("\0".join(texts).encode())
    for path in sorted(NET.rglob("*")):
        if path.suffix in (".py", ".yaml") and path.name not in ("words.yaml", "meant.yaml"):
            known.update(path.read_bytes())
    return known.hexdigest()[:12]


def dependencies(side: Side) -> dict[str, object]:
    """What its pyproject.toml asks for, and for each extra."""
    return {name: side.project.get(name) for name in ("dependencies", "optional-dependencies")}
