"""House rules that a program can check: imports point downward, files stay small, start is fast.

A module stands on a floor of a wing. It may import what is on a lower floor of its own wing, or on
its own floor there so long as no circle forms. Wings do not see each other: they meet on disk.
"""

import ast
import os
import subprocess
import sys
import textwrap
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "alembert"

# Wing -> module or folder of src/alembert -> floor. A new module gets a line here.
FLOORS = {
    "free": dict.fromkeys(
        (
            "",
            "errors",
            "hub",
            "inputs",
            "seeds",
            "several",
            "sharded",
            "variation",
            "writing",
        ),
        0,
    ),  # "": __init__.py, the version
    "distillation": {
        **dict.fromkeys(
            (
                "losses",
                "vocabulary",
                "layermap",
                "anatomy",
                "architectures",
                "attention",
                "models",
                "checkpoint",
                "embedding",
                "pieces",
                "regression",
                "divergence",
                "likeliest",
            ),
            1,
        ),
        **dict.fromkeys(("trace", "narrowing", "thinning", "layerwise", "student"), 2),
        **dict.fromkeys(("term", "label_terms", "layer_terms", "objective", "kept"), 3),
        **dict.fromkeys(("distillation", "recipe"), 4),
        **dict.fromkeys(("train", "watching", "recipes", "folder", "fit", "read_words"), 5),
    },
    "data": {"data": 1, "evaluate": 2, "candidates": 2},
    "deploy": {"deploy": 1, "client": 2},
    "whole": {
        **dict.fromkeys(
            (
                "job",
                "trim",
                "reading",
                "start",
                "beginning",
                "answers",
                "kept_part",
                "teacher_cache",
                "augmentation",
                "variants",
                "judge",
                "run",
                "bench",
                "exporting",
                "choosing",
                "class_weights",
                "ensemble",
                "tune",
                "answering",
                "report",
                "card",
                "quickstart",
                "search",
            ),
            6,
        ),
        **dict.fromkeys(
            (
                "options",
                "verbs",
                "deploy_verbs",
                "serve_verb",
                "search_verb",
                "cli",
            ),
            7,
        ),
        "__main__": 8,
    },
}
SEES_ALL = FLOORS["whole"].keys()
STRANGERS = ({"train", "recipes"},)  # on one floor, and yet neither knows the other

APART = {
    "architectures",
    "attention",
    "models",
    "checkpoint",
    "embedding",
    "recipes",
    "folder",
    "fit",
    "narrowing",
    "thinning",
    "layerwise",
    "pieces",
    "likeliest",
    "kept",
    "watching",
    "read_words",
    "regression",
}
CORE = FLOORS["distillation"].keys() - APART
NAMELESS = {"util", "utils", "common", "misc", "helper", "helpers", "base", "manager"}
HEAVY = {"torch", "transformers", "datasets", "onnxruntime"}

PLACE = {name: (wing, floor) for wing, rooms in FLOORS.items() for name, floor in rooms.items()}


def sources(package: Path) -> dict[str, Path]:
    """Module name without the package's ("data.sources"; "" for its __init__) -> file."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """The package's own modules that a file imports, anywhere in it, by whatever spelling."""
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = ["alembert", *filter(None, inside.split("."))]
            start = up[: len(up) - node.level + 1] if node.level else []
            origin = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{origin}.{alias.name}"
                found.add(whole if whole.removeprefix("alembert.") in modules else origin)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in ("import_module", "__import__"):
                found.add(str(node.args[0].value))
    own = {module for module in found if module.split(".")[0] == "alembert"}
    return {module.removeprefix("alembert").removeprefix(".") for module in own}


def objection(importer: str, imported: str) -> str | None:
    """Why a module may not import another, or None where it may. Both have their place."""
    here, there = importer.split(".")[0], imported.split(".")[0]
    (wing, floor), (other_wing, other_floor) = PLACE[here], PLACE[there]
    if other_wing == "free" and wing != "free":
        return None
    if other_floor > floor:
        return f"points up, from floor {floor} to {other_floor}"
    if {here, there} in STRANGERS:
        return "these two do not know each other"
    if wing != other_wing and (here not in SEES_ALL or floor == other_floor):
        return f"crosses from wing {wing} to wing {other_wing}"
    return None


