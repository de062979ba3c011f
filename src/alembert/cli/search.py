"""The verbs search and tune. Nothing heavy is imported before one is called."""

import os
import re
from typing import Annotated

import typer

from alembert.cli import options as o
from alembert.cli.options import option
from alembert.cli.serve import serve as answer
from alembert.cli.train import finish
from alembert.io.errors import UserError, leads


def search(
    teacher: Annotated[str, option("--teacher", "fine-tuned teacher: folder or hub id")],
    out: o.Out,
    max_latency_ms: Annotated[
        float | None, option("--max-latency-ms", "most ms of a text in int8, one thread")
    ] = None,
    min_retention: Annotated[
        float | None, option("--min-retention", "least share of the teacher's metric: 0.97")
    ] = None,
    min_speedup: Annotated[
        float | None, option("--min-speedup", "least speedup over the teacher in torch: 30")
    ] = None,
    train: o.Train = None,
    valid: o.Valid = None,
    evaluation: o.Eval = None,
    task: o.Glue = None,
    text: o.Text = None,
    text_pair: o.Pair = None,
    label: o.Label = None,
    length: Annotated[int, option("--length", "tokens of the text that is timed")] = 32,
    trials: Annotated[int, option("--trials", "candidates that are trained briefly")] = 9,
    steps: Annotated[int, option("--steps", "steps of the first rung; each next triples")] = 100,
    epochs: Annotated[float | None, option("--epochs", "epochs of the winner's stages")] = None,
    recipes: Annotated[
        str, option("--recipes", "recipes of the students to try")
    ] = "distilbert,tinybert,minilm,mobilebert",
    vocabulary: Annotated[
        str, option("--vocabulary", "task (only tokens of the texts), all, or both")
    ] = "both",
    max_length: Annotated[int, option("--max-length", "most tokens of a text in training")] = 128,
    seed: o.Seed = 0,
    precision: o.Precision = "auto",
    serve: Annotated[
        int | None, option("--serve", "port at which the student is served afterwards")
    ] = None,
) -> None:
    """Find a student for a latency, a speedup or a share of quality."""
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'alembert[search]'") from error
    if serve is not None:
        _check_serving(serve)
    from alembert.search.search import search as find
    from alembert.search.space import VOCABULARIES, Budget

    files = o.files_of(train, valid, evaluation, None, task, text, text_pair, label)
    if files is None:
        raise UserError("a search needs texts to learn from: give --train")
    if vocabulary not in ("both", *VOCABULARIES):
        raise UserError(f"--vocabulary {vocabulary}: choose both, task or all")
    vocabularies = VOCABULARIES if vocabulary == "both" else (vocabulary,)
    names = tuple(dict.fromkeys(recipes.split(",")))
    bounds = (max_latency_ms, min_retention, trials, steps, epochs, length, names, vocabularies)
    budget = Budget(*bounds, min_speedup)
    precision = o.precision_of(precision)
    typer.echo(find(budget, teacher, files, out, max_length, seed, precision, finish))
    if serve is not None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name).lstrip("._-") or "student"
        answer([f"{name}={out}"], port=serve, api_key=os.environ.get("ALEMBERT_API_KEY") or None)


def _check_serving(port: int) -> None:
    """Raise UserError before hours are spent on a student that could not be served."""
    try:
        from alembert.serving.server import bound
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'alembert[serve]'") from error
    if not 0 <= port < 65536:
        raise UserError(f"--serve {port}: a port, 0 to 65535; 0 takes a free one")
    bound("127.0.0.1", port).close()


def tune(
    recipe: Annotated[str, typer.Argument(help="a recipe's name or a YAML file")],
    teacher: o.Teachers,
    train: Annotated[str, option("--train", "labelled training texts: file, folder or hub id")],
    out: o.Out,
    tries: Annotated[list[str], option("--try", "recipe setting FIELD=V1,V2; all mixes are tried")],
    trials: Annotated[
        int | None, option("--trials", "number of random mixes to try; default: all")
    ] = None,
    valid: o.Valid = None,
    unlabelled: o.Unlabelled = None,
    student: o.Student = None,
    layers: o.Layers = None,
    hidden_size: o.HiddenSize = None,
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
    """Find a recipe's best settings by texts held out of --train."""
    from rich.console import Console

    from alembert.models.loading import load_config
    from alembert.recipes.choose import choose_recipe
    from alembert.recipes.overrides import with_settings
    from alembert.runs.job import Job
    from alembert.search import tune as tuning

    files = o.files_of(train, valid, None, unlabelled, None, text, text_pair, label)
    chosen = choose_recipe(recipe, load_config(teacher[0]), student, layers, hidden_size, files)
    changes = o.settings_of(chosen, epochs, batch_size, learning_rate, max_length, settings)
    base = Job(
        with_settings(chosen, changes), out, teacher[0], student=student, files=files, seed=seed,
        precision=o.precision_of(precision), more_teachers=tuple(teacher[1:]),
    )  # fmt: skip
    done = tuning.tune(base, tries, trials)
    if leads():
        Console(soft_wrap=True).print(tuning.table(done, tuning.metric_of(base)))
        typer.echo(f"{out / 'recipe.yaml'}: made, with {tuning.describe(done[0].settings)}")
