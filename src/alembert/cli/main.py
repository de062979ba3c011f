"""The command line: verbs only. Nothing heavy is imported before a verb is called."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from alembert import __version__
from alembert.api import augment as run_augment
from alembert.api import corpus as run_corpus
from alembert.api import evaluate as run_evaluate
from alembert.api import recipe as make_recipe
from alembert.api import recipes as list_recipes
from alembert.api import trim as run_trim
from alembert.cli import comparing, deploy, faults, news, search, serve
from alembert.cli import options as o
from alembert.cli import train as verbs
from alembert.cli.help import Verb, Verbs
from alembert.cli.options import option
from alembert.io.environment import extra_for, missing
from alembert.io.errors import MistakesError, UserError, leads

INTERRUPTED = 130  # the exit code of Ctrl-C
RESULT_ON_STDOUT = ("check", "evaluate", "compare", "report", "bench", "predict", "serve")
Run = TypeVar("Run", bound=Callable[..., None])
GOES_ON = ("quickstart", "finetune", "distill", "tune", "corpus", "search")
HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=Verbs,
    context_settings=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Distil a BERT teacher into a small student and put it to work on CPU.",
)
recipes_app = typer.Typer(
    context_settings=HELP,
    invoke_without_command=True,
    rich_markup_mode=None,
    epilog="alembert recipes",
    help="List the recipes, or print one as YAML.",
)
app.add_typer(recipes_app, name="recipes")


def _verb(example: str, name: str | None = None) -> Callable[[Run], Run]:
    """Return a decorator that makes a function a verb, whose help ends with an example."""

    def add(run: Run) -> Run:
        app.command(name, cls=Verb, epilog=f"\b\n{example}")(news.told(run))
        return run

    return add


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"alembert {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="print the version and stop", callback=_print_version,
            is_eager=True,  # before typer complains of a missing command
        ),
    ] = False,
    quiet: news.Quiet = False,
    verbose: news.Verbose = False,
) -> None:  # fmt: skip
    news.start(err=context.invoked_subcommand in RESULT_ON_STDOUT)
    news.choose(quiet=quiet, verbose=verbose)


_verb("alembert quickstart")(verbs.quickstart)


@recipes_app.callback()
def recipes(context: typer.Context) -> None:
    """List the recipes."""
    if context.invoked_subcommand is None:
        for name, sentence in list_recipes().items():
            typer.echo(f"{name:12} {sentence}")
        typer.echo("one as YAML, ready to edit: alembert recipes show NAME --teacher DIR > my.yaml")


@recipes_app.command(cls=Verb, epilog="alembert recipes show distilbert --teacher DIR > my.yaml")
def show(
    name: Annotated[str, typer.Argument(help="a recipe's name")],
    teacher: Annotated[str | None, option("--teacher", "teacher that the recipe is for")] = None,
    layers: o.Layers = None,
    hidden_size: o.HiddenSize = None,
) -> None:
    """Print a recipe as YAML; without --teacher, for BERT-base."""
    from alembert.recipes.schema import to_yaml

    chosen = make_recipe(name, teacher, layers=layers, hidden_size=hidden_size)
    typer.echo(to_yaml(chosen), nl=False)


_verb("alembert check --train train.csv --eval test.csv --teacher DIR")(verbs.check)
_verb("alembert finetune bert-base-uncased --train train.csv --eval test.csv --out teacher")(
    verbs.finetune
)
_verb("alembert distill distilbert --teacher DIR --train train.csv --eval test.csv --out run")(
    verbs.distill
)
_verb(
    "alembert search --teacher DIR --train train.csv --eval test.csv --max-latency-ms 2 --out found"
)(search.search)
_verb(
    "alembert tune distilbert --teacher DIR --train train.csv --out tuned --try "
    "stages.task.objective.SoftLabels.temperature=1,2,4"
)(search.tune)


@_verb("alembert augment --train train.csv --mlm bert-base-uncased --out varied.csv")
def augment(
    train: Annotated[str, option("--train", "texts to augment: file, folder or hub id")],
    out: Annotated[Path, option("--out", "output file: .csv .tsv .jsonl .parquet")],
    mlm: o.Mlm = None,
    vectors: o.Vectors = None,
    embeddings: Annotated[
        str | None, option("--embeddings", "model whose input embeddings are the word vectors")
    ] = None,
    copies: Annotated[int, option("--copies", "most variants of a text")] = 20,
    share: Annotated[float, option("--share", "probability that a word is replaced")] = 0.4,
    candidates: Annotated[int, option("--candidates", "candidates to replace a word")] = 15,
    text: o.Text = None,
    text_pair: o.Pair = None,
    seed: o.Seed = 0,
) -> None:
    """Write texts and variants with replaced words (TinyBERT)."""
    count = run_augment(
        train, out, mlm=mlm, vectors=vectors, embeddings=embeddings, copies=copies, share=share,
        candidates=candidates, text=text, text_pair=text_pair, seed=seed,
    )  # fmt: skip
    typer.echo(f"{out}: made, {count:,} rows")


@_verb("alembert corpus texts.jsonl more.txt.zst --tokenizer bert-base-uncased --out corpus")
def corpus(
    texts: Annotated[list[str], typer.Argument(help=".txt .jsonl .csv .parquet, .zst of them ...")],
    tokenizer: Annotated[str, option("--tokenizer", "model with the tokenizer: folder or hub id")],
    out: Annotated[Path, option("--out", "output folder; the same command resumes it")],
    max_length: Annotated[int, option("--max-length", "most tokens of a sequence")] = 128,
) -> None:
    """Tokenise texts once, for --corpus of other verbs."""
    rows = run_corpus(texts, tokenizer, out, max_length=max_length)
    dropped = "".join(f", {n:,} left out ({why})" for why, n in rows.dropped.items())
    typer.echo(f"{out}: made, {len(rows):,} sequences, {rows.counts.sum():,} tokens{dropped}")


@_verb("alembert trim run --data train.csv --out smaller")
def trim(
    model: Annotated[str, typer.Argument(help="a saved model or a run folder")],
    out: Annotated[Path, option("--out", "output folder of the smaller model")],
    data: Annotated[
        list[str] | None, option("--data", "texts whose tokens come first; may be repeated")
    ] = None,
    corpus: Annotated[str | None, option("--corpus", "plain text whose tokens come next")] = None,
    keep: Annotated[int | None, option("--keep", "most tokens of the new vocabulary")] = None,
    coverage: Annotated[
        float, option("--coverage", "share of all token occurrences to keep")
    ] = 1.0,
    text: o.Text = None,
    text_pair: o.Pair = None,
) -> None:
    """Trim a saved model's vocabulary to the tokens of texts like these."""
    run_trim(
        model, out, data=data or (), corpus=corpus, keep=keep, coverage=coverage, text=text,
        text_pair=text_pair,
    )  # fmt: skip


