"""The verbs that train: finetune and distill. Nothing heavy is imported before one is called."""

from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.cli import options as o
from alembert.io.errors import UserError, leads


def finetune(
    model: Annotated[str, typer.Argument(help="model to fine-tune: folder or hub id")],
    out: o.Out,
    train: o.Train = None,
    valid: o.Valid = None,
    evaluation: o.Eval = None,
    corpus: o.CorpusFile = None,
    task: o.Glue = None,
    text: o.Text = None,
    text_pair: o.Pair = None,
    label: o.Label = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.Rate = None,
    max_length: o.Length = None,
    settings: o.Settings = None,
    seed: o.Seed = 0,
    precision: o.Precision = "auto",
) -> None:
    """Fine-tune a teacher on a task (--train) or by MLM (--corpus)."""
    from alembert.models.loading import load_config
    from alembert.recipes.finetune import finetune as recipe_for
    from alembert.recipes.overrides import with_settings
    from alembert.runs.job import Job
    from alembert.runs.run import run

    recipe = recipe_for(load_config(model))
    changes = o.settings_of(recipe, epochs, batch_size, learning_rate, max_length, settings)
    shaping = {k: v for k, v in changes.items() if (k, v) != ("init.start", "scratch")}
    _check_unshaped(
        shaping, "the model keeps its shape and weights (init.start=scratch draws new weights)"
    )
    files = o.files_of(train, valid, evaluation, None, task, text, text_pair, label)
    job = Job(
        with_settings(recipe, changes), out, student=model, corpus=corpus, files=files, seed=seed,
        precision=o.precision_of(precision), model_at=".",
    )  # fmt: skip
    _present(job, run(job), reported=False)


def distill(
    recipe: Annotated[str, typer.Argument(help="a recipe's name or a YAML file")],
    teacher: o.Teachers,
    out: o.Out,
    train: o.Train = None,
    valid: o.Valid = None,
    evaluation: o.Eval = None,
    corpus: o.CorpusFile = None,
    unlabelled: o.Unlabelled = None,
    student: o.Student = None,
    general_teacher: o.GeneralTeacher = None,
    mlm: o.Mlm = None,
    vectors: o.Vectors = None,
    layers: o.Layers = None,
    hidden_size: o.HiddenSize = None,
    task: o.Glue = None,
    text: o.Text = None,
    text_pair: o.Pair = None,
    label: o.Label = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.Rate = None,
    max_length: o.Length = None,
    settings: o.Settings = None,
    vocabulary: o.Vocabulary = None,
    cache_teacher: o.CacheTeacher = False,
    cache_top: o.CacheTop = None,
    cache_precision: o.CachePrecision = None,
    seed: o.Seed = 0,
    precision: o.Precision = "auto",
) -> None:
    """Distil a teacher into a student, on a corpus, a task, or both."""
    from alembert.models.loading import load_config
    from alembert.recipes.choose import choose_recipe
    from alembert.recipes.overrides import with_settings
    from alembert.runs.job import Job
    from alembert.runs.run import run

    files = o.files_of(train, valid, evaluation, unlabelled, task, text, text_pair, label)
    chosen = choose_recipe(recipe, load_config(teacher[0]), student, layers, hidden_size, files)
    changes = o.settings_of(chosen, epochs, batch_size, learning_rate, max_length, settings)
    if student:
        _check_unshaped(changes, "--student keeps its shape and weights; leave one of the two out")
    job = Job(
        with_settings(chosen, changes), out, teacher[0], general_teacher, student, corpus, files,
        mlm, vectors, seed, o.precision_of(precision), vocabulary,
        o.caching_of(cache_teacher, cache_top, cache_precision), tuple(teacher[1:]),
    )  # fmt: skip
    _present(job, run(job), reported=True)


def _check_unshaped(changes: dict[str, str], why: str) -> None:
    """Raise UserError for changes of a shape or start that a saved model decides."""
    for key in changes:
        if key.startswith(("student.", "init.")) and "dropout" not in key:
            raise UserError(f"--set {key}: {why}")


def _present(job: Any, metrics: dict[str, Any], reported: bool) -> None:
    """Write model card and report, and print one line with the model's path and metrics."""
    if not leads():
        return
    finish(job.out, reported)
    figures, name = "", metrics.get("metric", "")
    if name:
        figures = f": {name} {metrics['student'][name]:.4f}"
    if "retention" in metrics:
        figures += f", the teacher {metrics['teacher'][name]:.4f}, kept {metrics['retention']:.1%}"
    typer.echo(f"{job.result}: made{figures}")


def finish(out: Path, reported: bool = True) -> None:
    """Write the model card of a run, and its report unless there is one."""
    from alembert.report import model_card, page

    model_card.write(out)
    if reported and not (out / "report.html").is_file():
        page.attempt([out], None)
