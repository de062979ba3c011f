"""The verb compare. Nothing heavy is imported before it is called."""

import json
from typing import Annotated

import typer

from alembert.api import compare as run_compare
from alembert.cli import options as o
from alembert.cli.options import option
from alembert.io.errors import UserError


def compare(
    models: Annotated[
        list[str], typer.Argument(help="saved models or run folders; MODEL:int8 is an export")
    ],
    data: Annotated[str, option("--data", "labelled texts: file, folder or hub id")],
    text: o.Text = None,
    text_pair: o.Pair = None,
    label: o.Label = None,
    kind: o.Kind = None,
    skip_bad_rows: o.SkipBadRows = None,
    fix_offsets: o.FixOffsets = None,
    windows: o.Windows = None,
    max_length: o.AsTrained = None,
    backend: Annotated[
        str | None, option("--backend", "backend of all models: torch, onnx, int8 ...")
    ] = None,
    metric: Annotated[
        str | None, option("--metric", "metric to compare: f1, f2, or own module:function")
    ] = None,
    slices: o.Slices = None,
    no_worse_by: Annotated[
        float | None,
        option("--no-worse-by", "exit code 1 unless the first is surely no worse by so much"),
    ] = None,
    json_: Annotated[bool, option("--json", "print JSON")] = False,
) -> None:
    """Compare models on the same labelled texts, with intervals."""
    if no_worse_by is not None and len(models) != 2:
        raise UserError("--no-worse-by: compares two models, the new one and the old one")
    found = run_compare(
        models, data, text=text, text_pair=text_pair, label=label, kind=kind,
        skip_bad_rows=skip_bad_rows or 0, fix_offsets=fix_offsets or False, max_length=max_length,
        backend=backend, metric=metric, slices=slices or (), windows=windows or False,
    )  # fmt: skip
    gate = None if no_worse_by is None else found.no_worse_by(no_worse_by)
    verdict = {} if gate is None else {"passed": gate.passed, "verdict": str(gate)}
    typer.echo(json.dumps(found.content | verdict) if json_ else found)
    if gate is not None:
        typer.echo(gate, err=json_)
        raise typer.Exit(0 if gate.passed else 1)
