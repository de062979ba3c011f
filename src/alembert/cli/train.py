"""The verbs finetune, distill and check. Nothing heavy is imported before one is called."""

from typing import Annotated, Any

import typer

from alembert.api import Model
from alembert.api import check as run_check
from alembert.api import distill as run_distill
from alembert.api import finetune as run_finetune
from alembert.cli import options as o
from alembert.cli.options import option
from alembert.io.errors import UserError, leads


def _finetune(**given: Any) -> None:
    """Fine-tune a teacher on a task (--train) or by MLM (--corpus)."""
    _print(run_finetune(**given))


def _distill(**given: Any) -> None:
    """Distil a teacher into a student, on a corpus, a task, or both."""
    _print(run_distill(**given))


def _check(json_: bool, **given: Any) -> None:
    """Say what a training would read and how long it takes, without training."""
    found = run_check(**given)
    typer.echo(found.json() if json_ else str(found))
    if found.refusal is not None:
        raise UserError(found.refusal)


finetune = o.verb(
    _finetune,
    "model out train valid eval corpus task text text_pair label kind skip_bad_rows metric epochs "
    "batch_size learning_rate max_length settings baselines slices callbacks track seed seeds "
    "precision",
    model=(Annotated[str, typer.Argument(help="model to fine-tune: folder or hub id")], ...),
)
distill = o.verb(
    _distill,
    "recipe teacher out train valid eval corpus unlabelled student general_teacher mlm vectors "
    "layers hidden_size task text text_pair label kind skip_bad_rows metric epochs batch_size "
    "learning_rate max_length settings vocabulary cache_teacher cache_top cache_precision "
    "export baselines with_undistilled slices callbacks track seed seeds precision",
)
check = o.verb(
    _check,
    "train valid eval unlabelled teacher recipe student layers hidden_size task text text_pair "
    "label kind skip_bad_rows metric epochs batch_size learning_rate max_length settings seed "
    "precision json_",
    teacher=(
        Annotated[o.TEXT, option("--teacher", "model whose training is measured: folder, hub id")],
        None,
    ),
    recipe=(
        Annotated[o.TEXT, option("--recipe", "recipe of a distillation; default: fine-tuning")],
        None,
    ),
    json_=(Annotated[bool, option("--json", "print JSON")], False),
)


def _print(model: Model) -> None:
    """Print the model's path and metrics."""
    if leads():
        typer.echo(model.summary)
