"""A search finds what its rules say, spends nothing twice, and leaves a run folder."""

import itertools
import json
import shutil
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.models import tiny
from support.runs import saved, task_file
from transformers import BertConfig, BertTokenizerFast

from alembert import api
from alembert.api.train import _present
from alembert.bench import interleaved
from alembert.cli import main
from alembert.cli import search as search_verb
from alembert.data.splits import Files
from alembert.data.tasks import Task as DataTask
from alembert.evaluation.own_metric import Labelled
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.inference.session import Session
from alembert.io.errors import UserError
from alembert.models.building import config_of
from alembert.models.loading import load_tokenizer
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.runs.record import RunRecord
from alembert.search import halving, held_out, identity, latency, phases, trials
from alembert.search.latency import Latency, Reference, Sample, sample_of
from alembert.search.search import search
from alembert.search.space import RECIPES, USUAL, VOCABULARIES, Budget, Shape, grid

CAPPED = Budget(
    max_latency_ms=1.0, min_retention=None, trials=2, steps=2, epochs=1,
    recipes=("house", "tinybert"), vocabularies=VOCABULARIES,
)  # fmt: skip


def shape(recipe: str, layers: int) -> Shape:
    return Shape(recipe=recipe, layers=layers, hidden_size=8, heads=4, inner=16)


def test_the_grid_of_bert_base_holds_the_papers_students_shallow_ones_first() -> None:
    transformers = [name for name in RECIPES if name != "static"]
    shapes = grid(BertConfig(), transformers, pairs=False)
    names = [each.name for each in shapes]
    assert len(set(names)) == len(names)
    assert {"distilbert-6x768-h12-f3072", "tinybert-4x312-h12-f1200"} <= set(names)
    assert {"tinybert-4x384-h12-f768", "minilm-6x384-h6-f1536"} <= set(names)
    assert {"house-1x192-h12-f384", "house-6x384-h12-f1536", "house-6x768-h12-f3072"} <= set(names)
    for each in shapes:
        recipe = each.recipe_for(BertConfig())
        config = config_of(recipe.student)
        assert (config.num_hidden_layers, config.hidden_size) == (each.layers, each.hidden_size)
        assert config.num_attention_heads == each.heads
        assert getattr(config, "intermediate_size", None) or config.hidden_dim == each.inner
        assert {stage.data for stage in recipe.stages} == {"task"}
    for _, family in itertools.groupby(shapes, lambda each: replace(each, layers=1)):
        depths = [each.layers for each in family]
        assert depths == sorted(depths)


def test_pairs_keep_their_token_types_and_what_cannot_be_searched_is_refused() -> None:
    found = grid(BertConfig(), ("distilbert",), pairs=True)
    assert {each.recipe for each in found} == {"distilbert-pairs"}
    with pytest.raises(UserError, match=r"^--recipes ibbert: choose among house, static"):
        grid(BertConfig(), ("ibbert",), pairs=False)
    with pytest.raises(UserError, match=r"^layers of a 'mobilebert' of this build cannot be copie"):
        grid(tiny("mobilebert").config, ("tinybert",), pairs=False)
    odd = BertConfig(num_attention_heads=3)
    with pytest.raises(UserError, match=r"^--recipes minilm: of a teacher of 3 heads there is no"):
        grid(odd, ("minilm",), pairs=False)
    with pytest.raises(UserError, match=r"^--recipes mobilebert,tinybert: .* a 'deberta-v2' count"):
        grid(tiny("deberta-v2").config, ("tinybert", "mobilebert", "minilm"), pairs=False)
    with pytest.raises(UserError, match=r"^--recipes mobilebert: .*'mpnet' count relative positi"):
        grid(tiny("mpnet").config, ("tinybert", "mobilebert"), pairs=False)
    assert grid(tiny("mpnet").config, ("distilbert", "tinybert", "minilm"), pairs=False)
    fitting = {each.recipe for each in grid(tiny("mpnet").config, USUAL, pairs=True)}
    assert fitting == {"house", "static-pairs"}


