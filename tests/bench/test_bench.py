"""Benchmarks: what rows hold, when a difference is called one, and mistakes that get a line."""

import json
import multiprocessing
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from support.command_line import command
from support.runs import saved, task_file
from transformers import BertTokenizerFast

from alembert.bench import rows, show, side_by_side, worker
from alembert.bench.rows import weights_mb
from alembert.export.export import export
from alembert.io.errors import UserError


def times(center: float, spread: float, count: int = 40, seed: int = 0) -> np.ndarray:
    return center * np.random.default_rng(seed).normal(1, spread, count)


def test_a_ratio_is_the_median_of_the_rounds_and_its_interval_holds_it() -> None:
    mine, theirs = np.array([1.0, 2.0, 4.0]), np.array([3.0, 4.0, 40.0])  # ratios 3, 2, 10
    found = rows.ratio("a:torch", "cpu", mine, theirs)
    assert (found.to, found.of, found.value) == ("a:torch", "cpu", 3)
    assert (found.low * 1.02, found.high / 1.02) == pytest.approx((2, 10))
    assert not found.same


def test_a_slow_hour_hits_both_sides_and_changes_no_ratio() -> None:
    drift = np.linspace(1, 3, 40)
    found = rows.ratio("", "cpu", drift * times(1, 0.01), drift * times(2, 0.01, seed=1))
    assert found.value == pytest.approx(2, rel=0.01)
    assert found.high - found.low < 0.12


def test_a_difference_inside_the_noise_is_not_called_one() -> None:
    few, many = ((times(1, 0.1, count), times(1.05, 0.1, count, seed=1)) for count in (7, 10_000))
    assert rows.ratio("", "wall", *few).same
    assert not rows.ratio("", "wall", *many).same


def test_what_two_processes_of_one_model_may_differ_by_is_no_difference() -> None:
    assert rows.ratio("", "cpu", times(1, 0), times(1.01, 0)).same
    assert not rows.ratio("", "cpu", times(1, 0), times(1.1, 0)).same
    assert not rows.ratio("", "cpu", times(1.1, 0), times(1, 0)).same


def test_a_row_says_times_of_a_batch_and_how_many_texts_a_second() -> None:
    two = [
        rows.Round(
            wall=[0.010, 0.030],
            cpu=[0.012, 0.032],
            tokenize=[0.001, 0.002],
            texts=8,
            tokens=80,
            peak_rss_mb=50.0,
        ),
        rows.Round(
            wall=[0.020, 0.020],
            cpu=[0.022, 0.022],
            tokenize=[0.003, 0.004],
            texts=8,
            tokens=120,
            peak_rss_mb=60.0,
        ),
    ]
    found = rows.row(
        rows.Subject(model="a", backend="onnx", threads=2, size_mb=1.5, parameters=7),
        4,
        two,
        [("b:torch", two)],
    )
    assert found.latency_ms == pytest.approx({"median": 20, "min": 10})
    assert found.cpu_ms == pytest.approx({"median": 22, "min": 12})
    assert found.tokenize_ms == pytest.approx({"median": 2.5, "min": 1})
    assert found.throughput == pytest.approx(200)  # 8 texts in 0.04 s
    assert found.tokens_per_second == pytest.approx(2500)  # between 2,000 and 3,000
    assert (found.length, found.peak_rss_mb, found.rounds) == (12, 60, 2)  # between 10 and 15
    assert found.ratios[0].same
    assert found.ratios[0].of == "wall"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    home = tmp_path_factory.mktemp("bench")
    saved(home / "teacher", tokenizer, "classification")
    saved(home / "run" / "student", tokenizer, "classification", kind="distilbert")
    saved(home / "words", tokenizer)
    export(str(home / "run"), ["onnx", "int8"], None, 32)
    export(str(home / "words"), ["onnx"], None, 32)
    task_file(home / "texts.csv")
    return home


