"""Every measurement of benchmarks/ runs, shrunk: tiny models, a few rows, two steps."""

import asyncio
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from accelerate.state import AcceleratorState
from support.questions import learnable
from transformers import BertConfig

from alembert.cli import main as cli
from alembert.report import page
from benchmarks.cpu import deployed, one_command, search, shapes, whole_files
from benchmarks.lab import results, seeds, tiny, workers
from benchmarks.lab.tables import markdown
from benchmarks.lab.workers import ROOT, Used, free_port
from benchmarks.quality import before_after, candidates, pages, run, shares, static, trimmed
from benchmarks.quality.experiments import CORPUS, EXPERIMENTS, WIDTH, Arm
from benchmarks.robustness import attacks, corpus, faults, fuzz, hosts, several, wire
from benchmarks.serving import hostile, killed, load, overload
from benchmarks.speed import plain, schedules, sizes, stages, step
from benchmarks.speed import static as static_speed

SHRUNK = {"stages.*.steps": "2", "stages.*.batch_size": "8", "stages.*.max_length": "32"}
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
    tiny.lay_out(home, rows=24, judged=12, lines=20, tokens=128)
    for task in {task for experiment in EXPERIMENTS.values() for task in experiment.tasks}:
        (home / "data" / task).mkdir(parents=True)
        for name in ("train", "valid", "test"):
            text = (home / f"{name}.csv").read_text()
            if task == "snips":
                (home / "data" / task / f"{name}.conll").write_text("good B-x\nfilm O\n\n" * 9)
            (home / "data" / task / f"{name}.csv").write_text(text)
            learnable(home / "data" / task / f"{name}.json")
    return home


Do = Callable[[Sequence[str], Path], Used]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Do:
    return commands(monkeypatch)