def test_a_brief_training_shares_its_steps_as_the_whole_one_does() -> None:
    recipe = recipe_of("tinybert", BertConfig())
    recipe = recipe.model_copy(update={"stages": recipe.stages[1:]})
    recipe = with_settings(recipe, {"stages.prediction.until.cap": "{steps: 2980}"})
    # 15,100 rows are 472 steps an epoch: of at most 20 epochs and 2,980 steps 76 % and 24 %
    short = trials.shortened(recipe, 100, 15_100, 151)
    assert [stage.steps for stage in short.stages] == [76, 24]


def test_promising_are_those_that_none_contains_or_lie_evenly_for_the_fastest() -> None:
    ms = {shape("a", n): n / 10 for n in range(1, 6)} | {shape("b", n): n for n in (1, 2)}
    thin = replace(shape("a", 9), inner=4)  # deeper than the others, and thinner
    assert halving.promising(ms | {thin: 0.1}, 5, False) == [thin, shape("a", 5), shape("b", 2)]
    assert halving.promising(ms | {thin: 0.1}, 2, False) == [thin, shape("b", 2)]
    spread = [s.layers for s in halving.promising(ms, 5, True) if s.recipe == "a"]
    assert spread == [5, 3, 1]
    assert len(halving.promising(ms, 100, True)) == 7


def test_a_shape_that_the_times_of_others_decide_is_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def by_layers(student: dict[str, Any], *_: Any) -> tuple[Latency, bool]:
        asked.append(student["num_hidden_layers"])
        return Latency(student["num_hidden_layers"], 0.0, 0.0, teacher_ms=9.0), False

    monkeypatch.setattr(phases, "latency_of", by_layers)
    task: Any = SimpleNamespace(
        config=BertConfig(),
        sample=None,
        reference=None,
        splits=SimpleNamespace(task=SimpleNamespace(kind="", labels=())),
    )
    shapes = [each for each in grid(BertConfig(), ("house",), False) if each.hidden_size == 768]
    assert [each.layers for each in shapes] == [1, 2, 3, 4, 6, 8]
    budget = Budget(max_latency_ms=3.0, min_retention=None)
    rows, fits = phases.time_shapes(budget, task, shapes)
    assert asked == [4, 2, 3]  # 3 takes the whole budget, of which a twentieth stays free
    assert {each.layers: ms for each, ms in fits.items()} == {2: 2}
    assert [row["latency_ms"] for row in rows] == [None, 2, 3, 4, None, None]
    asked.clear()
    phases.time_shapes(replace(budget, min_retention=0.9), task, shapes)
    assert sorted(asked) == [1, 2, 3, 4]  # the fastest that suffices may be any that fits
    # a speedup is of the teacher's time in the same rounds, whatever it took before
    faster = replace(budget, max_latency_ms=1.0, min_speedup=3.0)
    assert phases.time_shapes(faster, task, shapes)[1] == fits


def rows_of(*right: float) -> dict[str, Rows]:
    """Rows of candidates a, b, ... that are right on the first texts of 1,000, as many as given."""
    task = DataTask("classification", ("no", "yes"), "accuracy", pair=False)
    found = {}
    for name, count in zip("abcdef", right, strict=False):
        said = np.arange(1000) < count
        logits = np.stack([~said, said], 1).astype(np.float32)
        labelled = Labelled(logits, np.ones(1000, np.int64), np.arange(1000))
        found[name] = Rows(task, labelled, ())
    return found


def test_among_equals_the_largest_leads_and_who_is_surely_behind_comes_last() -> None:
    rows, sizes = rows_of(900, 899, 850, 860), {"a": 1, "b": 2, "c": 9, "d": 9}
    # one text apart is no difference, forty are one
    assert held_out.ranked(rows, "accuracy", sizes) == ["b", "a", "d", "c"]


