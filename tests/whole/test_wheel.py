"""The wheel: all of the package is in it, and it works where there is nothing but the wheel."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "alembert"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in an environment that does not lead back to the sources."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left behind in the sources and nothing old gets in."""
    copy = tmp_path_factory.mktemp("sources")
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignore)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy, cwd=copy)
    [built] = copy.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a fresh environment that holds the wheel and sees our dependencies."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    scripts, site = Path(paths["scripts"]), Path(paths["purelib"])
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install"]
    run(*pip, "--no-deps", "--no-index", "--quiet", wheel, cwd=home)
    # After the install: pip must not find the alembert that these tests run from.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return scripts


def test_the_wheel_holds_every_module_the_data_the_types_and_the_licence(wheel: Path) -> None:
    expected = {
        f"alembert/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"alembert/data/intents/{s}.csv" for s in ("train", "valid", "test")} < expected
    assert "alembert/py.typed" in expected
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert expected - names == set()
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")] != []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"alembert"}


def test_the_installed_command_gives_its_help(installed: Path, tmp_path: Path) -> None:
    assert "quickstart" in run(installed / "alembert", "--help", cwd=tmp_path)


def test_the_installed_package_reads_its_own_data(installed: Path, tmp_path: Path) -> None:
    program = (
        "import alembert, importlib.resources as r, importlib.metadata as m, sys\n"
        "assert alembert.__file__.startswith(sys.prefix), alembert.__file__\n"
        "assert m.version('alembert') == alembert.__version__\n"
        "print(len(r.files('alembert').joinpath('data/intents/train.csv').read_text().split('\\n')))"
    )
    assert int(run(installed / "python", "-c", program, cwd=tmp_path)) == 1 + 70 * 18 + 1


def test_a_verb_without_its_packages_names_the_extra(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text("raise ModuleNotFoundError(name='transformers')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [installed / "alembert", "recipes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "alembert: transformers is not installed: pip install 'alembert[train]'\n"
    )
