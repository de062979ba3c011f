"""The verb that tries settings of a recipe. Nothing heavy is imported before it is called."""

from typing import Annotated

import typer

from alembert.errors import leads
from alembert.options import (
    BatchSize,
    Epochs,
    Label,
    Length,
    Out,
    Pair,
    Precision,
    Rate,
    Seed,
    Settings,
    Teachers,
    Text,
    Unlabelled,
    Valid,
    changed,
    files_of,
    option,
    precision_of,
    settings_of,
)  # fmt: skip


def tune(
    recipe: Annotated[str, typer.Argument(help="a recipe's name or a YAML file")],
    teacher: Teachers,
    train: Annotated[str, option("--train", text="labelled texts: file, folder or hub id")],
    out: Out,
    tries: Annotated[list[str], option("--try", text="FIELD=V1,V2 of the recipe; every mix")],
    trials: Annotated[
        int | None, option("--trials", text="of the grid, drawn; default: all")
    ] = None,
    valid: Valid = None,
    unlabelled: Unlabelled = None,
    student: Annotated[str | None, option("--student", text="saved student to start from")] = None,
    layers: Annotated[int | None, option("--layers", text="of the student")] = None,
    hidden_size: Annotated[int | None, option("--hidden-size", text="of the student")] = None,
    text: Text = None,
    text_pair: Pair = None,
    label: Label = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: Rate = None,
    max_length: Length = None,
    settings: Settings = None,
    seed: Seed = 0,
    precision: Precision = "auto",
) -> None:
    """Find the settings of a recipe that do best on texts held out of --train."""
    from rich.console import Console

    from alembert import tune as tuning
    from alembert.job import Job
    from alembert.start import chosen_for

    files = files_of(train, valid, None, unlabelled, None, text, text_pair, label)
    chosen = chosen_for(recipe, teacher[0], student, layers, hidden_size, files, typer.echo)
    changes = settings_of(chosen, epochs, batch_size, learning_rate, max_length, settings)
    base = Job(
        changed(chosen, changes), out, teacher[0], student=student, files=files, seed=seed,
        precision=precision_of(precision), more_teachers=tuple(teacher[1:]),
    )  # fmt: skip
    found = tuning.tune(base, tries, trials, typer.echo)
    if leads():
        Console(soft_wrap=True).print(tuning.table(found, tuning.metric_of(base)))
        typer.echo(f"{out / 'recipe.yaml'}: made, with {tuning.told(found[0].settings)}")