def test_the_best_of_many_equals_looks_better_than_it_is_and_one_far_ahead_does_not() -> None:
    generator = np.random.default_rng(0)
    task = DataTask("classification", ("no", "yes"), "accuracy", pair=False)

    def equals(count: int, texts: int = 400) -> dict[str, Rows]:
        found = {}
        for name in range(count):
            said = generator.random(texts) < 0.8  # each is right on 80 % of all texts there are
            logits = np.stack([~said, said], 1).astype(np.float32)
            labelled = Labelled(logits, np.ones(texts, np.int64), np.arange(texts))
            found[str(name)] = Rows(task, labelled, ())
        return found

    looks, corrected = [], []
    for _ in range(20):
        rows = equals(8)
        best = max(float(each.labelled.logits.argmax(1).mean()) for each in rows.values())
        looks.append(best)
        corrected.append(best - held_out.too_high(rows, "accuracy"))
    assert np.mean(looks) > 0.82
    assert abs(np.mean(corrected) - 0.8) < 0.01
    assert held_out.too_high(rows_of(900, 500), "accuracy") == 0.0


def test_ranked_puts_the_best_first_or_the_quickest_of_the_good_enough() -> None:
    values, ms = {"a": 0.80, "b": 0.79, "c": 0.79, "d": 0.5}, {"a": 4.0, "b": 3.0, "c": 2, "d": 1}
    assert halving.ranked(values, ms) == ["a", "c", "b", "d"]
    assert halving.ranked(values, ms, 0.97) == ["c", "b", "a", "d"]  # 0.776 is enough
    assert halving.ranked(values, ms, 1.0) == ["a", "c", "b", "d"]
    assert halving.next_up("c", values, ms, ["c"]) == "a"  # b is no better
    assert halving.next_up("d", values, ms, ["d", "c"]) == "b"
    assert halving.next_up("a", values, ms, ["a"]) is None


@pytest.mark.parametrize("order", ["abcdefg", "gfedcba"])
def test_halving_keeps_a_third_at_each_rung_whatever_came_first(order: str) -> None:
    asked: list[tuple[str, int]] = []

    def train(name: str, steps: int) -> float:
        asked.append((name, steps))
        # at 30 steps c overtakes g
        return ord(name) + (10 if (name, steps) == ("e", 30) else 0)

    ms = dict.fromkeys(order, 1.0)
    rungs = halving.halve(order, lambda values: halving.ranked(values, ms), train, 10)
    # 7 -> 3 (e f g) -> 1 (e)
    assert [set(rung) for rung in rungs] == [set(order), set("efg")]
    assert asked == [(name, 10) for name in order] + [(n, 30) for n in order if n in "efg"]
    assert rungs[-1]["e"] == ord("e") + 10
    asked.clear()
    assert halving.halve("e", list, train, 10) == asked == []


def sample(tokenizer: BertTokenizerFast, length: int | None = None, *texts: Any) -> Sample:
    rows = SimpleNamespace(sample=lambda most: list(texts or ("the film is good", "a dull one")))
    return sample_of(rows, tokenizer, 32, length)  # type: ignore[arg-type]


@pytest.mark.clock
def test_a_latency_is_cpu_time_of_the_calm_round_and_waiting_is_none(
    monkeypatch: pytest.MonkeyPatch, tokenizer: BertTokenizerFast
) -> None:
    seen: list[Any] = []

    def answer(text: Any) -> None:
        seen.append(text)
        time.sleep(0.001)

    asked: Any = SimpleNamespace(kind="classification", predict=answer)
    assert latency.in_turns([asked], sample(tokenizer))[0] < 0.9  # 1 ms of the clock
    assert seen[:3] == ["the film is good", "a dull one", "the film is good"]
    clock = iter(np.cumsum([0.0, 0.010, 0.001, 0.004]))
    monkeypatch.setattr(latency, "ROUNDS", 2)
    watch = SimpleNamespace(thread_time=lambda: next(clock), perf_counter=lambda: 0.0)
    monkeypatch.setattr(latency, "time", watch)
    assert latency.in_turns([asked], sample(tokenizer)) == pytest.approx([2.0])


def test_texts_are_repeated_to_a_length_and_no_longer(tokenizer: BertTokenizerFast) -> None:
    assert sample(tokenizer, None).texts == ("the film is good", "a dull one")
    texts: list[Any] = ["the film", ("good", "the film"), ["the", "film"]]
    single, pair, words = sample(tokenizer, 5, *texts).texts
    assert single == "the film the film the film"
    assert pair == ("good good", "the film the film")
    assert words == ["the", "film"] * 3
    assert sample(tokenizer, 5).max_length == 5


