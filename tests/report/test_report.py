"""The report is one page that opens from disk and says what the run's files say; so is the card."""

import ast
import base64
import csv
import hashlib
import io
import itertools
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard
from support.runs import saved, task_file
from transformers import BertTokenizerFast

from alembert.bench.rows import pareto
from alembert.cli import deploy
from alembert.data.splits import Files
from alembert.evaluation import predictions
from alembert.evaluation.predictions import Predictions
from alembert.evaluation.uncertainty import phrases
from alembert.inference import manifest as deployed
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.report import analysis, closing, comparison, errors, model_card, page, plots
from alembert.runs.job import Job
from alembert.runs.record import RunRecord
from alembert.runs.run import run

HOSTILE = "<script>alert(5)</script> & $5 </svg>"  # of a label: it is in tables and in plots
SHORT = {"stages.task.epochs": "1", "stages.task.min_steps": "0", "stages.task.max_length": "32"}


class Reader(HTMLParser):
    """What a browser would see of a page: tags in order with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.text += data.replace("\u00a0", " ")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizerFast) -> Path:
    """teacher/ (a fine-tuned model) and run/ (its student), of a task with a hostile label."""
    home = tmp_path_factory.mktemp("runs")
    body = saved(home / "body", tokenizer)
    for seed, name in enumerate(("train.csv", "test.csv")):
        file = Path(task_file(home / name, seed=seed))
        file.write_text(file.read_text().replace(",up\n", f",{HOSTILE}\n"))
    files = Files(train=str(home / "train.csv"), evaluation=str(home / "test.csv"))
    tuning = with_settings(finetune(load_config(body)), SHORT | {"stages.linear.steps": "4"})
    run(Job(recipe=tuning, out=home / "teacher", student=body, files=files, model_at="."))
    teacher = str(home / "teacher")
    recipe = with_settings(recipe_of("distilbert", load_config(teacher)), SHORT)
    run(Job(recipe=recipe, out=home / "run", teacher=teacher, files=files))
    return home


@pytest.fixture(scope="module")
def report(home: Path) -> str:
    """The page of the run."""
    return made(home / "run")


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """A run of one's own to change, without checksums; its teacher is where it was."""
    shutil.copytree(home / "run", tmp_path / "run")
    for path in (tmp_path / "run").rglob("checksums.json"):
        path.unlink()
    return tmp_path / "run"


def made(*runs: Path, out: Path | None = None) -> str:
    return page.make(runs, out).read_text(encoding="utf-8")


