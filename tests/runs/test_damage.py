"""A flipped byte in any file of a run is named, and what the run can make again it makes again."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.runs import saved, shrunk, task_file
from transformers import BertTokenizerFast

from alembert.api.model import load
from alembert.data.splits import Files
from alembert.evaluation import predictions
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.runs.evaluate import judge
from alembert.runs.job import Job
from alembert.runs.record import RunRecord
from alembert.runs.run import run
from alembert.training import loop

LOCK = ".lock"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    home = tmp_path_factory.mktemp("damage")
    saved(home / "teacher", tokenizer, "classification")
    saved(home / "mlm", tokenizer)
    for seed, name in enumerate(("train.csv", "test.csv")):
        task_file(home / name, seed=seed, rows=30)
    job = a_job(home, home / "finished")
    run(job)
    calls = 0

    def stopped(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return step(*given)  # type: ignore[arg-type]

    step = loop._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_step", stopped)
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        patch.setattr(loop, "LOG_EVERY", 1)
        with pytest.raises(KeyboardInterrupt):
            run(a_job(home, home / "interrupted"))
    return home


def a_job(home: Path, out: Path) -> Job:
    teacher = str(home / "teacher")
    recipe = shrunk(recipe_of("tinybert", load_config(teacher), layers=2))
    recipe = with_settings(recipe, {"stages.prediction.steps": "8"})
    files = Files(train=str(home / "train.csv"), evaluation=str(home / "test.csv"))
    return Job(recipe=recipe, out=out, teacher=teacher, files=files, mlm=str(home / "mlm"))


def files_of(run_folder: Path) -> list[str]:
    every = (path for path in run_folder.rglob("*") if path.is_file() and path.name != LOCK)
    return sorted(str(path.relative_to(run_folder)) for path in every)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_model(name: str) -> bool:
    return name.startswith("student/") or "/model/" in name


def damaged(home: Path, which: str, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of a run for each of its files, of which a byte is flipped."""
    for number, name in enumerate(files_of(home / which)):
        out = tmp_path / str(number)
        shutil.copytree(home / which, out)
        flipped(out / name)
        yield out, name
        shutil.rmtree(out)


def resumed(home: Path, out: Path, news: list[str]) -> list[str]:
    """Run the same command again; return what it says, a refusal last."""
    news.clear()
    try:
        run(a_job(home, out))
    except UserError as error:
        news.append(f"refused: {error}")
    return news


@pytest.mark.parametrize("which", ["finished", pytest.param("interrupted", marks=pytest.mark.slow)])
def test_the_same_command_names_it_and_ends_in_the_same_models(
    which: str, home: Path, tmp_path: Path, news: list[str]
) -> None:
    names = files_of(home / which)
    assert "recipe.yaml" in names
    ends = "stages/02-prediction/checkpoint/state.safetensors"
    assert (ends in names) == (which == "interrupted")  # a finished run has removed it
    assert ("student/model.safetensors" in names) == (which == "finished")
    for out, name in damaged(home, which, tmp_path):
        lines = resumed(home, out, news)
        assert any(str(out / name) in line and "damaged" in line for line in lines), name
        refused = lines[-1].startswith("refused")
        assert refused == (name in ("recipe.yaml", "environment.json")), lines[-1]
        if not refused:
            for made in filter(of_model, files_of(home / "finished")):
                if made != name or not name.endswith("checksums.json"):
                    whole = (home / "finished" / made).read_bytes()
                    assert (out / made).read_bytes() == whole, f"{name}: {made}"
            if not name.endswith(("checksums.json", "log.jsonl")):
                assert not any("damaged" in line for line in resumed(home, out, news)), name


def test_who_reads_a_finished_run_refuses_it_by_name(home: Path, tmp_path: Path) -> None:
    read = 0
    for out, name in damaged(home, "finished", tmp_path):
        if "/checkpoint/" in name or "/model/" in name or name.startswith("augmented"):
            continue  # what only the run itself reads
        with pytest.raises(UserError, match=r"is damaged") as refused:
            report_of(out)
        assert str(out / name) in str(refused.value), name
        read += 1
    assert read > 12
    report_of(home / "finished")


def report_of(out: Path) -> None:
    record = RunRecord(out)
    assert record.stages
    assert predictions.load(out) is not None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_who_takes_a_damaged_student_is_refused_by_its_file(
    name: str, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "finished", tmp_path / "run")
    flipped(tmp_path / "run" / "student" / name)
    said = rf"run/student/{name}: is damaged: .*: run the same command again"
    asked: list[Callable[[], object]] = [
        lambda: load(tmp_path / "run").predict(["good"]),
        lambda: load(tmp_path / "run").export("int8"),
        lambda: judge(str(tmp_path / "run"), Files(train=str(home / "test.csv")), 32),
    ]
    for ask in asked:
        with pytest.raises(UserError, match=said):
            ask()


def test_without_a_copy_or_a_checkpoint_the_stage_is_trained_again(
    home: Path, tmp_path: Path, news: list[str]
) -> None:
    out, name = tmp_path / "run", "model.safetensors"
    shutil.copytree(home / "finished", out)
    stage = out / "stages/02-prediction"
    assert not (stage / "checkpoint").exists()
    for path in (stage / "model" / name, out / "student" / name):
        flipped(path)
    lines = resumed(home, out, news)
    assert f"{stage / 'model' / name}: is damaged: stage 02-prediction is trained again" in lines
    for path in (stage / "model" / name, out / "student" / name):
        assert path.read_bytes() == (home / "finished/student" / name).read_bytes()


def test_what_is_added_to_a_model_or_removed_is_not_damage(
    home: Path, tmp_path: Path, news: list[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(home / "finished", out)
    (out / "student" / "README.md").write_text("a card")
    (out / "student" / "onnx").mkdir()
    (out / "bench.json").unlink()
    assert resumed(home, out, news)[-1] == f"{out}: finished before; nothing to do"
    assert not any("damaged" in line for line in news)
    report_of(out)


def test_a_file_that_its_owner_changed_counts_without_the_checksums(
    home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "finished/student", tmp_path / "student")
    config = tmp_path / "student/config.json"
    config.write_text(config.read_text().replace('"up"', '"fine"'))
    with pytest.raises(UserError, match=r"is taken as it is without the checksums.json beside it"):
        load_config(str(tmp_path / "student"))
    (tmp_path / "student/checksums.json").unlink()
    assert "fine" in load_config(str(tmp_path / "student")).label2id
