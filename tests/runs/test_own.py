"""A term, a metric and a callback in a file outside the package: trained, killed, resumed, shown.

The file is examples/own.py. It lies in the folder where the command is started, as a user's does.
"""

import html
import importlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from support.runs import saved, task_file
from transformers import BertTokenizerFast

import alembert
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import to_yaml
from alembert.search.tune import metric_of

OWN = Path(__file__).parents[2] / "examples" / "own.py"
# an installed command, whose folder is on sys.path in place of the working folder
COMMAND = """
from alembert.training import loop
loop.SAVE_SECONDS = 0.05  # so that a short run has many checkpoints
from alembert.cli.main import main
main()
"""
STEPS = 240
OPTIONS = (
    "distill mine.yaml --teacher teacher --train train.csv --eval test.csv --metric "
    "own:worst_recall --callback own:Watch --out"
)


@pytest.fixture
def place(tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a teacher, texts, own.py and a recipe that has its term."""
    saved(tmp_path / "teacher", tokenizer, "classification")
    for seed, name in enumerate(("train", "test")):
        task_file(tmp_path / f"{name}.csv", rows=120, seed=seed)
    shutil.copy(OWN, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "alembert").write_text(COMMAND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    objective = "[{kind: own:Contrastive, temperature: 0.5}, {kind: SoftLabels}]"
    settings = {
        "stages.task.objective": objective, "stages.task.steps": f"{STEPS}",
        "stages.task.batch_size": "4", "stages.task.max_length": "32",
        "stages.task.evaluations": "3", "stages.general": "null",
    }  # fmt: skip
    recipe = with_settings(recipe_of("distilbert", load_config("teacher")), settings)
    Path("mine.yaml").write_text(to_yaml(recipe))
    yield tmp_path
    sys.modules.pop("own", None)


def start(out: str) -> subprocess.Popen[str]:
    command = [sys.executable, "bin/alembert", *OPTIONS.split(), out]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return out


def test_the_file_has_at_most_sixty_lines() -> None:
    assert len(OWN.read_text().splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_is_trained_killed_resumed_bit_for_bit_and_shown(place: Path) -> None:
    told = f"task: {STEPS} steps, the loss was highest at step "
    whole = finish(start("whole"))
    assert told in whole
    log = place / "killed/stages/01-task/log.jsonl"
    for times in (1, 2):
        process = start("killed")
        begun = log.read_text().count('"loss"') if log.is_file() else 0
        while process.poll() is None and (
            not log.is_file() or log.read_text().count('"loss"') < begun + 3
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it was over before kill {times}"
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert 0 < max(steps) < STEPS
    killed = finish(start("killed"))
    assert re.search(f"{told}.*", killed)[0] == re.search(f"{told}.*", whole)[0]
    weights = [(place / run / "student/model.safetensors").read_bytes()
               for run in ("whole", "killed")]  # fmt: skip
    assert weights[0] == weights[1]
    facts = [json.loads((place / run / "stages/01-task/facts.json").read_text())
             for run in ("whole", "killed")]  # fmt: skip
    assert facts[0]["callbacks"] == facts[1]["callbacks"]
    assert facts[1]["callbacks"][0]["steps"] == STEPS

    metrics = json.loads((place / "killed/metrics.json").read_text())
    assert metrics["metric"] == "own:worst_recall"
    student, teacher = (metrics[role]["own:worst_recall"] for role in ("student", "teacher"))
    assert metrics.get("retention") == (student / teacher if teacher else None)
    page = html.unescape((place / "killed/report.html").read_text())
    card = (place / "killed/student/README.md").read_text()
    for shown in (page, card):
        assert "1 own:Contrastive, 1 SoftLabels" in shown
        assert "own:worst_recall" in shown
        assert "Callbacks: own:Watch." in shown


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_the_same_from_python_with_the_objects(capsys: pytest.CaptureFixture[str]) -> None:
    from own import Contrastive, Watch

    given = recipe_of("distilbert", load_config("teacher"))
    task = alembert.Stage(
        name="task", data="task", objective=(Contrastive(temperature=0.5),), steps=4,
        learning_rate=1e-3, batch_size=4, max_length=32,
    )  # fmt: skip
    recipe = alembert.Recipe(name="mine", student=given.student, init=given.init, stages=(task,))
    told = Watch()
    model = alembert.distill(
        "teacher", recipe, out="run", train="train.csv", eval="test.csv", callbacks=[told],
        metric="own:worst_recall", export=False,
    )  # fmt: skip
    assert told.steps == 4
    assert model.metrics["metric"] == "own:worst_recall"
    assert "kind: own:Contrastive" in Path("run/recipe.yaml").read_text()
    assert "metric: own:worst_recall" in Path("run/recipe.yaml").read_text()
    # the recipe of the run's folder is the whole of it, the metric too
    again = alembert.distill(
        "teacher",
        "run/recipe.yaml",
        out="again",
        train="train.csv",
        eval="test.csv",
        export=False,
    )
    assert again.metrics["student"] == model.metrics["student"]
    assert "the loss was highest" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"run: arguments\.callbacks\.0 is 'own:Watch'"):
        alembert.distill("teacher", recipe, out="run", train="train.csv", eval="test.csv",
                         metric="own:worst_recall")  # fmt: skip


@pytest.mark.usefixtures("place")
def test_changed_code_of_a_term_is_refused_when_the_run_goes_on() -> None:
    given = {"train": "train.csv", "out": "run", "settings": {"stages.task.steps": 2},
             "export": False}  # fmt: skip
    alembert.distill("teacher", "mine.yaml", **given)
    text = Path("own.py").read_text()
    Path("own.py").write_text(text.replace("/ self.temperature", "/ 9"))
    with pytest.raises(UserError, match=r"^module own: its code is not the code that the run in"):
        alembert.distill("teacher", "mine.yaml", **given)
    Path("own.py").write_text(text)
    alembert.distill("teacher", "mine.yaml", **given)


@pytest.mark.usefixtures("place")
def test_a_term_that_never_trained_may_be_mended() -> None:
    given = {"train": "train.csv", "out": "run", "settings": {"stages.task.steps": 2},
             "export": False}  # fmt: skip
    text = Path("own.py").read_text()
    Path("own.py").write_text(text.replace("/ self.temperature", "/ self.temprature"))
    importlib.reload(importlib.import_module("own"))
    with pytest.raises(UserError, match=r"^term own:Contrastive \(.*own.py, line \d+\): Attrib"):
        alembert.distill("teacher", "mine.yaml", **given)
    Path("own.py").write_text(text)
    importlib.reload(importlib.import_module("own"))
    alembert.distill("teacher", "mine.yaml", **given)


@pytest.mark.usefixtures("place")
def test_a_term_of_a_notebook_counts_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    text = Path("own.py").read_text()

    def run_cell(source: str) -> None:
        exec(compile(source, "<cell>", "exec"), vars(main))
        recipe = alembert.Recipe.model_validate(
            yaml.safe_load(Path("mine.yaml").read_text().replace("own:", "__main__:"))
        )
        alembert.distill("teacher", recipe, train="train.csv", out="run", export=False,
                         settings={"stages.task.steps": 2})  # fmt: skip

    run_cell(text)
    run_cell("# a comment\n" + text)
    with pytest.raises(UserError, match=r"^module __main__:Contrastive: its code is not the code"):
        run_cell(text.replace("/ self.temperature", "/ 9"))


@pytest.mark.usefixtures("place")
def test_a_stage_stops_and_tune_chooses_by_an_own_metric() -> None:
    recipe, options = "distilbert", {"train": "train.csv", "max_length": 32}
    trials = alembert.api.tune(
        "teacher", recipe, ["stages.task.learning_rate=1e-3,1e-5"], out="tuned",
        settings={"stages.task.steps": 8, "stages.task.evaluations": 4},
        metric="own:worst_recall", **options,
    )  # fmt: skip
    assert metric_of(Path("tuned")) == "own:worst_recall"
    log = Path("tuned") / trials[0].folder / "stages/01-task/log.jsonl"
    seen = [row["valid_own:worst_recall"] for row in map(json.loads, log.read_text().splitlines())
            if "valid_own:worst_recall" in row]  # fmt: skip
    assert len(seen) == 4
    assert trials[0].value in seen
    flat = Path("flat.py")
    flat.write_text("def constant(logits, labels):\n    return 7\n")
    settings = {"stages.linear": None, "stages.task.epochs": 40, "stages.task.patience": 3,
                "stages.task.learning_rate": 1e-7, "stages.task.evaluations": 40}  # fmt: skip
    made = alembert.finetune("teacher", "flat", train="train.csv", metric="flat:constant",
                             max_length=32, settings=settings)  # fmt: skip
    facts = json.loads((made.folder / "stages/01-task/facts.json").read_text())
    assert facts["best"] == 7
    assert facts["stopped"] == "3 validations without a better flat:constant"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"metric": "own:best"}, "--metric own:best: own has no best: fix the name"),
        ({"metric": "acuracy"}, "metric acuracy: not for classification; there are accuracy, "),
        ({"metric": "own:worst_recall", "train": None}, "--metric is for the task stages"),
        (
            {"callbacks": ["own:Contrastive"]},
            "own:Contrastive: is no class derived from alembert.C",
        ),
        ({"track": ["tensorbord"]}, "--track tensorbord: choose one of tensorboard, wandb, mlflow"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_folder_is_made(
    given: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        alembert.distill("teacher", out="run", **({"train": "train.csv"} | given))
    assert {path.name for path in Path("run").glob("*")} <= {".lock"}