@pytest.mark.slow
def test_a_shape_is_exported_once_and_other_heads_or_texts_are_timed_anew(
    tokenizer: BertTokenizerFast,
) -> None:
    student = shape("tinybert", 1).recipe_for(tiny("bert").config).student
    texts = sample(tokenizer)
    first, known = latency.latency_of(student, "classification", ("a", "b"), texts)
    assert (known, first.ms > 0, first.cpu_s > 0) == (False, True, True)
    assert latency.latency_of(student, "classification", ("c", "d"), texts) == (first, True)
    made: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_random", lambda *given: made.append(given))
        patch.setattr(latency, "in_turns", lambda *_: [1.0])
        latency.latency_of(student, "classification", ("a", "b"), sample(tokenizer, 6))
        latency.latency_of(student, "classification", ("a", "b", "c"), texts)
        latency.latency_of(student | {"num_hidden_layers": 2}, "classification", ("a", "b"), texts)
    assert len(made) == 3


@pytest.mark.parametrize("kind", ["classification", "tokens"])
def test_a_static_shape_is_timed_with_its_tokenizer(
    tokenizer: BertTokenizerFast, kind: str
) -> None:
    (found,) = grid(tiny("bert").config, ("static",), pairs=False)
    assert (found.layers, found.heads) == (0, 0)
    fields = found.recipe_for(tiny("bert").config).student | {"vocab_size": len(tokenizer)}
    texts = sample(tokenizer, None, *([["the", "film"]] if kind == "tokens" else ()))
    timed, known = latency.latency_of(fields, kind, ("a", "b"), texts)
    assert (known, timed.ms > 0) == (False, True)


def test_a_cached_latency_with_a_flipped_byte_is_named_and_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: list[str], tokenizer: BertTokenizerFast
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(latency, "_random", lambda *_: None)
    monkeypatch.setattr(latency, "in_turns", lambda *_: [123.456])
    student = shape("tinybert", 1).recipe_for(tiny("bert").config).student
    latency.latency_of(student, "classification", ("a", "b"), sample(tokenizer))
    (file,) = tmp_path.rglob("latency.json")
    file.write_text(file.read_text().replace("123", "122"))
    timed, known = latency.latency_of(student, "classification", ("a", "b"), sample(tokenizer))
    assert (timed.ms, known) == (123.456, False)
    assert news == [f"{file}: is damaged: the shape is timed again"]


def test_where_too_little_is_kept_the_next_slower_one_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worth = {"tinybert-1": 0.85, "tinybert-2": 0.93, "tinybert-4": 0.97}
    named = {shape("tinybert", n).name: shape("tinybert", n) for n in (1, 2, 4)}
    rung = {name: 0.5 + each.layers / 100 for name, each in named.items()}
    ms = {name: float(each.layers) for name, each in named.items()}
    asked: list[str] = []

    def full(task: Any, which: Shape, *_: Any) -> dict[str, Any]:
        asked.append(which.name[:10])
        return {"name": which.name, "held_out": worth[which.name[:10]], "latency_ms": 1.0}

    monkeypatch.setattr(phases, "train_fully", full)
    ran = phases.BriefTrainings(
        shapes=named,
        ms=ms,
        rungs=[rung],
        shares=[0.01],
        order=sorted(ms, key=lambda n: ms[n]),
        vocabulary="all",
        trials=[],
        too_high=0.0,
    )
    aim = {"metric": "accuracy", "held_out": 1.0, "texts": 3}
    for share, wanted in ((0.8, 1), (0.9, 2), (0.95, 3), (0.99, 3)):
        asked.clear()
        fulls = phases.train_winner(
            Budget(max_latency_ms=None, min_retention=share), None, ran, aim
        )  # type: ignore[arg-type]
        assert asked == list(worth)[:wanted]
        assert len(fulls) == wanted


