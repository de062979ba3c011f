"""The verbs that train: finetune and distill. Nothing heavy is imported before one is called."""

from typing import Annotated, Any

import typer

from alembert.cli import options
from alembert.cli.options import option
from alembert.io.errors import UserError, leads


def finetune(
    model: Annotated[str, typer.Argument(help="model to fine-tune: folder or hub id")],
    out: options.Out,
    train: options.Train = None,
    valid: options.Valid = None,
    evaluation: options.Eval = None,
    corpus: options.CorpusFile = None,
    task: options.Glue = None,
    text: options.Text = None,
    text_pair: options.Pair = None,
    label: options.Label = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.Rate = None,
    max_length: options.Length = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    precision: options.Precision = "auto",
) -> None:
    """Fine-tune a teacher on a task (--train) or by MLM (--corpus)."""
    from alembert.models.loading import load_config
    from alembert.recipes.finetune import finetune as recipe_for
    from alembert.runs.job import Job
    from alembert.runs.run import run

    recipe = recipe_for(load_config(model))
    changes = options.settings_of(recipe, epochs, batch_size, learning_rate, max_length, settings)
    shaping = {k: v for k, v in changes.items() if (k, v) != ("init.start", "scratch")}
    _check_unshaped(
        shaping, "the model keeps its shape and weights (init.start=scratch draws new weights)"
    )
    files = options.files_of(train, valid, evaluation, None, task, text, text_pair, label)
    job = Job(
        options.changed(recipe, changes), out, student=model, corpus=corpus, files=files, seed=seed,
        precision=options.precision_of(precision), model_at=".",
    )  # fmt: skip
    _present(job, run(job), reported=False)


def distill(
    recipe: Annotated[str, typer.Argument(help="a recipe's name or a YAML file")],
    teacher: options.Teachers,
    out: options.Out,
    train: options.Train = None,
    valid: options.Valid = None,
    evaluation: options.Eval = None,
    corpus: options.CorpusFile = None,
    unlabelled: options.Unlabelled = None,
    student: Annotated[str | None, option("--student", "saved student to start from")] = None,
    general_teacher: options.GeneralTeacher = None,
    mlm: options.Mlm = None,
    vectors: options.Vectors = None,
    layers: Annotated[int | None, option("--layers", "number of student layers")] = None,
    hidden_size: Annotated[int | None, option("--hidden-size", "width of the student")] = None,
    task: options.Glue = None,
    text: options.Text = None,
    text_pair: options.Pair = None,
    label: options.Label = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.Rate = None,
    max_length: options.Length = None,
    settings: options.Settings = None,
    vocabulary: options.Vocabulary = None,
    cache_teacher: options.CacheTeacher = False,
    cache_top: options.CacheTop = None,
    cache_precision: options.CachePrecision = None,
    seed: options.Seed = 0,
    precision: options.Precision = "auto",
) -> None:
    """Distil a teacher into a student, on a corpus, a task, or both."""
    from alembert.runs.job import Job
    from alembert.runs.run import run
    from alembert.runs.stage import choose_recipe

    files = options.files_of(train, valid, evaluation, unlabelled, task, text, text_pair, label)
    chosen = choose_recipe(recipe, teacher[0], student, layers, hidden_size, files)
    changes = options.settings_of(chosen, epochs, batch_size, learning_rate, max_length, settings)
    if student:
        _check_unshaped(changes, "--student keeps its shape and weights; leave one of the two out")
    job = Job(
        options.changed(chosen, changes), out, teacher[0], general_teacher, student, corpus, files,
        mlm, vectors, seed, options.precision_of(precision), vocabulary,
        options.caching_of(cache_teacher, cache_top, cache_precision), tuple(teacher[1:]),
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
    from alembert.report import model_card, page

    model_card.write(job.out)
    if reported and not (job.out / "report.html").is_file():
        page.attempt([job.out], None)
    figures, name = "", metrics.get("metric", "")
    if name:
        figures = f": {name} {metrics['student'][name]:.4f}"
    if "retention" in metrics:
        figures += f", the teacher {metrics['teacher'][name]:.4f}, kept {metrics['retention']:.1%}"
    typer.echo(f"{job.result}: made{figures}")
