"""The house's rules that a program can check: rooms on floors, what a room opens, sizes, names.

A room is a folder of src/alembert. It imports from lower floors only, never from a room of its own
floor, and of another room only what that room's docstring opens ("For other rooms: ..."). Inside a
room there are no circles. There is no list of exceptions.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "alembert"
FLOORS = (
    {"io"},
    {"models", "data", "inference", "client"},
    {"objectives", "initialization", "evaluation", "serving"},
    {"recipes", "bench"},
    {"training", "augmentation", "export"},
    {"runs"},
    {"report", "search"},
    {"api"},
    {"cli"},
)  # lowest first
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = ("inference", "serving", "client")  # and what they must not import
HEAVY = {"torch", "transformers", "datasets", "onnxruntime"}
NAMELESS = {"util", "utils", "common", "misc", "helper", "helpers", "base", "manager"}
MOST_FILES, MOST_LINES = 12, 350


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below the package -> file; of a room its own name, of the root ""."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(
    path: Path, known: dict[str, Path], name: str = "alembert"
) -> Iterator[tuple[str, str]]:
    """(module of the package, name taken from it or "") for every import of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by dots; name the whole path"
            wanted = [(f"{node.module}.{alias.name}", alias.name) for alias in node.names]
        else:
            continue
        for full, taken in wanted:
            if full.split(".")[0] != name:
                continue
            parts = full.split(".")[1:]
            rest: list[str] = []
            while ".".join(parts) not in known:
                rest.insert(0, parts.pop())
            yield ".".join(parts), ".".join(rest) and taken


def opened(init: Path) -> set[str]:
    """What a room's docstring opens to other rooms."""
    told = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    found = re.search(r"For other rooms:(.*?)(\.|\Z)", told, re.S)
    return set(re.findall(r"\w+", found[1])) if found else set()


def complaints(package: Path) -> list[str]:
    """Every breach of the rules about imports, a line each."""
    known, found = modules(package), []
    inside: dict[str, dict[str, set[str]]] = {}
    for name, path in sorted(known.items()):
        room = name.split(".")[0]
        if path.parent != package and room not in FLOOR:
            found.append(f"{room}: is a room without a floor")
            continue
        for module, taken in imports(path, known):
            there = module.split(".")[0]
            if path.parent == package or not there:
                continue  # the root's two files may import anything, lazily
            if there == room:
                inside.setdefault(room, {}).setdefault(name, set()).add(module)
            elif FLOOR.get(there, -1) >= FLOOR[room]:
                found.append(f"{name} imports {module}: floor {FLOOR[room]} knows lower ones only")
            elif not {module.removeprefix(there).strip(".").split(".")[0] or taken} <= opened(
                package / there / "__init__.py"
            ):
                found.append(f"{name} imports {module} {taken}: {there} does not open it")
    for room, graph in inside.items():
        try:
            TopologicalSorter({k: v - {k, room} for k, v in graph.items()}).prepare()
        except CycleError as error:
            found.append(f"circle in {room}: {' -> '.join(error.args[1])}")
    return found


def test_rooms_import_lower_floors_only_and_what_is_opened_to_them() -> None:
    assert complaints(PACKAGE) == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"io/a": "from alembert.models import b", "models/b": ""}, "io.a imports models.b: floor"),
        ({"data/a": "from alembert.models import b", "models/b": ""}, "data.a imports models.b: "),
        ({"data/a": "def f():\n    import alembert.cli.b", "cli/b": ""}, "data.a imports cli.b: "),
        (
            {"data/a": "if TYPE_CHECKING:\n    from alembert.cli.b import c", "cli/b": ""},
            "data.a imports cli.b: ",
        ),
        ({"data/a": "from alembert.io.c import d", "io/c": ""}, "data.a imports io.c d: io does"),
        (
            {"data/a": "from alembert.data import b", "data/b": "from alembert.data.a import x"},
            "circle in data: ",
        ),
        ({"attic/a": ""}, "attic: is a room without a floor"),
    ],
)
def test_a_breach_is_named(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    write(tmp_path, files)
    found = complaints(tmp_path)
    assert len(set(found)) == 1
    assert found[0].startswith(complaint)


def test_what_is_allowed_gives_no_complaint(tmp_path: Path) -> None:
    write(tmp_path, {
        "io/errors": "", "data/a": "from alembert.io.errors import UserError\nimport torch",
        "data/b": "from alembert.data.a import x", "cli/c": "from alembert.data import a",
    })  # fmt: skip
    opens = '"""A room.\n\nFor other rooms: errors, a.\n"""\n'
    for room in ("io", "data"):
        (tmp_path / room / "__init__.py").write_text(opens, encoding="utf-8")
    assert complaints(tmp_path) == []


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in {"__init__": "", **files}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        (path.parent / "__init__.py").touch()


def rooms() -> list[Path]:
    return sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_nothing_lies_loose_in_the_root() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.name)
def test_a_room_has_at_most_twelve_files_and_says_what_it_is_for(room: Path) -> None:
    assert len([path for path in room.glob("*.py") if path.name != "__init__.py"]) <= MOST_FILES
    told = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert len(told.splitlines()) >= 4
    files = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert files - set(re.findall(r"\w+", told)) == set()  # each file has its place in the text


def test_no_file_is_over_350_lines() -> None:
    long = {path.name: lines(path) for path in PACKAGE.rglob("*.py") if lines(path) > MOST_LINES}
    assert long == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if path.stem in NAMELESS] == []


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_what_answers_needs_no_torch(room: str) -> None:
    """Every module of these rooms is imported in a process where torch cannot be."""
    names = [f"alembert.{name}" for name in modules(PACKAGE) if name.split(".")[0] == room]
    program = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in BLOCKED)
    program += "".join(f"import {name}\n" for name in names if not name.endswith(".ray"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


BLOCKED = ("torch", "transformers", "datasets", "alembert.models", "alembert.data")


def test_importing_alembert_and_its_cli_loads_nothing_heavy() -> None:
    program = "import sys, alembert, alembert.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()
    assert done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the CPU time of one child")
def test_help_takes_under_300_ms_of_cpu_time() -> None:
    command = [sys.executable, "-m", "alembert", "--help"]
    assert min(cpu_seconds(command) for _ in range(3)) < 0.3


def cpu_seconds(command: list[str]) -> float:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime
