"""The options that verbs share, and commands made of them."""

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.io.errors import UserError


def option(name: str, text: str) -> Any:
    """Return a typer option with its help text."""
    return typer.Option(name, help=text)


Mlm = Annotated[str | None, option("--mlm", "masked language model (MLM) that augments texts")]
Vectors = Annotated[str | None, option("--vectors", "GloVe word vectors that augment texts")]
CorpusFile = Annotated[
    str | None, option("--corpus", "plain text for MLM, or a folder of `alembert corpus`")
]
Text = Annotated[str | None, option("--text", "name of the text's column")]
Pair = Annotated[str | None, option("--text-pair", "name of the second text's column")]
Label = Annotated[
    str | None, option("--label", "name of the label's column, or A,B,C for columns of 0 and 1")
]
Kind = Annotated[
    str | None,
    option("--kind", "task: classification, regression, multilabel, tokens, question answering"),
]
SkipBadRows = Annotated[
    int | None,
    option("--skip-bad-rows", "most rows to leave out where they cannot be read; default 0"),
]
FixOffsets = Annotated[
    bool | None,
    option("--fix-offsets", "mend offsets of answers that are off by one or white space"),
]
Windows = Annotated[
    bool | None,
    option("--windows", "read long texts in overlapping windows of --max-length, not cut them"),
]
Slices = Annotated[
    list[str] | None, option("--slice", "column to measure by, value by value; may be repeated")
]
AsTrained = Annotated[
    int | None,
    option("--max-length", "most tokens of a text; default: as the model was trained, or 128"),
]
Layers = Annotated[int | None, option("--layers", "number of layers of a new student")]
HiddenSize = Annotated[int | None, option("--hidden-size", "width of a new student")]
Seed = Annotated[int, option("--seed", "seed of all random numbers")]
TEXT, NUMBER, INTEGER = str | None, float | None, int | None
# the options of verbs that train, by the keywords of the functions in alembert.api
OPTIONS: dict[str, Any] = {
    "recipe": Annotated[str, typer.Argument(help="a recipe's name or a YAML file")],
    "teacher": Annotated[
        list[str], option("--teacher", "teacher: folder, hub id or builtin; several are averaged")
    ],
    "out": Annotated[Path, option("--out", "folder of the run; the same command resumes it")],
    "train": Annotated[TEXT, option("--train", "labelled training texts: file, folder or hub id")],
    "valid": Annotated[TEXT, option("--valid", "labelled texts that select the best checkpoint")],
    "eval": Annotated[
        TEXT, option("--eval", "texts for the final metrics alone, or 20% of --train")
    ],
    "corpus": CorpusFile,
    "unlabelled": Annotated[TEXT, option("--unlabelled", "more training texts, without labels")],
    "student": Annotated[TEXT, option("--student", "saved student to start from")],
    "general_teacher": Annotated[
        TEXT, option("--general-teacher", "teacher of the stages on --corpus; default: --teacher")
    ],
    "mlm": Mlm,
    "vectors": Vectors,
    "layers": Layers,
    "hidden_size": HiddenSize,
    "task": Annotated[TEXT, option("--task", "GLUE task; --train is then its folder")],
    "text": Text,
    "text_pair": Pair,
    "label": Label,
    "kind": Kind,
    "skip_bad_rows": SkipBadRows,
    "fix_offsets": FixOffsets,
    "windows": Windows,
    "metric": Annotated[
        TEXT, option("--metric", "metric that chooses and is reported: f1, f2, own module:function")
    ],
    "epochs": Annotated[NUMBER, option("--epochs", "epochs of the task stages")],
    "batch_size": Annotated[INTEGER, option("--batch-size", "texts of a step in the task stages")],
    "learning_rate": Annotated[
        NUMBER, option("--learning-rate", "learning rate of the task stages")
    ],
    "max_length": Annotated[
        INTEGER, option("--max-length", "most tokens of a text, in all stages")
    ],
    "settings": Annotated[
        list[str] | None, option("--set", "recipe setting FIELD=VALUE: stages.task.clip=2")
    ],
    "vocabulary": Annotated[
        TEXT,
        option("--vocabulary", "student's vocabulary: all (default), or task: its texts' tokens"),
    ],
    "cache_teacher": Annotated[
        bool | None, option("--cache-teacher", "cache the teacher's outputs; masks are then fixed")
    ],
    "cache_top": Annotated[
        INTEGER, option("--cache-top", "top logits cached a token; default 128")
    ],
    "cache_precision": Annotated[
        TEXT, option("--cache-precision", "precision of cached states: bf16 (default), fp32")
    ],
    "export": Annotated[
        bool | None,
        option("--export/--no-export", "end with an export of the student, int8 or ONNX"),
    ],
    "baselines": Annotated[
        bool | None,
        option("--baselines/--no-baselines", "measure cheap models of scikit-learn on --eval, too"),
    ],
    "with_undistilled": Annotated[
        bool | None, option("--with-undistilled", "train the student without its teacher, too")
    ],
    "slices": Slices,
    "callbacks": Annotated[
        list[str] | None,
        option("--callback", "own Callback that watches the training: module:Class"),
    ],
    "track": Annotated[
        list[str] | None,
        option("--track", "tool that shows the run: tensorboard, wandb, mlflow or trackio"),
    ],
    "seed": Annotated[INTEGER, option("--seed", "seed of all random numbers; default 0")],
    "seeds": Annotated[
        INTEGER, option("--seeds", "repeat the run with so many seeds, for mean and interval")
    ],
    "precision": Annotated[
        TEXT, option("--precision", "training precision: auto (default), fp32, bf16 or fp16")
    ],
}
REQUIRED = ("recipe", "teacher", "out")


def verb(run: Callable[..., None], names: str, **own: tuple[Any, Any]) -> Callable[..., None]:
    """Return a command that calls `run` with the options of these names, in this order.

    own: options of this verb alone, or otherwise than in OPTIONS: type and default, `...` for one
    that has to be given. --set arrives as a mapping.
    """

    def command(**given: Any) -> None:
        if "settings" in given:
            given["settings"] = dict(map(_setting, given["settings"] or ()))
        run(**given)

    chosen = {name: own.get(name) or (OPTIONS[name], _default(name)) for name in names.split()}
    command.__annotations__ = {name: kind for name, (kind, _) in chosen.items()}
    command.__name__, command.__doc__ = run.__name__.lstrip("_"), run.__doc__
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                annotation=kind,
                default=Parameter.empty if default is ... else default,
            )
            for name, (kind, default) in chosen.items()
        ]
    )
    return command


def _default(name: str) -> Any:
    return ... if name in REQUIRED else None


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: write it as FIELD=VALUE")
    return key.strip(), value