@pytest.fixture
def here(house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(house)
    monkeypatch.setattr("alembert.io.hub.reachable", lambda: False)
    return house


def measured(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    return command(f"bench {line}", monkeypatch)


@pytest.mark.clock
@pytest.mark.slow
def test_models_and_backends_side_by_side(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    at = tmp_path / "bench.json"
    line = f"teacher run --threads 1 --length 16 --batch 2 --seconds 0.1 --json {at}"
    assert measured(f"{line} --chart {tmp_path / 'bench.svg'}", monkeypatch) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"{at}: made, {tmp_path / 'bench.svg'}: made\n")
    content = json.loads(at.read_text())
    found = {(row["model"], row["backend"]): row for row in content["rows"]}
    assert list(found) == [
        ("teacher", "torch"), ("run", "torch"), ("run", "onnx"), ("run", "int8")
    ]  # fmt: skip
    for (_, backend), row in found.items():
        assert (row["threads"], row["batch"], row["length"]) == (1, 2, 16)
        assert 0 < row["latency_ms"]["min"] <= row["latency_ms"]["median"]
        assert 0 < row["cpu_ms"]["min"] <= row["cpu_ms"]["median"]
        assert row["tokens_per_second"] == pytest.approx(16 * row["throughput"])
        assert row["peak_rss_mb"] > (300 if backend == "torch" else 30)
        assert row["tokenize_ms"] is None
    # without torch in its process, a backend needs far less
    assert found["run", "int8"]["peak_rss_mb"] < 200 < found["run", "torch"]["peak_rss_mb"]
    for backend, file in (("onnx", "onnx/model.onnx"), ("torch", "model.safetensors")):
        size = (here / "run" / "student" / file).stat().st_size
        assert found["run", backend]["size_mb"] == pytest.approx(size / 1e6)
    assert found["run", "onnx"]["parameters"] == found["run", "torch"]["parameters"]
    assert found["teacher", "torch"]["ratios"] == []
    (ratio,) = found["run", "onnx"]["ratios"]
    assert (ratio["to"], ratio["of"]) == ("teacher:torch", "cpu")
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert ratio["value"] > 1
    assert content["versions"].keys() >= {"python", "torch", "onnxruntime", "alembert"}
    assert (tmp_path / "bench.svg").read_text().startswith("<?xml")
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_real_texts_are_timed_with_their_tokenisation_and_compared_with_any_row(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = tmp_path / "bench.json"
    line = f"run --backends torch,onnx,int8 --threads 1 --data texts.csv --seconds 0.1 --json {at}"
    assert measured(f"{line} --length 32 --baseline run:int8", monkeypatch) == 0
    found = {row["backend"]: row for row in json.loads(at.read_text())["rows"]}
    for row in found.values():
        assert 3 < row["length"] < 12  # of 3 to 10 words, and two marks
        assert 0 < row["tokenize_ms"]["median"] < row["latency_ms"]["median"]
    assert [ratio["to"] for ratio in found["onnx"]["ratios"]] == ["run:int8"]
    assert found["int8"]["ratios"] == []


@pytest.mark.slow
def test_masked_words_are_guessed_at_one_place_a_text(
    here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = f"words --threads 1 --length 8 --seconds 0.1 --json {tmp_path / 'bench.json'}"
    assert measured(line, monkeypatch) == 0
    found = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [len(row["ratios"]) for row in found] == [1, 1]  # each with the other


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("teacher --backends onnx", r"teacher: not exported for onnx: 'alembert export teacher' "),
        (
            "run --backends openvino-int8",
            r"run: not exported for openvino-int8: 'alembert export run --openvino' does it",
        ),
        ("run --backends cuda", r"--backends cuda: choose among torch, onnx, int8, "),
        ("run --batch 0", r"--batch 0: must be over 0"),
        ("run --seconds nan", r"--seconds nan: must be over 0"),
        ("run --seconds inf", r"--seconds inf: must be over 0 and finite"),
        ("run --threads 0", r"--threads 0: must be over 0"),
        ("run --threads one", r"--threads one: give numbers, such as 1,2"),
        (
            "run --backends torch --length 65",
            r"--length 65 is more than the 64 tokens that run takes",
        ),
        (
            "run --backends int8 --length 65",
            r"--length 65 is more than the 64 tokens that run takes",
        ),
        ("run --baseline run:tpu", r"--baseline run:tpu: no such row; there are run:torch, run:o"),
        ("run --chart bars.txt", r"--chart bars\.txt: name a file that ends in \.svg or \.png"),
        ("run --data none.csv", r"none\.csv: no such file"),
        ("run --data blank.csv --text text", r"blank\.csv: no row with a text: nothing to time"),
        ("nothing", r"nothing: no such folder, and the hub cannot be reached"),
    ],
)
@pytest.mark.slow
def test_a_mistake_gets_one_line(
    line: str,
    says: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / "blank.csv").write_text("text,label\n  ,a\n,b\n")
    threads = "" if "--threads" in line else " --threads 1"
    assert measured(line + threads, monkeypatch) == 2
    (said,) = (x for x in capsys.readouterr().err.splitlines() if not x.startswith("loading"))
    assert re.match(f"alembert: {says}", said), said
    assert multiprocessing.active_children() == []


def test_a_folder_that_is_there_is_not_taken_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("kept")
    with pytest.raises(UserError, match="mine: is a folder: name a file in it"):
        show.write([], {}, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "precious.txt").read_text() == "kept"


def test_weights_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(3000))
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(3000))
    assert weights_mb(tmp_path) == 0.003


def test_a_worker_that_dies_is_named_and_none_is_left(house: Path) -> None:
    folder = str(house / "run" / "student")
    specs = [
        worker.Spec(model="run", folder=folder, backend="onnx", threads=count, batch=1, length=8)
        for count in (1, 2)
    ]
    with side_by_side._start(specs) as workers:
        for each in workers:
            each.receive()
        os.kill(workers[1].process.pid or 0, signal.SIGKILL)
        workers[1].process.join()
        workers[0].time_round(0)
        died = r"^run in onnx, threads 2: stopped: ended with code -9 .*memory"
        with pytest.raises(UserError, match=died):
            workers[1].time_round(0)
    assert multiprocessing.active_children() == []


def test_a_broken_file_is_named_by_the_worker_that_reads_it(
    house: Path, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    (tmp_path / "onnx").mkdir()
    for name in ("deploy.json", "config.json", "onnx/model.onnx"):
        (tmp_path / name).write_bytes((house / "run" / "student" / name).read_bytes()[:3000])
    spec = worker.Spec(
        model="run", folder=str(tmp_path), backend="onnx", threads=1, batch=1, length=8
    )
    with (
        side_by_side._start([spec]) as (only,),
        pytest.raises(UserError, match=r"onnx/model\.onnx: cannot be read .*: export the"),
    ):
        only.receive()


def test_what_does_not_fit_into_memory_together_is_timed_in_parts_with_its_references(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(house / "run" / "student")
    specs = [
        worker.Spec(model=name, folder=folder, backend="onnx", threads=1, batch=1, length=8)
        for name in "abcd"
    ]
    monkeypatch.setattr(side_by_side, "_free_mb", lambda: 625.0)  # of it 500, and 200 a worker
    parts = side_by_side._groups(specs, ["a:onnx"])
    assert [[each.model for each in part] for part in parts] == [["a", "b"], ["a", "c"], ["a", "d"]]