def commands(monkeypatch: pytest.MonkeyPatch) -> Do:
    """Commands of alembert in this process, and without the report of a run."""
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


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_arm_of_an_experiment_is_made_and_gets_a_row(
    name: str, home: Path, tmp_path: Path, here: Do,
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


def called(module: ModuleType, *words: str) -> None:
    """A measurement's main, given these words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__name__, *words])
        module.main()


def ended(module: ModuleType, *words: str) -> None:
    """A measurement that ends with the number of what it found, which is nothing."""
    with pytest.raises(SystemExit) as end:
        called(module, *words)
    assert not end.value.code


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
    assert not lines_that_lack("several", several.table(kept("several/results.json")))
    vocabularies = markdown(kept("trim/results.json"), trimmed.COLUMNS)
    assert not lines_that_lack("trim", vocabularies)
    served = markdown(kept("one-command/results.json"), one_command.COLUMNS)
    assert not lines_that_lack("one-command", served)


def test_a_worker_makes_steps_in_turns_and_tells_what_they_took() -> None:
    code = "from benchmarks.lab.workers import answer_steps; answer_steps(lambda: {'loss': 3.0})"
    seen = workers.in_turns({name: workers.Worker(["-c", code]) for name in "ab"}, 2)
    assert [len(rows) for rows in seen.values()] == [3, 3]
    last = seen["a"][-1]
    assert last["loss"] == 3.0
    assert last["peak_gib"] > 0.001
    assert 0 <= last["cpu_seconds"] < 1


def test_a_command_is_measured_to_its_end(tmp_path: Path) -> None:
    code = "kept = b'x' * 2**28; import time; time.sleep(0.3); print('said')"
    used = workers.measured(["-c", code], tmp_path / "log")
    assert used.seconds >= 0.3
    assert 0.25 <= used.peak_gib < 1
    assert (tmp_path / "log").read_text() == "said\n"
    with pytest.raises(subprocess.CalledProcessError):
        workers.measured(["-c", "raise SystemExit(3)"])


def test_results_are_merged_by_their_key_and_lose_the_paths_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.add(path, [{"task": "a", "at": "/home/x/run"}, {"task": "b", "at": 1}], ["task"])
    rows = results.add(path, [{"task": "a", "at": "/home/x/new"}], ["task"], ["/home/x"])
    assert [row["task"] for row in rows] == ["a", "b"]
    assert results.load(path) == [{"task": "a", "at": "new"}, {"task": "b", "at": 1}]


def test_seeds_have_a_mean_and_its_interval() -> None:
    assert seeds.interval([0.5]) == "0.5000"
    assert seeds.interval([1.0, 2.0, 3.0]) == "2.0000 ± 2.4841"  # 4.3027 / sqrt(3)
    assert seeds.deviation([1.0, 2.0, 3.0]) == "2.000 ± 1.000"


TEACHER = {"hidden_size": 48, "intermediate_size": 96}


@pytest.mark.parametrize("recipe", [*plain.ANSWERING, "distilbert", "tinybert", "minilm",
                                    "mobilebert-1", "mobilebert-12"])  # fmt: skip
def test_a_step_and_the_straightforward_one_have_the_same_loss(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "TEACHER", TEACHER)
    for name, layers in {"tinybert": 4, "minilm": 6, "mobilebert": 12}.items():
        monkeypatch.setitem(step.SIZES, name, {"layers": layers, "hidden_size": 24})
    names = ("plain fp32", "alembert fp32")
    losses = [step.Step(recipe, name, 0.0)(step.batch_of(recipe, 2, 8)) for name in names]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    if recipe not in plain.ANSWERING:
        cached = step.Step(recipe, "cached fp32", 0.0)
        batch = step.left_by_teacher(cached.pair, step.batch_of(recipe, 2, 8))
        assert cached(batch) == pytest.approx(losses[0], rel=0.05)  # states are kept in bf16


def test_a_step_of_every_stage_and_size_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state()  # another test of this process may have left its precision
    config = BertConfig(**TEACHER, num_hidden_layers=2, num_attention_heads=4)
    monkeypatch.setitem(stages.TEACHERS, "minilm", lambda: config)
    for name in stages.stages_of(config):
        assert stages.step_of("minilm", name, "2x8")()["loss"] > 0
    monkeypatch.setattr(sizes, "TOKENS", 16)
    for recipe in ("distilbert", "tinybert"):
        sizes.step_of(recipe, {"length": 8, "vocabulary": 2000, "layers": 2})()


def test_a_share_of_labels_leaves_the_texts_of_all_others(home: Path, tmp_path: Path) -> None:
    whole = str(home / "data/sst2/train.csv")
    part = shares.divided(whole, "test.csv", 0.25, 1, tmp_path)
    rows, others = (pd.read_csv(file) for file in (part.train, part.unlabelled))
    assert len(rows) >= 6
    assert list(others.columns) == ["text"]
    every = sorted([*rows["text"], *others["text"]])
    assert every == sorted(pd.read_csv(whole)["text"])
    few = pd.read_csv(shares.divided(whole, "test.csv", 0.01, 1, tmp_path).train)
    assert set(few["label"].value_counts()) == {2}  # of each class two, though it is 1 % of 24
    assert shares.divided(whole, "test.csv", 1.0, 1, tmp_path).train == whole


def test_a_share_of_tagged_sentences_leaves_the_words_of_all_others(tmp_path: Path) -> None:
    blocks = [f"w{i} B-x\nfilm O" for i in range(8)]
    (tmp_path / "all.conll").write_text("\n\n".join(blocks) + "\n")
    part = shares.divided(str(tmp_path / "all.conll"), "test.conll", 0.25, 0, tmp_path / "part")
    kept = Path(part.train).read_text().strip().split("\n\n")
    assert len(kept) == 2
    lines = Path(str(part.unlabelled)).read_text().splitlines()
    others = [json.loads(line)["tokens"] for line in lines]
    assert {block.split()[0] for block in kept}.isdisjoint(words[0] for words in others)
    assert sorted(kept + [f"{words[0]} B-x\n{words[1]} O" for words in others]) == blocks


SHORT = [f"stages.task.{name}={value}" for name, value in
         (("steps", 2), ("batch_size", 8), ("max_length", 32))]  # fmt: skip


@pytest.fixture(scope="module")
def static_students(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teachers, static students and baselines of a share, and a static student of all labels."""
    out = tmp_path_factory.mktemp("static")
    (out / "teachers/sst2").mkdir(parents=True)
    ready = out / "teachers/sst2/teacher-0"
    words = [str(home / "data"), str(out / "teachers"), str(out), "--encoder", str(home / "words"),
             "--seeds", "0", "--only", "students", "--set", "student.hidden_size=8", *SHORT,
             "--set-teacher", "stages.linear=null", *SHORT]  # fmt: skip
    without = ["--without", "soft-labels", "window"]
    called(static, *words, "--tasks", "sst2", "snips", "--shares", "0.5", *without)
    shutil.copytree(out / "sst2/0.5-0/teacher", ready)
    called(static, *words, "--tasks", "sst2", "--shares", "1")
    (out / "scores/stsb").mkdir(parents=True)
    rows = [f"good film {i % 5},bad film {i % 3},{i % 6}.5\n" for i in range(24)]
    for name in ("train", "test"):
        (out / f"scores/stsb/{name}.csv").write_text("".join(["text,text_pair,label\n", *rows]))
    words[0] = str(out / "scores")
    called(static, *words, "--tasks", "stsb", "--shares", "0.5", "--without", "start", "bigrams")
    return out


@pytest.mark.slow
def test_static_students_get_a_row_beside_what_they_are_compared_with(
    static_students: Path, home: Path, tmp_path: Path
) -> None:
    known = str(static_students / "results.json")
    words = ["--seeds", "0", "--only", "students", "--tasks", "sst2", "--shares", "0.5"]
    words += ["--without", "soft-labels", "--known", known]
    called(static, str(home / "data"), str(tmp_path), str(tmp_path), *words)
    assert not (tmp_path / "sst2/0.5-0/teacher").exists()  # all its rows are known
    rows = results.load(static_students / "results.json")
    models = {(row["task"], row["share"]): set[str]() for row in rows}
    for row in rows:
        models[row["task"], row["share"]].add(row["model"])
        assert -1 <= row["value"] <= 1
    beside = {"static", "teacher", "majority", "tfidf", "embeddings"}
    assert models["sst2", 0.5] == beside | {"no-soft-labels"}
    assert models["snips", 0.5] == beside | {"no-soft-labels", "no-window"}
    assert models["stsb", 0.5] == beside | {"no-start", "no-bigrams"}
    assert beside - {"embeddings"} <= models["sst2", 1.0]
    assert not (static_students / "sst2/1-0/teacher").exists()  # the ready one was taken
    for name, read in {"static": True, "no-soft-labels": False}.items():
        home = static_students / "sst2/0.5-0" / name
        assert ("unlabelled.csv" in (home / "environment.json").read_text()) == read


@pytest.mark.slow
def test_a_static_students_call_is_timed_beside_others_and_by_its_parts(
    home: Path, static_students: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(static_speed, "ROUNDS", 1)
    monkeypatch.setattr(static_speed, "LEAST", 12)
    called(static_speed, str(home / "data"), str(static_students), str(tmp_path),
           "--tasks", "sst2", "--batches", "1", "6", "--inside", "1")  # fmt: skip
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {("static", 1), ("static", 6), ("tfidf", 1), ("tfidf", 6)} <= {
        (row["model"], row["batch"]) for row in found["results"]
    }
    assert all(row["us"] > 0 and row["mb"] > 0 for row in found["results"])
    parts = {row["part"]: row["us"] for row in found["parts"]}
    whole = parts.pop("all of Session.predict")
    assert 0 < max(parts["gather"], parts["pool"], parts["head"]) < whole


@pytest.mark.slow
def test_schedules_are_computed_as_results_have_them(tmp_path: Path) -> None:
    called(schedules, "--out", str(tmp_path / "schedules.json"))
    assert kept("several/schedules.json") == json.loads((tmp_path / "schedules.json").read_text())


def test_candidates_are_compared(home: Path, tmp_path: Path) -> None:
    words = [str(home / "words"), str(home / "train.csv"), "--json", str(tmp_path / "found.json")]
    called(candidates, *words, "--rows", "8", "--plain-rows", "2", "--rounds", "1")
    found = json.loads((tmp_path / "found.json").read_text())
    assert 0 < found["plain_words"] < found["words"]
    assert found["ways"]["together 0.0"]["agreement"] > 0.5


@pytest.mark.slow
def test_servers_are_compared_and_overloaded(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "load.json"
    words = [str(classifier), "--json", str(out), "--seconds", "0.3"]
    called(load, *words, "--servers", "alembert,plain,first-in", "--clients", "2", "--rounds", "1")
    rows = json.loads(out.read_text())["rows"]
    assert [row["server"] for row in rows] == ["alembert", "plain", "first-in"]
    assert all(row["requests_per_s"] > 0 and row["cpu_ms"] > 0 for row in rows)
    monkeypatch.setattr(overload, "WARM", 0.2)
    monkeypatch.setattr(overload, "BRIEF", 0.5)
    called(overload, *words, "--soak", "0.2")
    assert json.loads(out.read_text())["overload"]["requests_per_s"] > 0


@pytest.mark.slow
def test_hostile_bodies_and_clients_of_a_server_find_no_fault(classifier: Path) -> None:
    ended(hostile, str(classifier), "--count", "80")
    port = free_port()
    with load.started("alembert", str(classifier), port) as pid:
        url = f"http://127.0.0.1:{port}"
        answers, errors, ends = asyncio.run(killed.load(url, ["a film"], pid, 0, 3))
        assert killed.replicas(pid) == []
    assert answers
    assert not errors + ends


@pytest.mark.slow
def test_attacks_and_bytes_at_random_do_not_get_through(classifier: Path) -> None:
    only = ("bodies beside an offer to upgrade", "heads and bodies with one right answer")
    ended(attacks, str(classifier), "--only", *only)
    ended(wire, str(classifier), "--minutes", "0.05")


@pytest.mark.slow
def test_a_fault_loses_nothing() -> None:
    ended(faults, "--times", "1", "--only", "a second run in the folder")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_fault_loses_anything() -> None:
    ended(faults, "--times", "1")


def test_fuzzing_finds_nothing(tmp_path: Path) -> None:
    ended(fuzz, "--minutes", "0.02", "--only", "settings", "--json", str(tmp_path / "fuzz.json"))
    assert json.loads((tmp_path / "fuzz.json").read_text())["inputs"]["settings"] > 0


def test_a_corpus_is_prepared_beside_the_tokenizers_library(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "ROUND", 90_000)
    (row,) = corpus.rounds(tmp_path, home / "words", 1)
    assert row["tokens"] > 0 < row["share_of_alone"]


@pytest.mark.slow
def test_a_large_corpus_is_prepared_and_trained_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "ROUND", 90_000)
    monkeypatch.setattr(corpus, "STEPS", 2)
    out = tmp_path / "results.json"
    words = ["--model", str(home / "words"), "--rounds", "1", "--gigabytes", "0.0001"]
    called(corpus, str(tmp_path / "work"), *words, "--json", str(out))
    assert json.loads(out.read_text())["trained"]["peak_rss_gb"] > 0.1


@pytest.mark.slow
def test_two_processes_lose_what_one_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "WAYS", {"2 DDP": (2, False)})
    ended(several, "--steps", "2", "--out", str(tmp_path), "--recipes", "distilbert")
    home = tmp_path / "home"
    tiny.lay_out(home)
    called(hosts, "--work", str(home), "--out", str(tmp_path / "hosts"), "--steps", "2")
    assert hosts.logged(tmp_path / "hosts") == 2


@pytest.fixture(scope="module")
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned teacher and students of it, beside sst2/ with its files."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        place = run.Place(
            EXPERIMENTS["vocabulary"], home / "data", runs, pretrained=str(home / "words"),
            settings=SHRUNK, do=commands(patch),
        )  # fmt: skip
        run.run(place, [smaller(arm) for arm in place.experiment.arms], ["clinc150"], [0])
    return runs


