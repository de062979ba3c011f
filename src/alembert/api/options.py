"""The keywords that training functions share, and the files and settings that they stand for."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from alembert.api.named_recipes import check_name
from alembert.io.errors import Together, UserError, near

if TYPE_CHECKING:
    from alembert.data.sources import Given, Source
    from alembert.data.splits import Files
    from alembert.recipes.schema import Recipe
    from alembert.training.callbacks import Callback

# keywords that set the field of this name in a recipe's `run`
RUN = ("seed", "precision", "vocabulary", "cache_teacher", "cache_top", "cache_precision")


log = logging.getLogger(__name__)

COLUMNS = ("text", "text_pair", "label")


class Texts(TypedDict, total=False):
    """Texts of a task and the names of their columns.

    Each is a file, a folder or a hub id, or rows in memory: a Dataset, a DatasetDict, a pandas
    DataFrame or a list of dicts. A DatasetDict as train gives valid and eval, too, where it has
    splits of the names validation and test and no other rows are given.
    """

    train: "Given | None"  # with `task`, the folder of that GLUE task
    valid: "Given | None"  # selects the best checkpoint; by default a slice of train does
    eval: "Given | None"  # used for the final metrics alone; "20%" takes that share of train
    task: str | None
    columns: Mapping[str, str] | None  # {"text": "body", "text_pair": "reply", "label": "queue"}
    text: str | None
    text_pair: str | None
    label: str | None  # several columns of 0 and 1 with commas between
    kind: str | None  # a key of data.tasks.METRICS; by default labels tell
    skip_bad_rows: int | None  # most rows that are left out where they cannot be read
    fix_offsets: bool | None  # of answers that are off by one or by white space
    windows: bool | None  # of long texts, which are truncated without
    # chooses and is reported: a name, or one's own, as module:function or the function itself
    metric: "str | Callable[..., float] | None"


class Run(TypedDict, total=False):
    """Settings of a run; epochs, batch_size and learning_rate are those of the task stages."""

    epochs: float | None
    batch_size: int | None
    learning_rate: float | None
    max_length: int | None
    settings: Mapping[str, Any] | None  # of the recipe: {"stages.task.clip": 2}
    seed: int
    precision: str  # auto, fp32, bf16 or fp16


class Watched(TypedDict, total=False):
    """What watches a run: callbacks are objects, or "module:Class"; track names tools."""

    callbacks: "Sequence[str | Callback] | None"
    track: Sequence[str] | None  # tensorboard, wandb, mlflow or trackio


class FinetuneOptions(Texts, Run, Watched, total=False):
    """Keywords of finetune. corpus: plain text, or a folder of `alembert corpus`.

    baselines=False leaves out the cheap models of scikit-learn that are measured on eval, too.
    slices names columns of eval by whose values the result is measured. seeds repeats the run
    with so many seeds, in folders of their own, and returns the best on held-out texts.
    """

    corpus: str | None
    unlabelled: "Given | None"
    baselines: bool | None
    slices: Sequence[str] | None
    seeds: int | None


class TuneOptions(Texts, Run, total=False):
    """Keywords of tune. layers and hidden_size: the shape of a new student."""

    unlabelled: "Given | None"
    student: str | None
    layers: int | None
    hidden_size: int | None


class DistillOptions(TuneOptions, FinetuneOptions, total=False):
    """Keywords of distill. mlm and vectors augment texts; cache_* keep the teacher's outputs.

    export=False leaves out the int8 export of a task's student, with which a distillation ends.
    with_undistilled=True trains the same student without its teacher, too, on a task.
    """

    general_teacher: str | None
    mlm: str | None
    vectors: str | None
    vocabulary: str | None
    cache_teacher: bool
    cache_top: int | None
    cache_precision: str | None
    export: bool | None
    with_undistilled: bool | None


class CheckOptions(TuneOptions, total=False):
    """Keywords of check, all as in the training that is meant."""


class SearchOptions(Texts, total=False):
    """Keywords of search: the budget, and how candidates are trained."""

    max_latency_ms: float | None
    min_retention: float | None
    min_speedup: float | None
    unlabelled: "Given | None"
    length: int | None
    trials: int
    steps: int
    epochs: float | None
    recipes: str | None
    vocabulary: str
    max_length: int
    seed: int
    precision: str


def check_names(given: Mapping[str, Any], allowed: type, function: str) -> None:
    """Raise TypeError, as Python does, for a keyword that a function does not have."""
    for name in given:
        if name not in allowed.__annotations__:
            like = near(name, allowed.__annotations__)
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{like}")


def checked_files(
    given: Mapping[str, Any],
    models: Sequence[str | None] = (),
    recipe: "str | Recipe | None" = None,
    out: "str | Path | None" = None,
) -> "Files | None":
    """Return the files of a task; UserError with a line for each keyword or input that is wrong.

    Only what is on this machine is looked at: no hub is asked. models are paths or hub ids, and out
    is the folder of the run.
    """
    from alembert.data.labels import named_column
    from alembert.data.sources import check_name as check_texts
    from alembert.models.loading import model_path
    from alembert.runs.folder import TEACHER
    from alembert.runs.folder.identity import check_free
    from alembert.training import trackers

    together, files = Together(), None
    with together.checking():
        check_numbers(given)
    if recipe is not None:
        with together.checking():
            check_name(recipe)
    with together.checking():
        files = files_of(given)
    paths = [] if files is None else files.sources.values()
    read = files is not None and not files.skips.most
    for source in paths:
        with together.checking():
            if not source.in_memory and source.task is None:
                check_texts(source.name)
                if read and files is not None and Path(source.name).expanduser().exists():
                    rows = source.rows  # are read once, and kept
                    options = zip(COLUMNS, files.named, strict=True)
                    for name, column in options if source is files.train else ():
                        if column is not None and "," not in column:  # A,B,C are several columns
                            with together.checking():
                                option = f"--{name.replace('_', '-')}"
                                named_column(rows, source.name, column, option)
    named = [given.get(name) for name in ("student", "general_teacher", "mlm")]
    for path in filter(None, [*models, *named]):
        with together.checking():
            model_path(path)
    if (corpus := given.get("corpus")) is not None:
        with together.checking():
            check_texts(corpus)
    for name in given.get("track") or ():
        with together.checking():
            trackers.check(name)
    for check in (metric_of, callbacks_of):
        with together.checking():
            check(given)
    if out is not None:
        with together.checking():
            check_free(Path(out), TEACHER)
    together.tell()
    return files


def check_numbers(given: Mapping[str, Any]) -> None:
    """Raise UserError for a setting of the stages that is not over 0, or not finite."""
    for name in ("max_length", "epochs", "batch_size", "learning_rate"):
        number = given.get(name)
        if number is not None and not 0 < number < math.inf:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {number:g}: must be over 0, and a finite number")


def files_of(given: Mapping[str, Any]) -> "Files | None":
    """Return the files of a task, or None without one; UserError for others without train."""
    from alembert.data.sources import HUB
    from alembert.data.splits import Files
    from alembert.runs.texts.apart import share_of, with_share_apart

    columns, task, train = columns_of(given), given.get("task"), given.get("train")
    if train is None or (isinstance(train, str) and not train):
        train = HUB if task is not None else None
    if train is None:
        for name in ("valid", "eval", "unlabelled", "metric"):
            if given.get(name) is not None:
                raise UserError(f"--{name} is for the task stages: it needs --train")
        return None
    if task is not None and not isinstance(train, str | Path):
        raise UserError(f"--task {task}: train is then the folder of that task, or left out")
    rest = {name: given.get(name) for name in ("valid", "eval")} | _splits_of(train, given)
    share = share_of(rest["eval"])
    if share is not None and task is not None:
        raise UserError(f"--eval {rest['eval']}: --task {task} has rows of its own for it")
    files = Files(
        train=train,
        valid=rest["valid"],
        evaluation=None if share is not None else rest["eval"],
        unlabelled=given.get("unlabelled"),
        task=task,
        text=columns["text"], text_pair=columns["text_pair"], label=columns["label"],
        kind=given.get("kind"),
        fix_offsets=bool(given.get("fix_offsets")),
        windows=bool(given.get("windows")),
        skip_bad_rows=given.get("skip_bad_rows") or 0,
    )  # fmt: skip
    return files if share is None else with_share_apart(files, share)


def labelled_files(data: "Given", given: Mapping[str, Any]) -> "Files":
    """Return labelled texts that are given as `data`, whose columns are named as in `columns_of`.

    Raises UserError.
    """
    from alembert.data.sources import Source
    from alembert.data.splits import Files

    columns = columns_of(given)
    return Files(
        train=Source(data, "data"), text=columns["text"], text_pair=columns["text_pair"],
        label=columns["label"], kind=given["kind"], fix_offsets=given["fix_offsets"],
        skip_bad_rows=given["skip_bad_rows"], windows=bool(given.get("windows")),
    )  # fmt: skip


def columns_of(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the columns `text`, `text_pair` and `label` that are named by keyword or `columns`.

    Raises UserError for another key, for a name that is no text, and for one that is named twice.
    """
    named = {name: given.get(name) for name in COLUMNS}
    for key, column in (given.get("columns") or {}).items():
        if key not in COLUMNS:
            raise UserError(f"columns: {key!r} is none of {', '.join(COLUMNS)}: rename the key")
        if not isinstance(column, str):
            raise UserError(f"columns: {key!r} is {column!r}: give the name of a column")
        if named[key] is not None:
            raise UserError(f"columns: {key!r} is given as {key}, too: leave one of them out")
        named[key] = column
    return named


