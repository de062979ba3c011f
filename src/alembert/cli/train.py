"""The verbs quickstart, check, finetune and distill. Nothing heavy is imported before a call."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.api import Model, builtin_teacher
from alembert.api import check as run_check
from alembert.api import distill as run_distill
from alembert.api import finetune as run_finetune
from alembert.api import quickstart as run_quickstart
from alembert.cli import options as o
from alembert.cli.options import option
from alembert.io.errors import UserError, leads


def quickstart(
    out: Annotated[Path, option("--out", "folder of the runs")] = Path("runs/quickstart"),
    teacher: Annotated[str | None, option("--teacher", "pretrained BERT to fine-tune")] = None,
    seed: o.Seed = 0,
) -> None:
    """Fine-tune, distil and compare models on built-in texts."""
    start = time.perf_counter()
    models, table = run_quickstart(out, teacher, seed)
    _print_table(table)
    paths = ", ".join(str(model.path) for model in models.values())
    typer.echo(f"made in {time.perf_counter() - start:.0f} s: {paths}")
    typer.echo(
        "next, with your own file (columns text and label):\n"
        f"  alembert finetune {teacher or builtin_teacher()} --train yours.csv --eval test.csv "
        "--out teacher\n"
        "  alembert distill --teacher teacher --train yours.csv --eval test.csv --out run"
    )


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
    "model out train valid eval corpus unlabelled task text text_pair label kind skip_bad_rows "
    "fix_offsets windows metric epochs batch_size learning_rate max_length settings baselines "
    "slices callbacks track seed seeds precision",
    model=(
        Annotated[str, typer.Argument(help="model to fine-tune: folder, hub id or builtin")],
        ...,
    ),
)
distill = o.verb(
    _distill,
    "recipe teacher out train valid eval corpus unlabelled student general_teacher mlm vectors "
    "layers hidden_size task text text_pair label kind skip_bad_rows fix_offsets windows metric "
    "epochs batch_size learning_rate max_length settings vocabulary cache_teacher cache_top "
    "cache_precision export baselines with_undistilled slices callbacks track seed seeds precision",
    recipe=(
        Annotated[str, typer.Argument(help="a recipe's name or a YAML file; default: house")],
        "house",
    ),
)
check = o.verb(
    _check,
    "train valid eval unlabelled teacher recipe student layers hidden_size task text text_pair "
    "label kind skip_bad_rows fix_offsets windows metric epochs batch_size learning_rate "
    "max_length settings seed precision json_",
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


def _print_table(table: dict[str, dict[str, Any]]) -> None:
    """Print size, test accuracy, retention and CPU time of each model, in torch and in int8."""
    from rich.console import Console
    from rich.table import Column, Table

    model, time_of = (Column(name, no_wrap=True) for name in ("model", "CPU a text"))
    rows = Table(model, "", "size", "accuracy", "kept", time_of, box=None, pad_edge=False)
    for name, row in table.items():
        precision = " fp32" if row["backend"] in ("torch", "onnx") else ""
        size = f"{row['size_mb']:.0f} MB" if row["size_mb"] else "-"
        times = [ratio["value"] for ratio in row["ratios"] if ratio["to"] == "teacher:torch"]
        rows.add_row(
            row["model"] if name == row["model"] else "", row["backend"] + precision,
            size, f"{row['accuracy']:.3f}", row["kept"] or "-",
            f"{row['cpu_ms']['median']:.2f} ms" + "".join(f" ({each:.1f}x)" for each in times),
        )  # fmt: skip
    Console(markup=False).print(rows)
    typer.echo("x: times as fast as the teacher in torch; one thread, a text at a time")