@pytest.mark.slow
def test_shapes_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = BertConfig(**TEACHER, num_hidden_layers=1, num_attention_heads=4)
    monkeypatch.setattr(shapes, "CONFIGS", {"bert-base": config})
    called(shapes, str(tmp_path), "--seconds", "0.05", "--threads", "1")
    assert "| torch |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_file_is_answered_as_a_bare_loop_answers_its_texts(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "teacher", tmp_path / "model")
    cli.app(["export", str(tmp_path / "model")], standalone_mode=False)
    with pytest.raises(SystemExit) as ended:
        called(
            whole_files, str(tmp_path / "model"), str(tmp_path / "out"), "--texts",
            str(home / "train.csv"), "--rows", "150", "1200", "--rounds", "1", "--results",
            str(tmp_path),
        )  # fmt: skip
    assert ended.value.code == 0
    [row] = results.load(tmp_path / "results.json")
    assert row["rates"]["verb"]["whole"] > 0
    assert list(row["memory"]) == ["150", "1200"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_student_is_deployed_and_trimmed(
    home: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (deployed, trimmed):
        monkeypatch.setattr(module, "SECONDS", 0.05)
    monkeypatch.setattr(trimmed, "FEWER", 90)
    whole, cut = "clinc150/vocabulary-all-0", "clinc150/vocabulary-task-0"
    words = ["--results", str(tmp_path / "deployed")]
    called(deployed, str(home / "data"), str(runs), "--students", whole, *words)
    words = ["--results", str(tmp_path / "trimmed")]
    words += ["--distilled", str(runs / cut), "--corpus", str(home / "corpus.txt")]
    data = str(home / "data" / "clinc150")
    called(trimmed, data, str(runs / whole), str(tmp_path / "out"), *words)
    assert len(results.load(tmp_path / "trimmed" / "results.json")) == 15


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_students_are_searched_for_and_served(
    home: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (search, one_command):
        monkeypatch.setattr(module, "SECONDS", 0.05)
    monkeypatch.setattr(search, "BUDGETS", (50.0,))
    words = [str(home / "data"), str(tmp_path / "out"), "--teachers", str(runs)]
    words += ["--results", str(tmp_path / "results"), "--tasks", "clinc150"]
    called(search, *words, "--trials", "1", "--steps", "2")
    assert len(results.load(tmp_path / "results" / "clinc150.json")) == 2
    options = "--max-latency-ms 50 --length 13 --max-length 32 --recipes tinybert --trials 1 "
    options += "--steps 2 --epochs 1 --vocabulary all"
    monkeypatch.setitem(one_command.TASKS, "clinc150", options)
    words[1] = str(tmp_path / "one")
    called(one_command, *words)
    (row,) = results.load(tmp_path / "results" / "results.json")
    assert 0 <= row["served"] <= 1
