"""The verb quickstart: what it prints. Nothing heavy is imported before it is called."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.api import builtin_teacher
from alembert.api import quickstart as run_quickstart
from alembert.cli import options as o
from alembert.cli.options import option


def quickstart(
    out: Annotated[Path, option("--out", "folder of the runs")] = Path("runs/quickstart"),
    teacher: Annotated[str | None, option("--teacher", "pretrained BERT to fine-tune")] = None,
    seed: o.Seed = 0,
) -> None:
    """Fine-tune, distil and compare models on built-in texts."""
    start = time.perf_counter()
    models, table = run_quickstart(out, teacher, seed)
    _print(table)
    paths = ", ".join(str(model.path) for model in models.values())
    typer.echo(f"made in {time.perf_counter() - start:.0f} s: {paths}")
    typer.echo(
        "next, with your own file (columns text and label):\n"
        f"  alembert finetune {teacher or builtin_teacher()} --train yours.csv --eval test.csv "
        "--out teacher\n"
        "  alembert distill distilbert --teacher teacher --train yours.csv --eval test.csv "
        "--out run"
    )


def _print(table: dict[str, dict[str, Any]]) -> None:
    """Print parameters, size, test accuracy, retention and CPU time of each model."""
    from rich.console import Console
    from rich.table import Table

    rows = Table("model", "parameters", "size", "test accuracy", "kept", "CPU per text")
    for name, row in table.items():
        speedup = row["ratios"][0]["value"] if row["ratios"] else 1.0
        rows.add_row(
            name, f"{row['parameters'] / 1e6:.1f} M", f"{row['size_mb']:.0f} MB",
            f"{row['accuracy']:.3f}", row["kept"] or "-",
            f"{row['cpu_ms']['median']:.1f} ms ({speedup:.1f}x)",
        )  # fmt: skip
    Console(markup=False).print(rows)