def test_the_page_says_what_metrics_json_says(home: Path, report: str) -> None:
    text = Reader(report).text
    metrics = json.loads((home / "run/metrics.json").read_text())
    low, high = (100 * bound for bound in metrics["intervals"]["retention"])
    assert f"{100 * metrics['retention']:.0f} % ({low:.0f} to {high:.0f} %, n = " in text
    assert f"accuracy on test.csv, n = {metrics['n']}" in text
    for who in ("teacher", "student"):
        assert f"{metrics[who]['accuracy']:.4f}" in text
    small = metrics["parameters"]["teacher"] / metrics["parameters"]["student"]
    assert f"{small:.1f}\u00d7" in text
    rows = json.loads((home / "run/bench.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["teacher", "student"]
    assert "CPU a text" in text
    titles = ("Loss by term", "Confusion", "class by class", "disagree", "Attention", "Soft labels")
    assert [title for title in titles if title not in text] == []
    assert "T = 8" in text


def test_nothing_on_the_page_asks_the_network_and_its_own_script_alone_runs(report: str) -> None:
    found = Reader(report)
    assert [attrs for tag, attrs in found.tags if tag == "script"] == [{}]
    [script] = re.findall(r"<script>(.*?)</script>", report, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for _, a in found.tags if "http-equiv" in a]
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert not re.search(r"fetch|XMLHttp|import|https?:|innerHTML|eval", script)
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert HOSTILE in found.text  # as text
    links = [a.get(k) or "" for _, a in found.tags for k in ("src", "href", "xlink:href") if k in a]
    assert [link for link in links if not re.match("#|data:", link)] == []
    assert "url(http" not in report
    assert "@import" not in report
    assert any("default-src 'none'" in (a.get("content") or "") for _, a in found.tags)
    assert len(report.encode()) < 2_000_000


def test_a_screen_reader_finds_its_way(report: str) -> None:
    found = Reader(report)
    names = [tag for tag, _ in found.tags]
    assert [names.count(name) for name in ("main", "h1", "header", "nav", "footer")] == [1] * 5
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for _, attrs in found.tags:
        for name in ("aria-labelledby", "for"):
            assert attrs.get(name) is None or attrs[name] in ids
        if (attrs.get("href") or "").startswith("#"):
            assert str(attrs["href"])[1:] in ids
    pictures = [attrs for tag, attrs in found.tags if tag == "svg"]
    assert len(pictures) > 8
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_every_colour_of_a_plot_is_the_pages_own(report: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", report, re.S)
    colours = {colour for plot in plots for colour in re.findall(r"#[0-9a-f]{6}\b", plot)}
    assert colours <= {"#000000", "#ffffff"}  # what clips, and is never seen
    used = set(re.findall(r"var\((--\w+)\)", report))
    assert [name for name in used if f"{name}:" not in report] == []


def test_the_same_run_gives_the_same_page(home: Path, tmp_path: Path, report: str) -> None:
    assert made(home / "run", out=tmp_path / "again.html") == report


def test_what_was_kept_of_the_judgement_gives_its_metric_again(home: Path) -> None:
    found = predictions.load(home / "run")
    assert found is not None
    metrics = json.loads((home / "run/metrics.json").read_text())
    for who in ("teacher", "student"):
        right = [
            row.argmax() == true for row, true in zip(found.logits[who], found.truth, strict=True)
        ]
        assert sum(right) / len(right) == metrics[who]["accuracy"]
    assert HOSTILE in found.labels
    assert found.total == len(found) == 60


def test_a_run_that_kept_no_predictions_asks_its_models_again(copied: Path) -> None:
    before = predictions.load(copied)
    assert before is not None
    (copied / predictions.FILE).unlink()
    made(copied)
    after = predictions.load(copied)
    assert after is not None
    assert after.texts == before.texts
    assert np.allclose(after.stacked("teacher"), before.stacked("teacher"), atol=1e-6)
    assert np.array_equal(after.known(), before.known())


def test_what_is_gone_is_left_out_and_said(copied: Path) -> None:
    (copied / predictions.FILE).unlink()
    shutil.rmtree(copied / "student")
    text = Reader(made(copied)).text
    assert "Left out: the run has not made its student yet" in text
    assert "Loss by term and stage" in text


def test_a_run_that_is_not_finished_shows_its_losses(copied: Path) -> None:
    for name in ("metrics.json", "bench.json", predictions.FILE):
        (copied / name).unlink()
    shutil.rmtree(copied / "student")
    with (copied / "stages/01-task/log.jsonl").open("a") as log:
        log.write('{"step": 99, "lo')  # killed while it wrote
    text = Reader(made(copied)).text
    assert "the run is not finished" in text
    assert "Loss by term and stage" in text
    assert model_card.write(copied) is None


def test_a_run_without_eval_says_that_it_was_not_judged(copied: Path) -> None:
    (copied / "metrics.json").write_text("{}")
    for name in ("bench.json", predictions.FILE):
        (copied / name).unlink()
    text = Reader(made(copied)).text
    assert "Left out: the run was not evaluated" in text
    assert "Attention" in text
    assert "kept" not in re.findall(r"\w+", text.partition("Loss by term")[0])


def test_a_finetuned_model_stands_alone(home: Path) -> None:
    text = Reader(made(home / "teacher")).text
    assert "Where it is furthest from the truth" in text
    assert "student" not in text.partition("main")[2].casefold()


@pytest.mark.slow
def test_several_runs_share_a_page_and_their_teacher(
    home: Path, copied: Path, tmp_path: Path
) -> None:
    other = copied.rename(copied.with_name("other"))
    text = Reader(made(home / "run", other, out=tmp_path / "two.html")).text
    assert "2 runs compared" in text
    assert text.count("teacher teacher") == 1  # its role, unseen, and its name
    assert comparison.names_of([RunRecord(home / "run"), RunRecord(other)]) == ["run", "other"]


def test_runs_of_one_name_are_told_apart_by_their_folders(home: Path, copied: Path) -> None:
    names = comparison.names_of([RunRecord(home / "run"), RunRecord(copied)])
    assert names == [f"{home.name}/run", f"{copied.parent.name}/run"]


def test_a_page_that_would_be_large_leaves_the_last_runs_details_out(
    home: Path, tmp_path: Path, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LIMIT", len(report.encode()) - 1)
    text = Reader(made(home / "run", out=tmp_path / "small.html")).text
    assert "Left out, so that the page stays small" in text


@pytest.mark.parametrize(
    ("place", "out", "said"),
    [
        ("nowhere", None, r"nowhere: no such folder: name what distill made with --out"),
        ("body", None, r"body: not a run folder, it has no recipe\.yaml: name what"),
        ("", None, r"it holds runs: name .*/run .*/teacher"),
        ("run", "body", r"--out .*body: a folder: name a file in it"),
        ("run", "test.csv/page.html", r"page\.html: cannot be written: choose another --out"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    home: Path, place: str, out: str | None, said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        made(home / place, out=None if out is None else home / out)
    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_computed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match=r"report\.html: cannot be written: choose another --out"):
        made(home / "run")


@pytest.mark.parametrize("name", ["metrics.json", "bench.json", predictions.FILE, "recipe.yaml"])
def test_a_broken_file_is_named(copied: Path, name: str) -> None:
    (copied / name).write_text("{]")
    with pytest.raises(UserError, match=rf"{name}: cannot be read"):
        made(copied)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("metrics.json", '{"task": "classification"}', "no 'metric' in it"),
        ("metrics.json", "[1]", "it is [1] and not an object"),
        ("metrics.json", '{"metric": "f1", "student": {"f1": "1"}}', "'student.f1' is '1' and not"),
        ("bench.json", '{"rows": [{}]}', "no 'rows[0].model' in it"),
        ("bench.json", '{"rows": 3}', "'rows' is 3 and not a list"),
        ("environment.json", '{"arguments": []}', "'arguments' is [] and not an object"),
        ("environment.json", '{"arguments": {"seed": 1e400}}', "'arguments.seed' is inf and not"),
        ("recipe.yaml", "stages: [3]", "'stages[0]' is 3 and not an object"),
        ("stages/01-task/facts.json", '{"step": 1}', "no 'seconds' in it"),
        ("stages/01-task/log.jsonl", '{"step": 1, "loss": []}', "'loss' is [] and not a number"),
        ("search.json", '{"metric": "f1"}', "no 'winner' in it"),
    ],
)
def test_a_file_that_lacks_what_the_page_needs_is_named(
    copied: Path, name: str, content: str, reason: str
) -> None:
    (copied / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(f"{name}: cannot be read ({reason}")):
        made(copied)


def test_a_broken_line_of_a_log_is_left_out(copied: Path) -> None:
    before = RunRecord(copied).stages[0].rows
    log = copied / "stages/01-task/log.jsonl"
    log.write_bytes(b'\xff\xfe{"step": 1}\n{"step": }\n3\n' + log.read_bytes())
    assert RunRecord(copied).stages[0].rows == before


def test_a_job_ends_well_without_the_extra(
    news: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page.attempt([home / "run"], None)
    assert len(news) == 1
    assert re.search(r"no report: matplotlib .*pip install 'alembert\[report\]'", news[0])


def measured_by_export(run: Path, onnx: float, int8: float) -> None:
    """Writes the manifest of a student whose variants `export --auto` measured."""
    variants = tuple(
        deployed.Variant(
            backend=name,
            file="a.onnx",
            runtime="onnxruntime",
            precision=name,
            size_mb=1.5,
            measured={"accuracy": right, "cpu_ms": 1.25},
        )
        for name, right in (("onnx", onnx), ("int8", int8))
    )
    exported = deployed.Manifest(
        kind="classification", labels=("a",), max_length=32, inputs=("input_ids",), parameters=9,
        chosen="int8", variants=variants,
    )  # fmt: skip
    deployed.write_manifest(run / "student", exported)


def test_what_a_student_was_exported_to_has_rows(copied: Path) -> None:
    measured_by_export(copied, 0.8, 0.6)  # on texts of its own: int8 kept three quarters there
    [row] = [row for row in comparison.entries(RunRecord(copied), "x") if row.backend == "int8"]
    metrics = json.loads((copied / "metrics.json").read_text())
    assert (row.size_mb, row.ms, row.faster) == (1.5, 1.25, None)  # timed at another hour
    assert row.metric == pytest.approx(0.75 * metrics["student"]["accuracy"])
    assert row.retention == pytest.approx(0.75 * metrics["retention"])
    assert row.estimated
    assert row.elsewhere
    assert comparison.FOOTNOTE in Reader(made(copied)).text


def test_an_estimate_stays_a_share_and_what_is_slower_is_called_so(copied: Path) -> None:
    student = comparison.Entry(
        name="s",
        role="student",
        backend="torch",
        shape="",
        parameters=1,
        size_mb=1.0,
        metric=0.98,
        ms=2.0,
        faster=0.5,
    )
    measured_by_export(copied, 0.34, 0.36)
    variants = comparison._exported_entries(RunRecord(copied), student)
    assert [variant.metric for variant in variants] == pytest.approx([0.98, 1.0])
    assert max(variant.metric or 0 for variant in variants) == 1.0
    teacher = comparison.Entry(
        name="t",
        role="teacher",
        backend="torch",
        shape="",
        parameters=2,
        size_mb=2.0,
        metric=0.99,
        ms=1.0,
    )
    tiles = page._headline(student, teacher, None, "f1")
    assert ("2.0\u00d7", "slower", "2.0 ms a text in torch") in tiles


def test_rows_of_a_benchmark_are_known_by_their_paths(home: Path, copied: Path) -> None:
    teacher, ratio = str(home / "teacher"), {"value": 5.0, "same": False}

    def row(model: str, threads: int, ms: float, backend: str = "torch") -> dict[str, Any]:
        times = {"latency_ms": {"median": ms}, "cpu_ms": {"median": ms}}
        to = ("onnx", "torch") if backend == "int8" else ()
        ratios = [{"to": f"{teacher}:{name}", **ratio} for name in to]
        found = {"model": model, "backend": backend, "threads": threads, "batch": 2}
        return {**found, **times, "ratios": ratios}

    mine = str(copied)
    rows = [row(teacher, 1, 8.0), row(mine, 2, 1.0), row(mine, 1, 4.0), row(mine, 1, 1.0, "int8")]
    (copied / "bench.json").write_text(json.dumps({"rows": rows}))
    variants = (
        deployed.Variant(
            backend="int8", file="a.onnx", runtime="onnxruntime", precision="int8", size_mb=1.5
        ),
    )
    exported = deployed.Manifest(
        kind="classification", labels=("a",), max_length=32, inputs=("input_ids",), parameters=9,
        chosen="int8", variants=variants,
    )  # fmt: skip
    deployed.write_manifest(copied / "student", exported)
    found = comparison.entries(RunRecord(copied), "x")
    assert [entry.ms for entry in found] == [4.0, 2.0, 0.5]  # a text, at one thread
    assert [entry.faster for entry in found] == [None, 2.0, 5.0]  # the ratio, where it is told
    assert found[2].metric is None
    assert "faster as int8" in Reader(made(copied)).text


def test_the_pointer_on_a_mark_shows_its_figures() -> None:
    points = [("<a>", "teacher", 2.0, 0.9), ("b", "deployed", 0.5, 0.85)]
    drawing = plots.against_latency(points, {0, 1}, "accuracy", "ms a text")
    titles = re.findall(r"<title>(.*?)</title>", drawing)
    assert titles == [
        "&lt;a&gt;: accuracy 0.9000, 2 ms a text", "b: accuracy 0.8500, 0.5 ms a text",
    ]  # fmt: skip
    assert "var(--deployed)" in drawing


def test_labels_of_points_stand_apart() -> None:
    """Of a crowd the front has its labels first; a point without a free place has none."""
    crowd = [(f"model number {n}", "student", 1 + n / 500, 0.8 + n / 5000) for n in range(40)]
    points = [*crowd, ("teacher", "teacher", 9.0, 0.9), ("one", "deployed", 1.0, 0.81)]
    drawing = plots.against_latency(points, {40, 41}, "accuracy", "ms a text")
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    assert {"teacher", "one"} <= set(shown)
    assert 0 < sum(text.startswith("model number") for text in shown) < 40
    assert "model number 39 1.08" in drawing  # said in words all the same


@pytest.mark.parametrize("costs", [(2.1, 9.7), (0.4, 31.0), (1.0, 1.5)])
def test_no_axis_shows_tex_as_it_is_typed(costs: tuple[float, float]) -> None:
    points = [
        (who, who, cost, 0.9) for who, cost in zip(("teacher", "student"), costs, strict=True)
    ]
    drawing = plots.against_latency(points, {1}, "accuracy", "ms a text")
    curve = plots.losses("task", {"loss": [(10, costs[0]), (20, costs[1])]})
    for ticks in (re.findall(r"<text[^>]*>([^<]*)</text>", svg) for svg in (drawing, curve)):
        assert len(ticks) > 3
        assert not any("$" in tick or "\\" in tick for tick in ticks)


def test_the_pareto_front_holds_what_nothing_beats() -> None:
    points = [(10.0, 0.9), (5.0, 0.8), (6.0, 0.7), (5.0, 0.75), (1.0, 0.1), (10.0, 0.9)]
    assert pareto(points) == {0, 1, 4, 5}


def judgement(kind: str, labels: str, truth: list[Any], **logits: list[Any]) -> Predictions:
    rows = {who: [np.array(row, np.float32) for row in rows] for who, rows in logits.items()}
    texts = [f"text {i}" for i in range(len(truth))]
    words = [[f"w{k}" for k in range(len(row))] for row in truth] if kind == "tokens" else []
    known = [np.array(row) for row in truth]
    return Predictions(
        kind=kind,
        labels=tuple(labels.split()),
        texts=texts,
        words=words,
        truth=known,
        logits=rows,
        total=len(texts),
    )


def test_answers_that_share_nothing_are_ln_2_apart_and_come_first() -> None:
    sure = [60, -60]
    found = judgement(
        "classification", "a b", [0, 0, 0],
        teacher=[sure, sure, [0, 0]], student=[sure, [-60, 60], [1, 0]],
    )  # fmt: skip
    assert analysis._divergence(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(
        math.log(2)
    )
    first, second = analysis.disagreements(found)  # the equal pair is not there
    assert (first.text, second.text) == ("text 1", "text 2")
    assert first.answers == {"teacher": "a 100%", "student": "b 100%"}
    assert first.right == {"teacher": True, "student": False}


def test_texts_are_lost_won_or_wrong_before_and_after_and_the_surest_errors_come_first() -> None:
    right, wrong, sure = [2, 0], [0, 2], [0, 9]
    found = judgement(
        "classification", "a b", [0, 0, 0, 0, 0],
        teacher=[right, right, wrong, wrong, right], student=[wrong, sure, right, sure, right],
    )  # fmt: skip
    rows = analysis.outcomes(found)
    assert [(row.kind, row.shown.text) for row in rows] == [
        ("lost", "text 1"), ("lost", "text 0"), ("won", "text 2"), ("both wrong", "text 3"),
    ]  # fmt: skip
    assert rows[1].sure == pytest.approx(1 / (1 + math.exp(-2)))
    assert rows[0].shown.answers["student"] == "b 100%"
    section = errors.outcomes(found)
    assert section is not None
    assert "Of 5 texts the teacher alone answers 2 rightly (lost), the student alone 1 (won)" in (
        section.lead
    )
    content = base64.b64decode(section.download.partition("base64,")[2]).decode()
    told = list(csv.reader(io.StringIO(content)))
    assert [row[:2] for row in told] == [
        ["outcome", "text"], *([row.kind, row.shown.text] for row in rows),
    ]  # fmt: skip
    assert section.filters[0] == (0, ("both wrong", "lost", "won"))


def test_what_is_deployed_is_what_is_lost_and_won() -> None:
    right, wrong = [2, 0], [0, 2]
    found = judgement("classification", "a b", [0], teacher=[right], student=[right])
    assert analysis.outcomes(found) == []
    assert errors.outcomes(found) is None
    quantised = replace(found, more={"deployed": [np.array(wrong, np.float32)]})
    [row] = analysis.outcomes(quantised)
    assert (row.kind, row.shown.answers) == ("lost", {"teacher": "a 88%", "deployed": "b 88%"})


def test_a_text_of_several_labels_or_tags_is_right_when_all_are() -> None:
    several = judgement("multilabel", "a b", [[1, 0], [1, 1]],
                        teacher=[[5, -5], [5, 5]], student=[[5, -5], [5, -5]])  # fmt: skip
    assert [(row.kind, row.shown.text) for row in analysis.outcomes(several)] == [
        ("lost", "text 1")
    ]
    eye = np.eye(3)
    tags = judgement(
        "tokens", "O B-x I-x", [[1, 2, 0], [0, 1]],
        teacher=[eye[[1, 2, 0]], eye[[0, 1]]], student=[eye[[1, 0, 0]], eye[[0, 1]]],
    )  # fmt: skip
    [row] = analysis.outcomes(tags)
    assert (row.kind, row.shown.answers["student"]) == ("lost", "w1: O")
    scores = judgement("regression", "score", [1.0], teacher=[[1.0]], student=[[3.0]])
    assert analysis.outcomes(scores) == []


def test_labels_that_are_cut_stay_apart() -> None:
    long = ["account_settings_change_email", "account_settings_change_phone", "short"]
    cut = plots.apart(long, 18)
    assert cut == ["account_s…ge_email", "account_s…ge_phone", "short"]
    assert plots.apart(["x" * 40, "x" * 41], 18)[0] != plots.apart(["x" * 40, "x" * 41], 18)[1]
    assert plots.apart(["a" * 30], 18) == ["a" * 17 + "…"]


def test_the_top_of_the_page_says_what_was_gained_and_lost_and_which_texts(
    home: Path, report: str
) -> None:
    found = Reader(report)
    for question in ("What did I gain?", "What did I lose?", "Which texts got worse?"):
        assert found.text.count(question) == 1
    links = [str(a["href"])[1:] for tag, a in found.tags if tag == "a" and "href" in a]
    sections = [a["aria-labelledby"] for tag, a in found.tags if tag == "article"]
    assert set(sections) <= set(links)  # the navigation names every section


def test_the_answers_of_a_run_stand_between_its_figures_and_the_next_run(
    home: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(home / "run", tmp_path / "again")
    text = page.make([home / "run", again], tmp_path / "both.html").read_text()
    parts = re.findall('<dl class="(tiles|answers)', text)
    assert parts == ["tiles", "answers"] * 2


def test_temperature_softens_as_by_hand() -> None:
    logits = np.array([0.0, math.log(81)], np.float32)
    for t, odds in ((1, 81), (2, 9), (4, 3)):
        assert analysis.softened(logits, t) == pytest.approx([1 / (1 + odds), odds / (1 + odds)])
    assert analysis.softened(logits, 2, several=True) == pytest.approx([0.5, 0.9])


def test_of_many_classes_the_worst_pairs_are_told_with_both_counts() -> None:
    names = " ".join(f"c{i}" for i in range(30))
    eye = np.eye(30)
    # of class 3 the student takes half for 4, the teacher none; of class 1 each a quarter for 2
    truth = [3, 3, 1, 1, 1, 1]
    found = judgement(
        "classification", names, truth,
        teacher=eye[[3, 3, 1, 1, 1, 2]], student=eye[[3, 4, 1, 1, 2, 1]],
    )  # fmt: skip
    section = errors.errors(found)
    assert section is not None
    assert section.rows == (("c3", "c4", "0 of 2", "1 of 2"), ("c1", "c2", "1 of 4", "1 of 4"))


def test_spans_are_counted_by_kind_and_differing_words_alone_are_shown() -> None:
    eye = np.eye(3)
    found = judgement(
        "tokens", "O B-x I-x", [[1, 2, 0], [0, 1]],
        teacher=[eye[[1, 2, 0]], eye[[0, 1]]], student=[eye[[1, 0, 0]], eye[[0, 1]]],
    )  # fmt: skip
    [kind] = analysis.class_scores(found)
    assert (kind.name, kind.support) == ("x", 2)
    assert kind.f1 == pytest.approx({"teacher": 1, "student": 0.5})
    [row] = analysis.disagreements(found)
    assert (row.truth, row.answers["student"]) == ("w1: I-x", "w1: O")
    shown = errors.by_class(found)
    assert shown is not None
    assert "50 % of the teacher's F1" in shown.lead


def test_scores_and_several_labels_have_their_own_views() -> None:
    scores = judgement("regression", "score", [1.0, 2.0, 4.0],
                       teacher=[[1.0], [2.0], [4.5]], student=[[1.0], [3.0], [4.0]])  # fmt: skip
    assert analysis.disagreements(scores)[0].answers == {"teacher": "2.00", "student": "3.00"}
    assert errors.by_class(scores) is None
    scatter = errors.errors(scores)
    assert scatter is not None
    assert len(scatter.figures[0][0]) == 2
    several = judgement("multilabel", "a b", [[1, 0], [1, 1]],
                        teacher=[[5, -5], [5, 5]], student=[[5, -5], [5, -5]])  # fmt: skip
    kinds = {row.name: row.f1 for row in analysis.class_scores(several)}
    assert kinds == {"a": {"teacher": 1, "student": 1}, "b": {"teacher": 1, "student": 0}}
    [row] = analysis.disagreements(several)
    assert (row.truth, row.answers["student"]) == ("a, b", "a")


def test_the_card_is_the_hubs_and_has_the_measured_figures(copied: Path) -> None:
    place = model_card.write(copied)
    assert place == copied / "student/README.md"
    found = ModelCard.load(place)
    data, metrics = found.data, json.loads((copied / "metrics.json").read_text())
    assert data.pipeline_tag == "text-classification"
    assert data.library_name == "transformers"
    assert "knowledge-distillation" in data.tags
    assert data.license is None
    assert data.base_model is None  # the teacher is a folder, and no name on the hub
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    assert values == {name: round(value, 4) for name, value in metrics["student"].items()}
    assert phrases.read(metrics)[0].share in found.text
    assert "What differs from the paper" in found.text


def test_names_with_markup_are_shown_in_the_card_as_they_are(copied: Path) -> None:
    bad = "<img src=x onerror=alert(1)> [a](http://b) `c` | \\ \n---\nlicense: mit\n---\n# d"
    named = copied.with_name("<img onerror=1> [x](y) ```")
    copied.rename(named)
    recipe, environment = named / "recipe.yaml", named / "environment.json"
    fields = yaml.safe_load(recipe.read_text())
    fields |= {"name": bad, "paper": bad, "deviations": [bad]}
    fields["stages"][-1]["name"] = bad
    recipe.write_text(yaml.safe_dump(fields))
    facts = json.loads(environment.read_text())
    facts["command"] = ["alembert", "distill", "```\n<b>"]
    facts["versions"] = {"torch": bad}
    facts["arguments"]["files"]["task"] = facts["arguments"]["files"]["evaluation"] = f"d/{bad}"
    environment.write_text(json.dumps(facts))
    place = model_card.write(named)
    assert place is not None
    text = place.read_text()
    card = ModelCard(text)
    assert "license" not in card.data.to_dict()
    assert bad.split("\n")[0] in card.data.tags[-1]  # the YAML holds it whole
    body = re.sub(
        r"(?s)(`{4,})bash\n.*?\n\1|(`{2,})(?!`)[^\n]*?(?<!`)\2(?!`)", "", card.text
    )  # less its code
    assert body != card.text
    body = body.replace(model_card.MARKER, "")
    assert "<" not in body
    assert not re.search(r"(?<!\\)\[", body)
    assert not re.search(r"^# d", body, re.M)
    assert body.count("&lt;img") >= 5


def test_a_teachers_card_with_a_bomb_of_aliases_names_no_language(home: Path, copied: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    bomb = "\n".join(["language: en", *lines])
    assert _card_of(home, copied, bomb).language is None


def test_a_card_that_somebody_wrote_is_left_alone(news: list[str], copied: Path) -> None:
    mine = copied / "student/README.md"
    mine.write_text("my own words")
    assert model_card.write(copied) is None
    assert mine.read_text() == "my own words"
    assert "left as it is" in news[0]


def test_a_run_named_twice_has_its_card_named_once(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "make", lambda *given: copied / "report.html")
    deploy.report([copied, Path(f"{copied}/")])
    assert capsys.readouterr().out.count("README.md") == 1


def _card_of(home: Path, copied: Path, head: str) -> Any:
    """What the student's card says where the teacher's begins so."""
    theirs = home / "teacher/README.md"
    theirs.write_text(f"---\n{head}\n---\nEin Lehrer\n")
    place = model_card.write(copied)
    theirs.unlink()
    assert place is not None
    return ModelCard.load(place).data


def test_a_teachers_card_that_is_no_yaml_names_no_language(home: Path, copied: Path) -> None:
    assert _card_of(home, copied, "license: [mit\n foo: : bar").language is None


def test_a_language_that_the_teachers_card_names_is_the_students(home: Path, copied: Path) -> None:
    data = _card_of(home, copied, "language: de\nlicense: mit")
    assert data.language == "de"
    assert data.license is None


@pytest.mark.slow
def test_a_page_of_two_runs_gives_each_its_own_rows_of_a_benchmark_of_both(
    home: Path, copied: Path
) -> None:
    """`alembert bench teacher student tiny --json tiny/bench.json`, where student/ is a run too."""
    other, mine = copied.with_name("student"), copied.with_name("tiny")
    shutil.copytree(copied, other)
    copied.rename(mine)

    def row(model: str, ms: float, **times: float) -> dict[str, Any]:
        ratios = [{"to": f"{home / 'teacher'}:{to}", "value": x, "same": False}
                  for to, x in times.items()]  # fmt: skip
        spent = {"latency_ms": {"median": ms}, "cpu_ms": {"median": ms}, "ratios": ratios}
        return {"model": model, "backend": "torch", "threads": 1, "batch": 1, **spent}

    rows = [row(str(home / "teacher"), 56.0), row("student", 7.0, torch=8.0),
            row("tiny", 2.0, torch=28.0)]  # fmt: skip
    for folder in (other, mine):
        (folder / "bench.json").write_text(json.dumps({"rows": rows}))
    runs = [RunRecord(folder) for folder in (other, mine)]
    names = comparison.names_of(runs)
    found = {e.name: e.faster for e in comparison.all_entries(runs, names) if e.role == "student"}
    assert found == {"student": 8.0, "tiny": 28.0}
    text = Reader(made(other, mine, out=mine / "both.html")).text
    assert "28.0\u00d7" in text


FP32, INT8 = "95 % (90 to 100 %, n = 200)", "90 % (85 to 95 %, n = 200)"


def deployed_run(copied: Path, int8: float = 28.0) -> None:
    """Has a run deployed as int8, timed and judged as that, with its teacher in three engines."""

    def row(model: str, backend: str, ms: float, **times: float) -> dict[str, Any]:
        ratios = [{"to": f"teacher:{to}", "value": x, "same": False} for to, x in times.items()]
        return {"model": model, "backend": backend, "threads": 1, "batch": 1, "length": 13,
                "size_mb": 100 / ms, "latency_ms": {"median": ms}, "cpu_ms": {"median": ms},
                "ratios": ratios}  # fmt: skip

    rows = [
        row("teacher", "torch", 56.0), row("teacher", "onnx", 28.0, torch=2.0),
        row("teacher", "int8", 14.0, torch=4.0), row("student", "torch", 7.0, torch=8.0),
        row("student", "onnx", 3.5, torch=16.0),
        row("student", "int8", 2.0, torch=int8, onnx=14.0, int8=7.0),
    ]  # fmt: skip
    content = {"rows": rows, "hardware": {"cpu": "Pentium <i>"}}
    (copied / "bench.json").write_text(json.dumps(content))
    metrics = json.loads((copied / "metrics.json").read_text())
    metrics |= {"teacher": {"accuracy": 0.8}, "student": {"accuracy": 0.76}, "retention": 0.95}
    metrics |= {
        "deployed": {"backend": "int8", "accuracy": 0.72},
        "teacher_int8": {"accuracy": 0.79},
        "n": 200,
        "headline": "accuracy",
        "intervals": {
            "retention": [0.901, 0.999], "difference": [-0.08, -0.001],
            "of_deployed": {"retention": [0.85, 0.95], "difference": [-0.12, -0.04]},
        },
    }  # fmt: skip
    (copied / "metrics.json").write_text(json.dumps(metrics))
    measured_by_export(copied, 0.8, 0.6)


def test_the_headline_speaks_of_what_is_deployed_and_names_what_it_stands_beside(
    copied: Path,
) -> None:
    deployed_run(copied)
    run = RunRecord(copied)
    rows = {(e.role, e.backend): e for e in comparison.entries(run, "x")}
    assert list(rows) == [
        ("teacher", "torch"), ("teacher", "onnx"), ("teacher", "int8"), ("student", "torch"),
        ("student", "onnx"), ("student", "int8"),
    ]  # fmt: skip
    int8 = rows["student", "int8"]
    assert (int8.metric, int8.retention, int8.faster) == (0.72, pytest.approx(0.9), 28.0)
    assert int8.against == (("onnx", 14.0), ("int8", 7.0))
    assert (int8.deployed, int8.starred) == (True, False)
    assert rows["teacher", "int8"].metric == 0.79
    text = Reader(made(copied)).text
    for shown in (
        "28.0\u00d7", "faster, deployed as int8", "56 → 2 ms a text",
        "28.0\u00d7 as fast as the teacher in torch fp32, 14.0\u00d7 as in ONNX fp32, "
        "7.0\u00d7 as in int8; the student in torch fp32 8.0\u00d7",
        "90 %", "kept, deployed as int8",
        "accuracy 0.800 → 0.720; 90 % (85 to 95 %, n = 200); in fp32 0.760, kept 95 % (90 to 100 %",
        "one thread, one text at a time, median 13 tokens; Pentium <i>", "int8, deployed",
    ):  # fmt: skip
        assert shown in text, shown
    assert comparison.FOOTNOTE not in text
    line = closing.closing(copied).splitlines()
    assert line[0].endswith(f"student: made: accuracy 0.7600, the teacher 0.8000, kept {FP32}")
    assert line[1] == (
        f"deployed as int8: 1.5 MB; accuracy 0.7200; kept {INT8}; 2 ms a text; 28.0\u00d7 as fast "
        "as the teacher in torch fp32, 14.0\u00d7 as in ONNX fp32, 7.0\u00d7 as in int8 (CPU time "
        "from a text to its answer, one thread, one text at a time, median 13 tokens; Pentium <i>)"
    )
    card = model_card.write(copied)
    assert card is not None
    assert f"Deployed as int8: 1.5 MB; accuracy 0.7200; kept {INT8}" in card.read_text()
    assert "Pentium &lt;i&gt;" in card.read_text()


def test_a_page_of_two_runs_has_the_headline_of_each_as_it_is_deployed(copied: Path) -> None:
    other = copied.with_name("other")
    shutil.copytree(copied, other)
    deployed_run(copied)
    deployed_run(other, int8=31.0)
    runs = {run.name: run for run in map(RunRecord, (copied, other))}
    rows = comparison.all_entries(list(runs.values()), list(runs))
    tiles = {name: [tile[0] for tile in found] for name, found, _ in page._tiles(rows, "", runs)}
    assert tiles["run"][1:] == ["28.0\u00d7", "90 %"]
    assert tiles["other"][1:] == ["31.0\u00d7", "90 %"]
    assert sum(row.role == "teacher" for row in rows) == 3
    text = Reader(made(copied, other, out=copied / "both.html")).text
    assert "28.0\u00d7" in text
    assert "31.0\u00d7" in text


def test_an_old_run_that_was_exported_later_keeps_its_headline_in_torch(copied: Path) -> None:
    measured_by_export(copied, 0.8, 0.6)
    run = RunRecord(copied)
    assert not any(row.deployed for row in comparison.entries(run, "x"))
    assert closing.describe_deployed(run, comparison.entries(run, "x")) == ""
    lines = closing.closing(copied).splitlines()
    assert lines[1:] == [run.metrics["verdict"]]
    assert "deployed" not in lines[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"student": pa.array([[0.0, np.nan]] * 2)}, "row 1: NaN or infinity in 'student'"),
        ({"student": pa.array([[0.0]] * 2)}, "row 1: 1 values in 'student' for 2"),
        ({"student": pa.array(["a", "b"])}, "string where lists of numbers are expected"),
        ({"student": None}, "columns are missing"),
        ({"label": pa.array([[0], [2]])}, "a label is no number of a class"),
        ({"text": pa.array(["a", None])}, "a text is missing"),
    ],
)
def test_predictions_of_another_shape_are_refused(
    changes: dict[str, pa.Array | None], reason: str, tmp_path: Path
) -> None:
    logits = pa.array([[0.5, 1.0]] * 2)
    columns = {"text": pa.array(["a", "b"]), "label": pa.array([[0], [1]]), "teacher": logits}
    facts = json.dumps({"kind": "classification", "labels": ["x", "y"], "total": 2})
    for more in ({}, changes):
        given = columns | {"student": logits} | more
        table = pa.table({name: values for name, values in given.items() if values is not None})
        written = table.replace_schema_metadata({"alembert": facts})
        pq.write_table(written, tmp_path / predictions.FILE)
        if not more:
            assert predictions.load(tmp_path) is not None
            continue
        with pytest.raises(UserError, match=re.escape(f"cannot be read ({reason}")):
            predictions.load(tmp_path)


def test_a_front_without_a_point_and_a_term_with_an_underscore_draw_no_warning() -> None:
    assert "Pareto" in plots.against_latency([("a", "student", 1.0, 0.5)], set(), "f1", "ms")
    assert "_own" in plots.losses("task", {"_own": [(1, 0.5), (2, 0.25)]})


def test_lost_texts_are_chosen_by_the_columns_of_slice_and_these_are_kept_on_disk(
    tmp_path: Path,
) -> None:
    found = judgement(
        "classification", "a b", [0, 0, 0],
        teacher=[[2, 0]] * 3, student=[[0, 2], [2, 0], [0, 3]],
    )  # fmt: skip
    predictions.save(tmp_path, replace(found, slices={"country": ["nl", "de", "be"]}))
    read = predictions.load(tmp_path)
    assert read is not None
    assert read.slices == {"country": ["nl", "de", "be"]}
    section = errors.outcomes(read)
    assert section is not None
    assert section.head[-1] == "country"
    assert [row[-1] for row in section.rows] == ["be", "nl"]
    assert section.filters[-1] == (len(section.head) - 1, ("be", "nl"))


def test_charts_of_several_runs_stand_side_by_side() -> None:
    def part(key: str, lead: str, *captions: str) -> errors.Section:
        figures = tuple(((f"<svg>{lead}</svg>",), caption) for caption in captions)
        return errors.Section(key=key, title=key, lead=lead, figures=figures)

    runs = {
        "first": [part("loss", "terms", "stage 1", "stage 2"), part("classes", "keeps 97 %", "")],
        "second": [part("loss", "terms", "stage 1"), part("classes", "keeps 99 %", ""),
                   part("attention", "a row", "")],
    }  # fmt: skip
    loss, classes = comparison.charts_of(runs)
    assert (loss.key, loss.lead) == ("loss", "terms")
    assert loss.figures == (
        (("<svg>terms</svg>",) * 2, "first. stage 1, then stage 2"),
        (("<svg>terms</svg>",), "second. stage 1"),
    )
    assert (classes.key, classes.lead) == ("classes", "")
    assert [caption for _, caption in classes.figures] == [
        "first. keeps 97 %", "second. keeps 99 %",
    ]  # fmt: skip
    assert comparison.charts_of({"first": runs["first"]}) == []


def test_a_model_card_is_written_where_the_libraries_of_the_page_are_not() -> None:
    for path in Path(model_card.__file__).parent.glob("*.py"):
        for line in ast.parse(path.read_text()).body:  # those that run when the card is imported
            names = [alias.name for alias in line.names] if isinstance(line, ast.Import) else []
            names += [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"matplotlib", "jinja2"}, path
