"""Every measurement of benchmarks/ runs, shrunk: tiny models, a few rows, two steps."""

import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alembert.cli import main as cli
from alembert.report import page
from benchmarks.cpu import deployed, one_command, shapes
from benchmarks.lab import results, tiny
from benchmarks.lab.tables import markdown
from benchmarks.lab.workers import ROOT, Used
from benchmarks.quality import before_after, pages, run
from benchmarks.quality.experiments import CORPUS, EXPERIMENTS, WIDTH, Arm

SHRUNK = {"stages.*.steps": "2", "stages.*.batch_size": "8", "stages.*.max_length": "32"}
LARGE = ("distilbert-grid", "mobilebert")  # of 18 and 20 arms
SIZES = {"student.intra_bottleneck_size": "8", "student.intermediate_size": "16"}


def modules() -> list[str]:
    paths = sorted((ROOT / "benchmarks").rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


@pytest.mark.parametrize("name", modules())
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(name.removesuffix(".__init__"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models, and files of every task beside each other."""
    home = tmp_path_factory.mktemp("benchmarks")
    tiny.lay_out(home, rows=24, judged=12, lines=20)
    for task in {task for experiment in EXPERIMENTS.values() for task in experiment.tasks}:
        (home / "data" / task).mkdir(parents=True)
        for name in ("train", "valid", "test"):
            text = (home / f"{name}.csv").read_text()
            if task == "snips":
                (home / "data" / task / f"{name}.conll").write_text("good B-x\nfilm O\n\n" * 9)
            (home / "data" / task / f"{name}.csv").write_text(text)
    return home


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str], Path], Used]:
    """A command of alembert in this process, and without the report of its run."""
    monkeypatch.setattr(page, "attempt", lambda *_: None)

    def do(command: Sequence[str], log: Path) -> Used:
        began = time.process_time()
        monkeypatch.setattr(sys, "argv", ["alembert", *command])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, command
        return Used(0.0, time.process_time() - began, 0.0)

    return do


def smaller(arm: Arm) -> Arm:
    """The arm for models of 2 layers and a width of 16, where each text is varied once."""
    widths = {None: None, WIDTH: 16}
    settings = {name: SIZES.get(name, value) for name, value in arm.settings.items()}
    if arm.mlm is not None:
        settings |= {"augment": "{copies: 1}"}
    return replace(
        arm, layers=1 if arm.layers else None, hidden_size=widths.get(arm.hidden_size, 8),
        settings=settings, share=0.5 if arm.share < 1 else 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in EXPERIMENTS],
)
def test_every_arm_of_an_experiment_is_made_and_gets_a_row(
    name: str, home: Path, tmp_path: Path, here: Callable[[Sequence[str], Path], Used],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(run, "CORPUS", {of: smaller(arm) for of, arm in CORPUS.items()})
    experiment, task = EXPERIMENTS[name], EXPERIMENTS[name].tasks[0]
    place = run.Place(
        experiment, home / "data", tmp_path, str(home / "corpus.txt"), str(home / "words"),
        settings=SHRUNK, do=here,
    )  # fmt: skip
    run.run(place, [smaller(arm) for arm in experiment.arms], [task], [0])
    rows = {row["recipe"]: row for row in results.load(tmp_path / "results.json")}
    assert {arm.name for arm in experiment.arms} <= rows.keys()
    assert all(set(rows[arm.name]["steps"]) == {2} for arm in experiment.arms)
    assert "nan" not in pages.written(tmp_path, tmp_path / "pages")


def lines_that_lack(page: str, *tables: str) -> list[str]:
    text = (ROOT / "results" / page / "README.md").read_text()
    return [line for table in tables for line in table.splitlines() if line not in text]


def kept(name: str) -> Any:
    return json.loads((ROOT / "results" / name).read_text())


def test_tables_of_results_are_those_that_the_benchmarks_make_of_them(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shown = pages.written(tmp_path, tmp_path / "results")
    assert shown in (ROOT / "README.md").read_text()
    for name in ("distilbert", "tinybert", "mobilebert"):
        for file in ("results.json", "README.md"):
            at = Path("results", name, file)
            assert (tmp_path / at).read_text() == (ROOT / at).read_text()
    before, after = kept("length/before.json"), kept("length/after.json")
    length = markdown(before_after.compared(before, after), before_after.COLUMNS)
    assert not lines_that_lack("length", length)
    students = markdown(deployed.lines(kept("deployed/results.json")), deployed.COLUMNS)
    assert not lines_that_lack("deployed", students)
    assert not lines_that_lack("cpu", shapes.table(kept("cpu/bench.json")["rows"], 1))
    served = markdown(kept("one-command/results.json"), one_command.COLUMNS)
    assert not lines_that_lack("one-command", served)
