"""The wheel and the source distribution: all is in them, and the wheel works alone."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from markdown_it import MarkdownIt
from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "alembert"
ADDRESS = "https://example.org/alembert"


def run(*command: str | Path, cwd: Path, address: str = "") -> str:
    """What a command prints, in an environment that does not lead back to the sources."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["ALEMBERT_REPOSITORY"] = address
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that nothing is left behind in the sources and nothing old gets in."""
    copy = tmp_path_factory.mktemp("sources")
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignore)
    return copy


@pytest.fixture(scope="module")
def built(sources: Path) -> Path:
    """The folder of the source distribution, and of the wheel that is built of that."""
    out = sources / "built"
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out]
    run(*build, cwd=sources, address=f"{ADDRESS}/")
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    return found


def metadata_of(distribution: Path) -> Metadata:
    """The metadata, checked as an index does: every field by its rules."""
    if distribution.suffix == ".whl":
        with ZipFile(distribution) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
            content = archive.read(name)
    else:
        with tarfile.open(distribution) as archive:
            name = next(name for name in archive.getnames() if name.count("/") == 1
                        and name.endswith("/PKG-INFO"))  # fmt: skip
            file = archive.extractfile(name)
            assert file is not None
            content = file.read()
    return Metadata.from_email(content, validate=True)


def links_of(markdown: str) -> list[str]:
    """The addresses of the links and pictures in a page."""
    page = MarkdownIt("commonmark").enable("table").parse(markdown)
    inner = [token for block in page for token in block.children or ()]
    found = [token.attrs.get("href", token.attrs.get("src")) for token in inner]
    return [str(each) for each in found if each is not None]


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_an_index_takes_the_metadata_and_shows_the_description(built: Path, kind: str) -> None:
    [path] = built.glob(kind)
    metadata = metadata_of(path)
    assert metadata.description_content_type == "text/markdown"
    links = links_of(metadata.description or "")
    assert len(links) > 40
    own = [link.removeprefix(f"{ADDRESS}/blob/HEAD/") for link in links if ADDRESS in link]
    assert [link for link in links if not link.startswith("https://")] == []
    assert [link for link in own if not (ROOT / link).exists()] == []
    assert (
        MarkdownIt("commonmark").enable("table").render(metadata.description).count("<table>") > 1
    )
    assert (metadata.project_urls or {})["Source"] == ADDRESS
    assert all(url.startswith(ADDRESS) for url in (metadata.project_urls or {}).values())
    assert metadata.license_expression == "Apache-2.0"
    pythons = [re.findall(r"Python :: (3\.\d+)$", each) for each in metadata.classifiers or ()]
    assert [each for found in pythons for each in found] == ["3.11"]  # which the tests run on


def test_without_an_address_no_link_of_the_description_is_broken(sources: Path) -> None:
    program = "import runpy, setuptools\nsetuptools.setup = lambda **given: print(given)\n"
    program += "runpy.run_path('setup.py')"
    told = run(sys.executable, "-c", program, cwd=sources)
    given = ast.literal_eval(told)
    assert links_of(given["long_description"]) == []
    assert "Alembert is installed from a clone" in given["long_description"]
    assert given["project_urls"] == {}


def test_the_source_distribution_holds_what_a_build_needs(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE"} < names
    assert {name.split("/")[0] for name in names} <= {
        "", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "PKG-INFO", "src",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["transformers", "tokenizers", "onnxruntime"])
def test_the_lowest_release_that_is_allowed_is_the_tested_one(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [Requirement(each) for part in project["optional-dependencies"].values()
             for each in part]  # fmt: skip
    [lowest] = {
        clause.version for need in needs if need.name == name for clause in need.specifier
        if clause.operator == ">="
    }  # fmt: skip
    tested = re.search(rf"^{name}==(\d+\.\d+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert tested is not None
    assert lowest == tested[1]


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