def complaints(package: Path) -> list[str]:
    """Everything in a package that breaks the rules of floors and wings, a line each."""
    modules = sources(package)
    lost = {name for name in modules if name.split(".")[0] not in PLACE}
    found = [
        f"{name} has no floor: give it one in FLOORS, {Path(__file__).name}"
        for name in sorted(lost)
    ]
    graph = {name: imports(name, path, modules) for name, path in modules.items()}
    for name in sorted(graph.keys() - lost):
        for target in sorted(graph[name]):
            if target not in modules:
                found.append(f"{name} imports {target}, which is not there")
            elif target not in lost and (why := objection(name, target)):
                found.append(f"{name} imports {target}: {why}")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        found.append("circle: " + " -> ".join(reversed(circle.args[1])))
    return found


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_imports_point_downward_without_circles_or_crossing_wings() -> None:
    assert complaints(PACKAGE) == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"losses": "from alembert import trace", "trace": ""}, "losses imports trace: points up"),
        (
            {"trace": "def f():\n    import alembert.training.loop", "train": ""},
            "trace imports train",
        ),
        (
            {"losses": "if TYPE_CHECKING:\n    from alembert.training.loop import x", "train": ""},
            "losses imports train: points up",
        ),
        ({"losses": "from .trace import x", "trace": ""}, "losses imports trace: points up"),
        ({"data/a": "from ..cli import x", "cli": ""}, "data.a imports cli: points up"),
        (
            {"losses": "import_module('alembert.cli.main')", "cli": ""},
            "losses imports cli: points up",
        ),
        ({"train": "import alembert.data.a", "data/a": ""}, "train imports data.a: crosses"),
        (
            {"evaluate": "import alembert.objectives.functional", "losses": ""},
            "evaluate imports losses: crosses",
        ),
        (
            {"deploy/a": "from alembert import evaluate", "evaluate": ""},
            "deploy.a imports evaluate: ",
        ),
        (
            {"recipes/a": "import alembert.training.loop", "train": ""},
            "recipes.a imports train: these two",
        ),
        (
            {"errors": "import alembert.objectives.functional", "losses": ""},
            "errors imports losses: points up",
        ),
        (
            {
                "losses": "import alembert.models.anatomy",
                "anatomy": "import alembert.objectives.functional",
            },
            "circle: ",
        ),
        ({"data/a": "from . import b", "data/b": "from .a import x"}, "circle: "),
        ({"attic": ""}, "attic has no floor: give it one in FLOORS, test_floors.py"),
        ({"train": "import alembert.gone"}, "train imports gone, which is not there"),
    ],
)
def test_a_breach_is_named(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    write(tmp_path, files)
    found = complaints(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(complaint)


def test_what_is_allowed_gives_no_complaint(tmp_path: Path) -> None:
    files = {
        "errors": "",
        "losses": "import torch\nfrom alembert.io.errors import UserError",
        "vocabulary": "from alembert.objectives.functional import kl",
        "data/__init__": "",
        "data/sources": "from alembert import __version__",
        "data/tasks": "from .sources import read",
        "evaluate": "from .data import tasks",
        "run": "from alembert import evaluate, losses",
        "quickstart": "from alembert.runs.run import run",
        "cli": "def f():\n    from alembert import bench, quickstart",
        "bench": "",
    }
    write(tmp_path, {**files, "__init__": "__version__ = '1'"})
    assert complaints(tmp_path) == []


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_no_module_stands_on_two_floors() -> None:
    assert len(PLACE) == sum(len(rooms) for rooms in FLOORS.values())


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if path.stem in NAMELESS] == []


def test_no_file_is_over_250_lines() -> None:
    long = {path.name: lines(path) for path in PACKAGE.rglob("*.py") if lines(path) > 250}
    assert long == {}


def test_the_core_is_at_most_2100_lines() -> None:
    assert sum(lines(PACKAGE / f"{name}.py") for name in CORE) <= 2100


def test_the_package_is_at_most_19_400_lines() -> None:
    assert sum(lines(path) for path in PACKAGE.rglob("*.py")) <= 19_400


def test_importing_alembert_and_its_cli_loads_nothing_heavy() -> None:
    program = "import sys, alembert, alembert.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()
    assert done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the CPU time of one child")
@pytest.mark.clock
def test_help_takes_under_300_ms_of_cpu_time() -> None:
    command = [sys.executable, "-m", "alembert", "--help"]
    assert min(cpu_seconds(command) for _ in range(3)) < 0.3


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one child process, which has to succeed and to say something."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.stdout is not None
    said = child.stdout.read()
    child.stdout.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, textwrap.shorten(said, 2000)
    assert "Usage" in said
    return usage.ru_utime + usage.ru_stime