def _splits_of(train: Any, given: Mapping[str, Any]) -> dict[str, "Source"]:
    """Return the splits of a DatasetDict, given as train, that serve as valid and eval."""
    from datasets import DatasetDict

    from alembert.data.sources import SPLITS, Source

    if not isinstance(train, DatasetDict):
        return {}
    free = [role for role in ("valid", "eval") if given.get(role) is None]
    used = {role: Source(train).with_role(role) for role in free if SPLITS[role] in train}
    unread = set(train) - {"train", *(SPLITS[role] for role in used)}
    if unread:
        log.info(f"splits of the DatasetDict that are not read: {', '.join(sorted(unread))}")
    return used


def changes_of(recipe: "Recipe", given: Mapping[str, Any]) -> dict[str, str]:
    """Return the keywords as settings of a recipe: "stages.NAME.FIELD" -> YAML."""
    changes: dict[str, str] = {}
    cached = recipe.run.cache_teacher
    check_numbers(given)
    for stage in recipe.stages:
        labels = stage.data == "task" and stage.teacher == "run"
        task = ("epochs", "batch_size", "learning_rate") if labels else ()
        for name in ("max_length", *task):
            if (number := given.get(name)) is not None:
                changes[f"stages.{stage.name}.{name}"] = str(number)
        if labels and given.get("epochs") is not None:
            changes[f"stages.{stage.name}.min_steps"] = "0"
    if (seed := given.get("seed")) is not None:
        type(recipe.run)(seed=seed)  # refused here as --seed, and not as YAML
    for name in RUN:
        if given.get(name) is not None:
            changes[f"run.{name}"] = json.dumps(given[name])
    for name in ("cache_top", "cache_precision"):
        if given.get(name) is not None and not (given.get("cache_teacher") or cached):
            option = name.replace("_", "-")
            raise UserError(f"--{option} needs --cache-teacher: give that too, or leave it out")
    if (metric := metric_of(given)) is not None:
        changes["metric"] = json.dumps(metric)
    for key, value in (given.get("settings") or {}).items():
        changes[key] = value if isinstance(value, str) else json.dumps(value)
    return changes


def metric_of(given: Mapping[str, Any]) -> str | None:
    """Return the metric, None for the task's usual one; UserError for a function not found."""
    from alembert.evaluation import own_metric
    from alembert.io.named import is_named, name_of

    asked: str | Callable[..., float] | None = given.get("metric")
    metric = name_of(asked, "metric") if callable(asked) else asked
    if metric is not None and is_named(metric):
        own_metric.check(metric, "--metric")
    return metric


def callbacks_of(given: Mapping[str, Any]) -> "tuple[Callback, ...]":
    """Return the callbacks; UserError for what is none."""
    if not (callbacks := given.get("callbacks")):
        return ()
    from alembert.training.callbacks import callback_of

    return tuple(map(callback_of, callbacks))


def check_unshaped(changes: dict[str, str], why: str) -> None:
    """Raise UserError for changes of a shape or start that a saved model decides."""
    for key in changes:
        if key.startswith(("student.", "init.")) and "dropout" not in key:
            raise UserError(f"--set {key}: {why}")
