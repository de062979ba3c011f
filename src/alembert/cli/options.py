"""The options that verbs share, and their conversion to files and settings of a recipe."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from alembert.io.errors import UserError


def option(name: str, text: str) -> Any:
    """Return a typer option with its help text."""
    return typer.Option(name, help=text)


Out = Annotated[Path, option("--out", "folder of the run; the same command resumes it")]
Train = Annotated[str | None, option("--train", "labelled training texts: file, folder or hub id")]
Valid = Annotated[str | None, option("--valid", "labelled texts that select the best checkpoint")]
Eval = Annotated[str | None, option("--eval", "labelled test texts, for the final metrics alone")]
Unlabelled = Annotated[
    str | None, option("--unlabelled", "more training texts, labelled by the teacher")
]
Teachers = Annotated[
    list[str],
    option("--teacher", "fine-tuned teacher: folder or hub id; several are averaged"),
]
GeneralTeacher = Annotated[
    str | None, option("--general-teacher", "teacher on the corpus; default: --teacher")
]
Mlm = Annotated[str | None, option("--mlm", "masked language model (MLM) that augments texts")]
Vectors = Annotated[str | None, option("--vectors", "GloVe word vectors that augment texts")]
CorpusFile = Annotated[str | None, option("--corpus", "text, or a folder of `alembert corpus`")]
Student = Annotated[str | None, option("--student", "saved student to start from")]
Layers = Annotated[int | None, option("--layers", "number of student layers")]
HiddenSize = Annotated[int | None, option("--hidden-size", "width of the student")]
Glue = Annotated[str | None, option("--task", "GLUE task; --train is then its folder")]
Text = Annotated[str | None, option("--text", "name of the text's column")]
Pair = Annotated[str | None, option("--text-pair", "name of the second text's column")]
Label = Annotated[str | None, option("--label", "name of the label's column")]
Epochs = Annotated[float | None, option("--epochs", "epochs of the task stages")]
BatchSize = Annotated[int | None, option("--batch-size", "texts of a step in the task stages")]
Rate = Annotated[float | None, option("--learning-rate", "learning rate of the task stages")]
Length = Annotated[int | None, option("--max-length", "most tokens of a text, in all stages")]
Settings = Annotated[
    list[str] | None, option("--set", "recipe setting FIELD=VALUE: stages.task.clip=2")
]
Vocabulary = Annotated[
    str | None, option("--vocabulary", "task: only tokens of the run's texts; default: all")
]
CacheTeacher = Annotated[
    bool, option("--cache-teacher", "cache the teacher's outputs; masks are then fixed")
]
CacheTop = Annotated[int | None, option("--cache-top", "top logits cached a token; default 128")]
CachePrecision = Annotated[
    str | None, option("--cache-precision", "precision of cached states: bf16 (default), fp32")
]
Seed = Annotated[int, option("--seed", "seed of all random numbers")]
Precision = Annotated[str, option("--precision", "training precision: auto, fp32, bf16 or fp16")]


def files_of(
    train: str | None, valid: str | None, evaluation: str | None, unlabelled: str | None,
    task: str | None, text: str | None, text_pair: str | None, label: str | None,
) -> Any:  # fmt: skip
    from alembert.data.splits import HUB, Files

    if train is None and task is not None:
        train = HUB
    if train is None:
        options = {"--valid": valid, "--eval": evaluation, "--unlabelled": unlabelled}
        for name, value in options.items():
            if value is not None:
                raise UserError(f"{name} is for the task stages: it needs --train")
        return None
    return Files(train, valid, evaluation, unlabelled, task, text, text_pair, label)


def settings_of(
    recipe: Any, epochs: float | None, batch_size: int | None, rate: float | None,
    length: int | None, settings: list[str] | None,
) -> dict[str, str]:  # fmt: skip
    """Return the options as settings of a recipe: "stages.NAME.FIELD" -> text."""
    changes: dict[str, str] = {}
    for stage in recipe.stages:
        fields: dict[str, float | None] = {"max_length": length}
        if stage.data == "task":
            fields |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": rate}
        for name, number in fields.items():
            if number is not None and not 0 < number < math.inf:
                option = name.replace("_", "-")
                raise UserError(f"--{option} {number:g}: must be over 0, and a finite number")
            if number is not None:
                changes[f"stages.{stage.name}.{name}"] = str(number)
        if stage.data == "task" and epochs is not None:
            changes[f"stages.{stage.name}.min_steps"] = "0"
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write it as FIELD=VALUE")
        changes[key.strip()] = value
    return changes


def caching_of(cache: bool, top: int | None, precision: str | None) -> Any:
    """Return the options of --cache-teacher as a value, or None without it."""
    from alembert.training.trace_cache import Caching

    fields = {"top": top, "precision": precision}
    fields = {name: value for name, value in fields.items() if value is not None}
    if cache:
        return Caching(**fields)  # type: ignore[arg-type]
    for name in fields:
        raise UserError(f"--cache-{name} needs --cache-teacher: give that too, or leave it out")
    return None


def precision_of(choice: str) -> str:
    if choice not in ("auto", "fp32", "bf16", "fp16"):
        raise UserError(f"--precision {choice}: choose auto, fp32, bf16 or fp16")
    return choice