@_verb("alembert evaluate run/student --data test.csv", "evaluate")
def evaluate_(
    model: Annotated[str, typer.Argument(help="a saved model or a run folder")],
    data: Annotated[str | None, option("--data", "labelled texts: file, folder or hub id")] = None,
    corpus: o.CorpusFile = None,
    text: o.Text = None,
    text_pair: o.Pair = None,
    label: o.Label = None,
    kind: o.Kind = None,
    skip_bad_rows: o.SkipBadRows = None,
    fix_offsets: o.FixOffsets = None,
    windows: o.Windows = None,
    slices: o.Slices = None,
    max_length: o.AsTrained = None,
    sequences: Annotated[int, option("--sequences", "corpus sequences to evaluate on")] = 2000,
    backend: Annotated[
        str, option("--backend", "backend: torch, or an exported one: onnx, int8 ...")
    ] = "torch",
    json_: Annotated[bool, option("--json", "print JSON")] = False,
) -> None:
    """Evaluate a model on labelled texts, or by MLM on a corpus."""
    import json

    metrics = run_evaluate(
        model, data, corpus=corpus, text=text, text_pair=text_pair, label=label, kind=kind,
        skip_bad_rows=skip_bad_rows or 0, fix_offsets=fix_offsets or False, max_length=max_length,
        sequences=sequences, backend=backend, slices=slices or (), windows=windows or False,
    )  # fmt: skip
    if json_:
        typer.echo(json.dumps(metrics))
        return
    sliced = metrics.pop("slices", {})
    typer.echo("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    for column, values in sliced.items():
        for value, found in values.items():
            small = ", small" * found["small"]
            typer.echo(f"{column} {value} (n = {found['n']:,}{small}): {found['model']:.4f}")


_verb("alembert compare new old --data test.csv --no-worse-by 0.01")(comparing.compare)
_verb("alembert export run --int8")(deploy.export)
_verb("alembert bench teacher run --json bench.json")(deploy.bench)
_verb("alembert report run")(deploy.report)
_verb("alembert predict run 'a fine film' 'a dull one'")(deploy.predict)
_verb("alembert serve teacher run")(serve.serve)
_verb("alembert clean run")(deploy.clean)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    # huge pages save small models a sixth of their time, which faulting in blocks anew takes
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own terms and metrics; it shadows no package
    try:
        faults.check_arguments()
        app()
    except UserError as error:
        lines = error.lines if isinstance(error, MistakesError) else [str(error)]
        sys.exit(max(_report(line, error.code) for line in lines))
    except ModuleNotFoundError as error:
        if (error.name or "alembert").split(".")[0] == "alembert":
            sys.exit(faults.told(error))
        extra = extra_for(next(iter(sys.argv[1:]), ""), str(error.name).split(".")[0])
        sys.exit(_report(missing(error.name, extra), 2))
    except OSError as error:
        sys.exit(_report(f"{error.filename or 'disk'}: {error.strerror or error}", 2))
    except SystemExit as end:  # typer's, for Ctrl-C too, the usual end of a server
        verb = next(iter(sys.argv[1:]), "")
        if end.code == INTERRUPTED and verb != "serve":
            more = "; the same command goes on where it stopped" if verb in GOES_ON else ""
            _report(f"interrupted{more}", INTERRUPTED)
        raise
    except Exception as error:  # the top of the command line: what escapes is a fault of ours
        sys.exit(faults.told(error))


def _report(line: str, code: int) -> int:
    if leads():  # only the main process prints
        typer.echo(f"alembert: {faults.printable(line)}", err=True)
    return code


if __name__ == "__main__":
    main()