def test_a_student_that_is_too_slow_as_it_is_deployed_gives_way_to_a_faster_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took = {"a-3": (1.3, "onnx"), "a-2": (0.9, "int8"), "a-1": (0.4, "int8")}
    named = {shape("a", n).name: shape("a", n) for n in (1, 2, 3)}
    asked: list[str] = []

    def full(task: Any, which: Shape, *_: Any) -> dict[str, Any]:
        asked.append(which.name[:3])
        ms, backend = took[which.name[:3]]
        return {"name": which.name, "held_out": 0.9, "latency_ms": ms, "backend": backend,
                "teacher_ms": 10.0}  # fmt: skip

    monkeypatch.setattr(phases, "train_fully", full)
    names = [shape("a", n).name for n in (3, 2, 1)]
    ran = phases.BriefTrainings(
        shapes=named, ms=dict(zip(names, (0.9, 0.8, 0.4), strict=True)), rungs=[], shares=[],
        order=names, vocabulary="all", trials=[], too_high=0.0,
    )  # fmt: skip
    aim = {"metric": "accuracy", "held_out": 1.0, "texts": 3}
    budget = Budget(max_latency_ms=1.0, min_retention=None)
    # 1.3 ms for the 0.9 of its shape: only shapes of 0.69 ms are tried
    fulls = phases.train_winner(budget, None, ran, aim)  # type: ignore[arg-type]
    assert asked == ["a-3", "a-1"]
    assert [phases.is_fast_enough(budget, each) for each in fulls] == [False, True]
    narrow = replace(budget, max_latency_ms=0.9, min_speedup=5.0)  # 2 ms of the teacher's 10
    assert phases.is_fast_enough(narrow, fulls[0])


