"""What a distillation ends with: an export that keeps the metric, judged and timed as deployed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import saved, task_file
from support.tasks import KINDS
from transformers import BertTokenizerFast

from alembert.bench import interleaved
from alembert.data.splits import Files
from alembert.evaluation import predictions
from alembert.export import choose, deployed, export
from alembert.inference.manifest import read_manifest
from alembert.inference.session import Session
from alembert.models.loading import load_config, load_model, load_tokenizer
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.runs import run as running
from alembert.runs.job import Job
from alembert.runs.run import run

SCORED = ("regression", "multilabel")
SHORT = {"stages.task.steps": "4", "stages.task.batch_size": "8", "stages.task.max_length": "32"}


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "MOST", 8 * interleaved.FEWEST)


def distilled(out: Path, teacher: str, files: Files, **more: Any) -> tuple[Job, dict[str, Any]]:
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), SHORT)
    job = Job(recipe=recipe, out=out, teacher=teacher, files=files, **{"export": True} | more)
    return job, run(job)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """teacher/ and run/, a student of it that was exported."""
    home = tmp_path_factory.mktemp("deployed")
    saved(home / "teacher", tokenizer, "classification", num_hidden_layers=2)
    for seed, name in enumerate(("train.csv", "test.csv")):
        task_file(home / name, rows=90, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaved, "MOST", 8 * interleaved.FEWEST)
        distilled(home / "run", str(home / "teacher"), files_of(home))
    return home


def files_of(home: Path) -> Files:
    return Files(train=str(home / "train.csv"), evaluation=str(home / "test.csv"))


def test_a_student_is_exported_by_the_texts_that_are_held_out_and_judged_as_deployed(
    home: Path,
) -> None:
    facts = read_manifest(home / "run/student")
    assert [variant.backend for variant in facts.variants] == ["onnx", "int8"]
    fp32, int8 = (variant.measured for variant in facts.variants)
    floor = choose.KEEP * fp32["accuracy"]
    enough = [v for v in facts.variants if v.measured["accuracy"] >= floor]
    assert facts.chosen == min(enough, key=lambda v: v.measured["cpu_ms"]).backend
    assert int8.keys() == fp32.keys() == {"accuracy", "cpu_ms", "latency_ms"}
    metrics = json.loads((home / "run/metrics.json").read_text())
    assert metrics["deployed"]["backend"] == facts.chosen
    lines = (home / "test.csv").read_text().splitlines()[1:]
    texts, labels = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
    answers = Session(home / "run").predict(list(texts))
    right = [answer.label == label for answer, label in zip(answers, labels, strict=True)]
    assert metrics["deployed"]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert metrics["teacher_int8"].keys() == metrics["teacher"].keys()
    kept = predictions.load(home / "run")
    assert kept is not None
    assert (list(kept.logits), list(kept.more)) == (["teacher", "student"], ["deployed"])
    theirs = Session(home / "run").logits(kept.texts)
    np.testing.assert_allclose(kept.stacked("deployed"), theirs, atol=1e-2)


def test_teacher_and_student_are_timed_on_the_same_texts_in_every_engine(home: Path) -> None:
    content = json.loads((home / "run/bench.json").read_text())
    rows = {(row["model"], row["backend"]): row for row in content["rows"]}
    assert list(rows) == [
        (model, backend)
        for model in ("teacher", "student")
        for backend in ("torch", "onnx", "int8")
    ]
    assert {(row["threads"], row["batch"], row["length"]) for row in rows.values()} == {
        (1, 1, rows["teacher", "torch"]["length"])
    }
    assert [ratio["to"] for ratio in rows["student", "int8"]["ratios"]] == [
        "teacher:torch", "teacher:onnx", "teacher:int8"
    ]  # fmt: skip
    assert [ratio["to"] for ratio in rows["teacher", "onnx"]["ratios"]] == [
        "teacher:torch", "teacher:int8"
    ]  # fmt: skip
    for name in ("onnx", "int8"):
        size = read_manifest(home / "run/student").variant(name, home).size_mb
        assert rows["student", name]["size_mb"] == size
    assert content["hardware"]["cpu"]
    assert content["settings"]["texts"] == 90


def test_the_teacher_is_exported_once_for_all_its_students(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: list[str]
) -> None:
    moved, made = tmp_path / "moved", list[Path]()
    shutil.copytree(home / "teacher", moved)
    whole = export.onnx_export.export

    def counted(model: Any, kind: str, path: Path, *more: Any) -> None:
        made.append(path)
        whole(model, kind, path, *more)

    monkeypatch.setattr(export.onnx_export, "export", counted)
    loaded = load_model(str(moved), "classification"), load_tokenizer(str(moved))
    first = deployed.exported_teacher(str(home / "teacher"), loaded)
    second = deployed.exported_teacher(str(moved), loaded)
    assert first is not None
    assert second is not None
    assert first.folder == second.folder
    assert made == []
    assert not list(moved.glob("onnx"))
    int8 = first.folder / first.manifest.variant("int8", first.folder).file
    content = int8.read_bytes()
    int8.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = deployed.exported_teacher(str(moved), loaded)
    assert again is not None
    assert len(made) == 1
    assert int8.read_bytes() == content
    assert any(f"{int8}: is damaged: {moved} is exported again" in line for line in news)
    shutil.rmtree(first.folder)
    (first.folder / ".export.partial").mkdir(parents=True)  # left by a process that was killed
    assert deployed.exported_teacher(str(moved), loaded) is not None
    assert int8.read_bytes() == content


def test_a_run_without_its_export_goes_on_and_makes_it(
    home: Path, tmp_path: Path, news: list[str]
) -> None:
    out, teacher, files = tmp_path / "run", str(home / "teacher"), files_of(home)
    job, metrics = distilled(out, teacher, files, export=False)
    assert not {"deployed", "teacher_int8"} & metrics.keys()
    rows = json.loads((out / "bench.json").read_text())["rows"]
    assert [row["backend"] for row in rows] == ["torch", "torch"]
    assert not (out / "student/onnx").exists()
    assert run(job) == metrics
    assert news[-1] == f"{out}: finished before; nothing to do"
    weights = (out / "student/model.safetensors").read_bytes()
    _, exported = distilled(out, teacher, files)
    assert not any(line.startswith("stage 'task': begins") for line in news[-6:])
    assert exported["deployed"]["backend"] in ("onnx", "int8")
    for name in ("teacher", "student", "parameters", "retention"):
        assert exported[name] == metrics[name]
    assert (out / "student/model.safetensors").read_bytes() == weights
    again = distilled(out, teacher, files)[1]
    assert (again, news[-1]) == (exported, f"{out}: finished before; nothing to do")


@pytest.mark.slow
def test_a_run_that_is_killed_after_its_export_is_evaluated_with_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, teacher, files = tmp_path / "run", str(home / "teacher"), files_of(home)
    distilled(out, teacher, files, export=False)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running.evaluate, "evaluate_run", killed)
        with pytest.raises(KeyboardInterrupt):
            distilled(out, teacher, files)
    made = (out / "student/deploy.json").read_bytes()
    assert "deployed" in distilled(out, teacher, files)[1]
    assert (out / "student/deploy.json").read_bytes() == made


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_packages_a_line_says_how_to_install_them_and_the_run_ends_well(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: list[str]
) -> None:
    there = export.importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util, "find_spec", lambda asked: None if asked == name else there(asked)
    )
    shutil.copytree(home / "run", tmp_path / "run")
    for path in ("student/onnx", "student/deploy.json", "metrics.json"):
        gone = tmp_path / "run" / path
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    _, metrics = distilled(tmp_path / "run", str(home / "teacher"), files_of(home))
    said = f"no int8 export: {name} is not installed: pip install 'alembert[deploy]'"
    assert news.count(said) == 1
    assert "student" in metrics
    assert "deployed" not in metrics
    distilled(tmp_path / "run", str(home / "teacher"), files_of(home))
    assert news[-1] == f"{tmp_path / 'run'}: finished before; nothing to do"


def test_a_student_that_cannot_be_exported_is_there_all_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: list[str]
) -> None:
    monkeypatch.setattr(export.onnx_export, "MAX_BYTES", 8)
    _, metrics = distilled(tmp_path / "run", str(home / "teacher"), files_of(home))
    assert "no int8 export: the model is over 2 GB: one ONNX file cannot hold it" in news
    assert "student" in metrics
    assert "deployed" not in metrics


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("pairs", "tokens", *SCORED)]
)
def test_every_kind_of_task_is_deployed(
    kind: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    write, name, metric = KINDS[kind]
    data = write(tmp_path / name)
    files, body = Files(train=data, evaluation=data), saved(tmp_path / "body", tokenizer)
    tuning = with_settings(finetune(load_config(body)), SHORT)
    run(Job(recipe=tuning, out=tmp_path / "teacher", student=body, files=files, model_at="."))
    _, metrics = distilled(tmp_path / "run", str(tmp_path / "teacher"), files)
    assert metrics["deployed"].keys() == {"backend", *metrics["student"]}
    assert metric in metrics["teacher_int8"]
    rows = json.loads((tmp_path / "run/bench.json").read_text())["rows"]
    assert len(rows) == 6
    kept = predictions.load(tmp_path / "run")
    assert kept is not None
    shapes = [row.shape for row in kept.logits["student"]]
    assert [row.shape for row in kept.more["deployed"]] == shapes
