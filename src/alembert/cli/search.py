"""The verbs search and tune. Nothing heavy is imported before one is called."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.api import check_port, name_for
from alembert.api import search as run_search
from alembert.api import tune as run_tune
from alembert.cli import options as o
from alembert.cli.options import option
from alembert.cli.serve import serve as answer
from alembert.io.errors import leads


def _search(serve: int | None, **given: Any) -> None:
    """Find a student for a latency, a speedup or a share of quality."""
    if serve is not None:
        check_port(serve)
    found = run_search(**given)
    if serve is not None:
        key = os.environ.get("ALEMBERT_API_KEY") or None
        answer([f"{name_for(found.folder)}={found.folder}"], port=serve, api_key=key)


def _tune(out: Path, **given: Any) -> None:
    """Find a recipe's best settings by texts held out of --train."""
    from rich.console import Console

    from alembert.search import tune as tuning

    done = run_tune(out=out, **given)
    if leads():
        Console(soft_wrap=True).print(tuning.table(done, tuning.metric_of(out)))
        typer.echo(f"{out / 'recipe.yaml'}: made, with {tuning.describe(done[0].settings)}")


search = o.verb(
    _search,
    "teacher out max_latency_ms min_retention min_speedup train valid eval unlabelled task text "
    "text_pair label kind skip_bad_rows fix_offsets windows metric length trials steps epochs "
    "recipes vocabulary max_length seed precision serve",
    teacher=(Annotated[str, option("--teacher", "fine-tuned teacher: folder or hub id")], ...),
    max_latency_ms=(
        Annotated[o.NUMBER, option("--max-latency-ms", "most ms of a text in int8, one thread")],
        None,
    ),
    min_retention=(
        Annotated[o.NUMBER, option("--min-retention", "least share of the teacher's metric: 0.97")],
        None,
    ),
    min_speedup=(
        Annotated[o.NUMBER, option("--min-speedup", "least speedup over the teacher in torch: 30")],
        None,
    ),
    length=(
        Annotated[
            o.INTEGER, option("--length", "tokens of each text that is timed; default: its own")
        ],
        None,
    ),
    trials=(Annotated[int, option("--trials", "candidates that are trained briefly")], 9),
    steps=(Annotated[int, option("--steps", "steps of the first rung; each next triples")], 100),
    epochs=(Annotated[o.NUMBER, option("--epochs", "epochs of the winner's stages")], None),
    recipes=(
        Annotated[
            str | None,
            option("--recipes", "recipes of the students to try; default: house,static"),
        ],
        None,
    ),
    vocabulary=(
        Annotated[str, option("--vocabulary", "task (only tokens of the texts), all, or both")],
        "all",
    ),
    max_length=(Annotated[int, option("--max-length", "most tokens of a text in training")], 128),
    serve=(
        Annotated[o.INTEGER, option("--serve", "port at which the student is served afterwards")],
        None,
    ),
)
tune = o.verb(
    _tune,
    "recipe teacher train out tries trials valid unlabelled student layers hidden_size text "
    "text_pair label kind skip_bad_rows fix_offsets windows metric epochs batch_size learning_rate "
    "max_length settings seed precision",
    train=(
        Annotated[str, option("--train", "labelled training texts: file, folder or hub id")],
        ...,
    ),
    tries=(
        Annotated[list[str], option("--try", "recipe setting FIELD=V1,V2; all mixes are tried")],
        ...,
    ),
    trials=(
        Annotated[o.INTEGER, option("--trials", "number of random mixes to try; default: all")],
        None,
    ),
)
