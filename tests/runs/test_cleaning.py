"""A finished run loses what only resuming needs, and stays finished, repairable and the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.runs import saved, shrunk, task_file
from transformers import BertTokenizerFast

from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.runs.folder.cleaning import clean
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.training import loop


def distilling(home: Path, out: Path) -> Job:
    teacher = str(home / "teacher")
    recipe = shrunk(recipe_of("tinybert", load_config(teacher), layers=2)).model_copy(
        update={"augment": None}
    )
    files = Files(train=str(home / "train.csv"), evaluation=str(home / "test.csv"))
    return Job(recipe=recipe, out=out, teacher=teacher, files=files, baselines=False)


def tuning(home: Path, out: Path) -> Job:
    start = str(home / "teacher")
    files = Files(train=str(home / "train.csv"), evaluation=str(home / "test.csv"))
    recipe = shrunk(finetune(load_config(start)))
    return Job(
        recipe=recipe, out=out, student=start, files=files, model_at=".", baselines=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    home = tmp_path_factory.mktemp("cleaning")
    saved(home / "teacher", tokenizer, "classification")
    for seed, name in enumerate(("train.csv", "test.csv")):
        task_file(home / name, seed=seed, rows=30)
    for name, job in JOBS.items():
        run(job(home, home / name))
    return home


JOBS: dict[str, Callable[[Path, Path], Job]] = {"distilled": distilling, "tuned": tuning}


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run that a person keeps, by their names."""
    every = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    names = {str(path.relative_to(folder)): path.read_bytes() for path in every}
    apart = ("/checkpoint/", "/model/", "facts.json", "vocabulary/")
    kept = {name: data for name, data in names.items() if not any(a in name for a in apart)}
    return {name: data for name, data in kept.items() if not name.endswith("/checksums.json")}


def test_a_run_ends_without_its_checkpoints_and_says_so(
    home: Path, tmp_path: Path, news: list[str]
) -> None:
    run(distilling(home, tmp_path / "run"))
    (line,) = [line for line in news if "checkpoints of" in line]
    assert f"alembert clean {tmp_path / 'run'} removes models of stages, too" in line
    assert not list((tmp_path / "run").rglob("checkpoint"))
    assert len(list((tmp_path / "run").glob("stages/*/model/model.safetensors"))) == 2


@pytest.mark.parametrize("name", JOBS)
def test_a_cleaned_run_is_finished_and_keeps_its_results(
    name: str, home: Path, tmp_path: Path, news: list[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(home / name, out)
    models = sum(path.stat().st_size for path in out.glob("stages/*/model/**/*") if path.is_file())
    cleaned = clean(tmp_path)  # finds the runs in a folder
    assert (cleaned.runs, cleaned.size) == (1, models)
    assert models > 0
    assert not list(out.glob("stages/*/model"))
    assert content(out) == content(home / name)
    run(JOBS[name](home, out))
    assert news[-1] == f"{out}: finished before; nothing to do"
    assert clean(out).size == 0


@pytest.mark.parametrize("name", JOBS)
def test_a_cleaned_run_is_evaluated_again_without_training(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(home / name, out)
    clean(out)
    (out / "metrics.json").unlink()

    def refuse(*_: object) -> None:
        raise AssertionError("trains")

    monkeypatch.setattr(loop, "_step", refuse)
    run(JOBS[name](home, out))
    assert (out / "metrics.json").read_bytes() == (home / name / "metrics.json").read_bytes()


def test_a_damaged_result_of_a_cleaned_run_is_made_again(
    home: Path, tmp_path: Path, news: list[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(home / "distilled", out)
    clean(out)
    weights = out / "student" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    run(distilling(home, out))
    assert f"{weights}: is damaged: the result is made again" in news
    assert weights.read_bytes() == (home / "distilled/student/model.safetensors").read_bytes()


def test_an_unfinished_run_keeps_what_it_needs(home: Path, tmp_path: Path, news: list[str]) -> None:
    out = tmp_path / "run"
    shutil.copytree(home / "distilled", out)
    (out / "metrics.json").unlink()
    before = sorted(out.rglob("*"))
    assert clean(out).runs == 0
    assert f"{out}: is not finished, so all that it needs to go on stays" in news
    assert [path for path in sorted(out.rglob("*")) if path.name != ".lock"] == [
        path for path in before if path.name != ".lock"
    ]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run; check the path"):
        clean(tmp_path)
