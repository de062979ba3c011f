"""The pages keep their word: what README.md and docs/ tell a reader to type, runs.

The ```python blocks of README.md and docs/python.md are run as one program each.
A page's ```bash blocks are run from top to bottom in one temporary folder, the alembert commands
as they are written. What the pages take for granted lies there in small: bert-base-uncased/ (width
16, with a masked-word head; 12 layers where a command counts them, else 4),
distilbert-base-uncased/ (half of them), teacher/ (the first with a task head), train.csv,
valid.csv, test.csv, unlabelled.csv, corpus.txt, tickets.csv (columns body and queue), glue/RTE,
and own.py and questions.json of examples/.
A name that a page makes itself with --out is not laid out before. A line that ends in "# refused"
has to end with exit code 2 and one line on stderr. `make` and `pip` lines are checked and not run;
`cat` has to find its files. `alembert serve ... &` runs beside the lines below it, at a free port;
`curl` has to get an answer that is no error.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from support.command_line import command
from support.runs import corpus_file, saved, task_file
from transformers import BertTokenizerFast

from alembert import Prediction
from alembert.bench import bench, interleaved
from alembert.cli import main
from alembert.export import deployed
from alembert.runs.stages import training
from alembert.search import halving
from alembert.search.latency import Latency
from alembert.training.monitor import Length

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# several.md loads torch in each process; the others make many runs and exports
SLOW = {
    "augment.md", "baselines.md", "bench.md", "cache.md", "corpus.md", "data.md", "deployed.md",
    "distilbert.md", "export.md", "finetune.md", "house.md", "long.md", "minilm.md",
    "mobilebert.md", "own.md", "predict.md", "questions.md", "recipes.md", "report.md", "runs.md",
    "search.md", "serve.md", "several.md", "static.md", "teachers.md", "tinybert.md", "trim.md",
    "tune.md", "uncertainty.md",
}  # fmt: skip
STEPS = 2
LAUNCHERS = {
    "torchrun": "torch.distributed.run",
    "accelerate": "accelerate.commands.accelerate_cli",
}


def lines_of(page: Path) -> list[str]:
    """The command lines of a page's bash blocks; a line that ends in a backslash goes on below."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def verbs() -> dict[str, typer.core.TyperCommand]:
    """Every command of the command line by the words that call it: "recipes show"."""

    def walk(
        group: typer.core.TyperGroup, path: str
    ) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for name, verb in group.commands.items():
            yield f"{path}{name}", verb
            if hasattr(verb, "commands"):
                yield from walk(verb, f"{path}{name} ")

    return dict(walk(typer.main.get_command(main.app), ""))


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What makes the pages' commands quick: no stage takes more than two steps.

    And `alembert quickstart` starts from the small bert-base-uncased, of a search two candidates
    are trained, whose latencies are made up, and a benchmark goes the fewest rounds on one core.
    """
    monkeypatch.setattr(training, "length_of", lambda *_: Length(STEPS, STEPS))
    monkeypatch.setattr("alembert.api.first_run.builtin_teacher", lambda: "bert-base-uncased")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    promising, made_up = halving.promising, (Latency(0.1, 1.0, 1.0), True)
    monkeypatch.setattr(halving, "promising", lambda ms, _, fastest: promising(ms, 2, fastest))
    monkeypatch.setattr("alembert.search.phases.latency_of", lambda *_: made_up)
    measure = bench.measure
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(bench, "measure", lambda *given: measure(*given[:2], 0.01))
    monkeypatch.setattr(interleaved, "MOST", interleaved.FEWEST)


def lay_out(place: Path, tokenizer: BertTokenizerFast, commands: str) -> None:
    """What the pages take for granted, less what the page makes."""
    layers = 12 if re.search("layers|tinybert6", commands) else 4
    body = {"layers": layers, "max_position_embeddings": 512}
    saved(place / "bert-base-uncased", tokenizer, **body)
    half = body | {"layers": layers // 2}
    saved(place / "distilbert-base-uncased", tokenizer, kind="distilbert", **half)
    if "teacher" not in re.findall(r"--out (\S+)", commands):
        saved(place / "teacher", tokenizer, "classification", **body)
    for seed, name in enumerate(("train", "valid", "test")):
        task_file(place / f"{name}.csv", seed=seed)
    task_file(place / "unlabelled.csv", seed=9, labelled=False)
    corpus_file(place / "corpus.txt")
    for name in ("own.py", "questions.json"):
        shutil.copy(ROOT / "examples" / name, place)
    tickets = Path(task_file(place / "tickets.csv", seed=4))
    tickets.write_text(tickets.read_text().replace("text,label", "body,queue", 1))
    (place / "glue" / "RTE").mkdir(parents=True)
    labels = ("entailment", "not_entailment")
    rows = [f"{i}\tthe film was good\tthe book is not bad\t{labels[i % 2]}" for i in range(40)]
    for name in ("train", "dev"):
        text = "\n".join(["index\tsentence1\tsentence2\tlabel", *rows])
        (place / "glue" / "RTE" / f"{name}.tsv").write_text(text + "\n")


@pytest.mark.usefixtures("shortened")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] * (page.name in SLOW))
        for page in PAGES
    ],
)
def test_every_command_on_a_page_runs(
    page: Path,
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = lines_of(page)
    lay_out(tmp_path, tokenizer, "\n".join(lines))
    monkeypatch.chdir(tmp_path)
    if "report.html" not in page.read_text(encoding="utf-8"):  # drawn where a page speaks of it
        monkeypatch.setattr("alembert.report.page.attempt", lambda *_: None)
    if not any(re.search("--no-export|alembert search", line) for line in lines):
        monkeypatch.setattr(deployed, "can_export", lambda: False)
    with ExitStack() as served:
        run_lines(page, lines, monkeypatch, capsys, served)


@pytest.mark.slow
@pytest.mark.usefixtures("shortened")
@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_the_python_of_a_page_runs(
    name: str, tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    lay_out(tmp_path, tokenizer, "--out teacher")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    assert isinstance(names["student"].predict("a dull one"), Prediction)


def run_lines(
    page: Path,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    served: ExitStack,
) -> None:
    port = ""
    for line in lines:
        first, *words = shlex.split(line, comments=True)
        if words[-1:] == ["&"]:
            port = served.enter_context(started(words[:-1]))
        elif first == "curl":
            done = subprocess.run(
                ["curl", "-f", *(word.replace(":8000", f":{port}") for word in words)],
                capture_output=True,
                check=False,
            )
            assert (done.returncode, bool(done.stdout)) == (0, True), line
        elif first == "alembert":
            run_alembert(words, line.endswith("# refused"), monkeypatch, capsys)
        elif first in LAUNCHERS:
            launcher = [sys.executable, "-m", LAUNCHERS[first], *words]
            assert subprocess.run(launcher, check=False).returncode == 0, line
        elif first == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M), line
        elif first == "pip":
            extras = {extra for word in words for extra in re.findall(r"\[(.*)\]", word)}
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert extras <= project["optional-dependencies"].keys(), line
        elif first == "cat":
            assert all(Path(word).is_file() for word in words), line
        else:
            pytest.fail(f"{page.name}: this test does not know what to do with: {line}")


@contextmanager
def started(words: list[str]) -> Iterator[str]:
    """A server as a process, at a free port, which it gives when it is up; stopped by a signal."""
    command = [sys.executable, "-m", "alembert", *words, "--port", "0", "--no-access-log"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    up = re.match(r"http://127.0.0.1:(\d+) is up", child.stderr.readline())
    assert up, shlex.join(words)
    asked = ["curl", "-sf", "--retry", "20", "--retry-all-errors", "--retry-delay", "1"]
    subprocess.run([*asked, f"localhost:{up[1]}/health"], check=True, capture_output=True)
    yield up[1]
    child.terminate()
    assert child.wait(20) == 0
    child.stderr.close()


def run_alembert(
    words: list[str],
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One command as `main` sees it; `> FILE` at its end takes what it says."""
    capsys.readouterr()
    words, to = (words[:-2], words[-1]) if ">" in words else (words, None)
    code = command(words, monkeypatch)
    said = capsys.readouterr()
    assert code == (2 if refused else 0), f"{shlex.join(words)}: {said.err}"
    if refused:
        assert said.err.startswith("alembert: ")
        assert said.err.count("\n") == 1
    if to is not None:
        Path(to).write_text(said.out, encoding="utf-8")


def test_every_verb_is_on_a_page() -> None:
    commands = "\n".join(line for page in PAGES for line in lines_of(page))
    assert [verb for verb in verbs() if f"alembert {verb}" not in commands] == []


@pytest.mark.parametrize("verb", verbs())
def test_the_help_of_every_verb_shows_one_example_that_the_verb_understands(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"{verb} --help", monkeypatch) == 0
    example = capsys.readouterr().out.rstrip().splitlines()[-1].strip()
    assert example.startswith(f"alembert {verb}")
    assert example == (verbs()[verb].epilog or "").strip("\b\n")  # on one line, ready to copy
    words = shlex.split(example.partition(" > ")[0])[1 + len(verb.split()) :]
    verbs()[verb].make_context(verb, words)


def test_every_page_is_short() -> None:
    most = {"README.md": 100, "log.md": 1000}
    long = {
        p.name: n for p in PAGES if (n := len(p.read_text().splitlines())) > most.get(p.name, 80)
    }
    assert long == {}


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), (
                f"{page.name}: {link}"
            )