def test_the_narrower_of_two_bounds_counts_and_is_the_one_that_is_named() -> None:
    both = Budget(max_latency_ms=2.0, min_retention=None, min_speedup=10.0)
    assert both.within(10.0) == replace(both, max_latency_ms=1.0)
    assert both.within(30.0) == replace(both, min_speedup=None)
    alone = Budget(max_latency_ms=2.0, min_retention=None)
    assert alone.within(1.0) == alone


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "the search has no bound: give --max-latency-ms, --min-speedup or "),
        ({"max_latency_ms": 0.0}, "--max-latency-ms 0: must be over 0"),
        ({"min_retention": 97}, "--min-retention 97: a share, over 0 and at most 1"),
        ({"max_latency_ms": 1.0, "trials": 0}, "--trials 0: must be over 0"),
        ({"min_speedup": -3}, "--min-speedup -3: must be over 0"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        Budget(**{"max_latency_ms": None, "min_retention": None} | options)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    home = tmp_path_factory.mktemp("search")
    saved(home / "teacher", tokenizer, "classification", layers=2)
    for seed, name in enumerate(("train.csv", "test.csv")):
        task_file(home / name, seed=seed)
    return home


@pytest.fixture
def by_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes take as many tenths of a millisecond as their width and a bit for their inner size."""

    def known(student: dict[str, Any], *_: Any) -> tuple[Latency, bool]:
        ms = student["hidden_size"] / 10 + student["intermediate_size"] / 1000
        return Latency(ms, 1.0, 2.0, teacher_ms=9.0), True

    monkeypatch.setattr(phases, "latency_of", known)


def find(home: Path, out: Path, budget: Budget, test: str = "test.csv") -> str:
    files = Files(train=str(home / "train.csv"), evaluation=str(home / test))
    return search(
        budget, str(home / "teacher"), files, out, 32, 0, "fp32",
        _present,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("by_depth")
def test_a_search_that_is_killed_goes_on_and_ends_in_a_run_folder(
    news: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(interleaved, "MOST", 8 * interleaved.FEWEST)
    out, runs = tmp_path / "found", list[str]()
    whole = trials.run

    def counted(job: Any) -> Any:
        runs.append(job.out.name)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return whole(job)

    monkeypatch.setattr(trials, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        find(home, out, CAPPED)
    news.clear()
    line = find(home, out, CAPPED)
    assert sum(": classification of 3 classes (down, flat, up), metric" in x for x in news) == 1
    # widths 4 and 8 fit in 1 ms, 16 does not; the largest of each recipe, then both vocabularies
    a, b = "house-2x8-h4-f16", "tinybert-2x8-h4-f16"
    assert runs[:3] == [f"{a}-task-2", f"{b}-task-2", f"{b}-task-2"]
    assert runs[3] in (f"{a}-all-2", f"{b}-all-2")
    assert len(runs) == 5
    done = json.loads((out / "search.json").read_text())
    name = done["winner"]["name"]
    assert line.startswith(f"{out}/student: made, {name}, vocabulary ")
    fits = {row["name"]: row["fits"] for row in done["shapes"] if row["latency_ms"]}
    assert fits.items() >= {a: True, b: True, "tinybert-2x16-h4-f32": False}.items()
    timed = done["cost"]["latency"]["count"]
    assert done["cost"]["latency"] == {"count": timed, "cpu_s": timed, "wall_s": 2.0 * timed}
    assert {each["name"] for each in done["baselines"]} == {"tfidf"}
    assert "corrected for the choice among 2, of the teacher's held-out accuracy" in line
    assert [done["cost"][phase]["count"] for phase in ("brief", "full", "export")] == [3, 1, 1]
    deployed = done["winner"]["metrics"]["deployed"]
    assert deployed.keys() >= {"backend", "accuracy"}
    assert done["winner"]["backend"] == deployed["backend"]
    assert (
        f"ms a text in {deployed['backend']} (from a held-out text to its answer, one at a " in line
    )
    assert "ms on real texts of --eval, one at a time, one thread, " in line
    assert " times its teacher in torch, " in line
    assert " times its teacher in int8; keeps " in line
    shown = " ".join(capsys.readouterr().out.split())
    assert "CPU ms ┃ x torch ┃ x onnx ┃ x int8 ┃" in shown
    assert "on real texts of --eval, one at a time, one thread, median " in shown
    assert "ms: from a held-out text to its answer" in shown
    assert Session(out).predict("the film is good").label in ("up", "down", "flat")
    assert RunRecord(out).finished
    page = (out / "report.html").read_text()
    assert "How it was found" in page
    assert "Pareto front: " in page
    # nothing is trained twice, for this budget or for another that takes the same candidates
    assert find(home, out, CAPPED) == line
    assert news[-1] == f"{out}: this was searched before; nothing to do"
    last = f"searched/full/{name}-{done['winner']['vocabulary']}-1-epochs.json"
    for damaged in ("student/model.safetensors", "metrics.json", "search.json", last):
        content = bytearray((out / damaged).read_bytes())
        (out / damaged).write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
        if damaged == last:  # which is read when the result is made again
            (out / "search.json").unlink()
        news.clear()
        assert (find(home, out, CAPPED) == line) or damaged == last  # it is timed again
        assert any(f"{out / damaged}: is damaged" in each for each in news), damaged
        assert (out / damaged).read_bytes() == content or damaged == last
    assert len(runs) == 6
    del runs[5:]
    pages: list[Any] = []
    monkeypatch.setattr("alembert.report.page.attempt", lambda *given: pages.append(given))
    find(home, out, replace(CAPPED, max_latency_ms=0.95))
    assert (len(runs), len(pages)) == (5, 1)
    said = r"^\S+train.csv: its rows are not those that the search in \S+found was started with: "
    with pytest.raises(UserError, match=said):
        find(home, out, CAPPED, test="train.csv")
    # with texts of another length the student is timed anew, and a lost card is made anew
    monkeypatch.setattr(trials, "beside_teacher", lambda *_: (0.008, 1.0))
    (out / "student" / "README.md").unlink()
    find(home, out, replace(CAPPED, length=8))
    assert json.loads((out / "search.json").read_text())["winner"]["latency_ms"] == 0.008
    assert len(runs) == 5
    assert (out / "student" / "README.md").is_file()
    # where the teacher was better than that, the best that was found lies there all the same
    real, aim = search.__globals__["_aim"], {**done["teacher"], "held_out": 2.0}
    monkeypatch.setattr("alembert.search.search._aim", lambda *given: (real(*given)[0], aim))
    monkeypatch.setattr("alembert.search.search.train_winner", lambda *_: [done["winner"]])
    share = 100 * done["winner"]["held_out"] / 2  # no interval: that of three texts reaches 0
    asked = rf"{share:.1f} % \(n = 3\), .* of the teacher's held-out accuracy, and 99.0%"
    with pytest.raises(UserError, match=rf"found/student: the best found, {name} .* keeps {asked}"):
        find(home, out, replace(CAPPED, min_retention=0.99))
    assert not json.loads((out / "search.json").read_text())["reached"]
    assert (out / "student" / "onnx" / "model_quantized.onnx").is_file()


@pytest.mark.usefixtures("by_depth")
@pytest.mark.slow
def test_a_search_compares_candidates_by_an_own_metric(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rated.py").write_text("def hundred(logits, labels):\n    return 100.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    out, given = tmp_path / "found", {"train": str(home / "train.csv"), "max_length": 32}
    options = given | {"eval": str(home / "test.csv"), "max_latency_ms": 1.0, "trials": 2}
    options |= {"steps": 2, "epochs": 1, "recipes": "tinybert,house", "precision": "fp32"}
    api.search(str(home / "teacher"), out, **options, metric="rated:hundred")
    done = json.loads((out / "search.json").read_text())
    assert (done["metric"], done["teacher"]["held_out"]) == ("rated:hundred", 100.0)
    assert {trial["held_out"] for trial in done["trials"]} == {100.0}
    assert done["winner"]["metrics"]["deployed"]["rated:hundred"] == 100.0
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["metric"], metrics["retention"]) == ("rated:hundred", 1.0)
    with pytest.raises(UserError, match="holds another search: metric is 'rated:hundred' there"):
        api.search(str(home / "teacher"), out, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("by_depth")
def test_a_speedup_is_a_share_of_what_the_teacher_takes_and_what_is_found_can_be_served(
    news: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "in_turns", lambda *_: [9.0])
    monkeypatch.setattr(trials, "beside_teacher", lambda *_: (0.5, 9.0))
    served: list[Any] = []
    monkeypatch.setattr(
        search_verb, "answer", lambda *given, **named: served.append((given, named))
    )
    monkeypatch.setenv("ALEMBERT_API_KEY", "key")
    out = tmp_path / "_found 1"
    given = {"train": str(home / "train.csv"), "eval": str(home / "test.csv"), "trials": 1,
             "steps": 1, "epochs": 1.0, "recipes": "tinybert", "vocabulary": "task",
             "max_length": 32, "precision": "fp32"}  # fmt: skip
    search_verb._search(teacher=str(home / "teacher"), out=out, min_speedup=10, serve=8123, **given)
    assert news[-1].startswith(f"{out}/student: made, tinybert-2x")
    done = json.loads((out / "search.json").read_text())
    timed = {row["name"]: row["fits"] for row in done["shapes"] if row["latency_ms"]}
    assert timed.items() >= {"tinybert-2x8-h4-f16": True, "tinybert-2x16-h4-f32": False}.items()
    assert done["teacher"]["latency_ms"] == 9.0
    assert served == [(([f"found-1={out}"],), {"port": 8123, "api_key": "key"})]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^127.0.0.1:{port}: cannot be bound"):
            search_verb._search(
                teacher=str(home / "teacher"), out=out, min_speedup=10, serve=port, **given
            )
    with pytest.raises(UserError, match=r"^--serve 65536: a port, 0 to 65535"):
        search_verb._search(
            teacher=str(home / "teacher"), out=out, min_speedup=10, serve=65536, **given
        )


def test_a_teacher_is_timed_on_one_thread(home: Path) -> None:
    before = torch.get_num_threads()
    teacher = str(home / "teacher")
    texts = sample(load_tokenizer(teacher))
    twice = [Reference.of(teacher, "classification", texts).session] * 2
    first, second = latency.in_turns(twice, texts)
    assert 0 < first < 1000
    assert 0 < second < 1000
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("by_depth")
def test_what_a_search_cannot_do_is_said_in_a_line(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    said = r"^--max-latency-ms 0.1: the fastest shape, house-1x4-h4-f8, takes 0.408 ms \(from a "
    with pytest.raises(UserError, match=said):
        find(home, out, replace(CAPPED, max_latency_ms=0.1))
    with pytest.raises(
        UserError, match=r"^--min-speedup 1e\+09, .* takes .* ask for [0-9.e+]+ or l"
    ):
        find(home, out, replace(CAPPED, max_latency_ms=None, min_speedup=1e9))
    assert not out.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"mine: holds thesis.txt and no search: choose an empty"):
        find(home, tmp_path / "mine", CAPPED)
    with pytest.raises(UserError, match=r"max_length 100 is more than the 64 positions of"):
        find(home, out, replace(CAPPED, length=100))


def test_a_search_of_other_inputs_is_refused_by_their_names(
    home: Path, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "found"
    out.mkdir()
    saved(teacher, tokenizer, "classification")
    text = Path(home / "train.csv").read_text()
    train = tmp_path / "train.csv"

    def check(model: Path = teacher, rows: Path = train, seed: int = 0) -> None:
        identity.check(out, str(model), Files(train=str(rows)), {"seed": seed})

    train.write_text(text)
    check()
    check()
    for change in (text.replace(",up", ",down", 1), text.replace("the", "is", 1), text + "a,up\n"):
        train.write_text(change)
        with pytest.raises(UserError, match=r"train.csv: its rows are not those that the search "):
            check()
    train.write_text(text)
    with pytest.raises(UserError, match=r"found: holds another search: seed is 0 there and 1 here"):
        check(seed=1)
    shutil.copytree(teacher, tmp_path / "moved-teacher")
    train.rename(tmp_path / "moved.csv")
    check(tmp_path / "moved-teacher", tmp_path / "moved.csv")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        whole = (teacher / name).read_bytes()
        (teacher / name).write_bytes(whole + b" ")
        with pytest.raises(UserError, match=r"teacher: its weights, config or tokenizer are not"):
            check(rows=tmp_path / "moved.csv")
        (teacher / name).write_bytes(whole)
    check(rows=tmp_path / "moved.csv")


def test_a_search_of_the_first_version_goes_on_by_the_names_of_its_files(
    news: list[str], home: Path, tmp_path: Path
) -> None:
    out, train = tmp_path / "found", str(home / "train.csv")
    (out / "searched").mkdir(parents=True)
    old = {"teacher": "3f", "train": [train, "a1"], "seed": 0}
    (out / "searched/identity.json").write_text(json.dumps(old))
    identity.check(out, str(home / "teacher"), Files(train=train), {"seed": 0})
    assert news[-1].startswith(f"{out}: an earlier version began this search and kept no digests")
    with pytest.raises(UserError, match=r"holds another search: files.train is '\S+train.csv' the"):
        identity.check(out, str(home / "teacher"), Files(train=str(home / "test.csv")), {"seed": 0})


def test_texts_without_labels_are_learnt_from_with_the_teachers_answers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more.csv").write_text("text\na dull film\nthe film is good\n")
    asked: list[Any] = []
    monkeypatch.setattr("alembert.search.search._result", lambda _, task, __: asked.append(task))
    options = {"train": str(home / "train.csv"), "max_latency_ms": 1.0, "max_length": 32}
    for more in ({}, {"unlabelled": str(tmp_path / "more.csv")}):
        with pytest.raises(TypeError):  # no result is made
            api.search(str(home / "teacher"), tmp_path / f"found{len(more)}", **options, **more)
    assert asked[1].rows == asked[0].rows + 2


def test_the_verb_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    train = task_file(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"^a search needs texts to learn from: give --train"):
        api.search("teacher", tmp_path, max_latency_ms=1.0)
    with pytest.raises(UserError, match=r"^--vocabulary none: choose both, task or all"):
        api.search("teacher", tmp_path, max_latency_ms=1.0, train=train, vocabulary="none")
    assert "search" in main.GOES_ON
