"""Reads the files of a task into training, validation and evaluation splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from alembert.data import sources
from alembert.data.encoded import Encoded, concat
from alembert.data.labels import Columns, find_columns, is_list
from alembert.data.tasks import Task, encode, hold_out, infer_task
from alembert.io.errors import UserError

HUB = "hub"  # as Files.train: a GLUE task comes from there


@dataclass(frozen=True, kw_only=True)
class Files:
    """The user's files and columns. If task names a GLUE task, `train` is its folder, or HUB."""

    train: str
    valid: str | None = None
    evaluation: str | None = None
    unlabelled: str | None = None
    task: str | None = None
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The encoded splits of a task: train, valid (for checkpoints) and test (for metrics)."""

    task: Task
    train: Encoded  # the labelled rows, then unlabelled ones
    valid: Encoded
    test: Encoded | None  # None without an evaluation file
    rows: Dataset  # the labelled rows of train before encoding
    columns: Columns
    texts: tuple[str, ...] = ()  # the readable texts of test


def prepare(
    files: Files,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    known_labels: Sequence[str] | None,
    seed: int,
    metric: str | None = None,
) -> Splits:
    """Reads, checks and encodes the files; without a validation file a slice of train is held out.

    `metric` takes the place of the usual one of the task.

    Raises UserError that names the file, and the row or column.
    """
    names = (files.text, files.text_pair, files.label)
    if files.task is not None:
        glue = sources.glue(files.task, None if files.train == HUB else files.train)
        train_rows, test_rows = glue["train"], glue["eval"]
        if files.evaluation is not None:
            test_rows = sources.read(files.evaluation)
    else:
        train_rows = sources.read(files.train)
        test_rows = sources.read(files.evaluation, "test") if files.evaluation else None
    columns = find_columns(train_rows, files.train, *names)
    task = infer_task(train_rows, columns, files.train, known_labels, metric, files.task)
    if files.valid is not None:
        valid_rows = sources.read(files.valid, "validation")
        valid_columns = find_columns(valid_rows, files.valid, *names)
    else:
        train_rows, valid_rows = hold_out(train_rows, task, columns, seed, source=files.train)
        valid_columns = columns

    def encoded(rows: Any, where: Columns, source: str, labelled: bool = True) -> Encoded:
        _check_shape(columns, is_list(train_rows, columns.text), where, rows, source)
        return encode(rows, task, where, tokenizer, max_length, source, labelled)

    train = encoded(train_rows, columns, files.train)
    if files.unlabelled is not None:
        rows = sources.read(files.unlabelled)
        where = find_columns(rows, files.unlabelled, files.text, files.text_pair, labelled=False)
        train = concat(train, encoded(rows, where, files.unlabelled, labelled=False))
    valid = encoded(valid_rows, valid_columns, files.valid or files.train)
    test, texts = None, tuple[str, ...]()
    if test_rows is not None:
        source = files.evaluation or files.train
        where = find_columns(test_rows, source, *names)
        test, texts = encoded(test_rows, where, source), readable_texts(test_rows, where)
    return Splits(
        task=task,
        train=train,
        valid=valid,
        test=test,
        rows=train_rows,
        columns=columns,
        texts=texts,
    )


def are_pairs(files: Files) -> bool:
    """Whether the training rows hold two texts each."""
    if files.task is not None:
        return sources.has_pairs(files.task)
    rows = sources.read(files.train)
    columns = find_columns(rows, files.train, files.text, files.text_pair, files.label)
    return columns.text_pair is not None


def readable_texts(rows: Dataset, columns: Columns) -> tuple[str, ...]:
    """Each row's text in readable form: words joined by spaces, a second text on a second line."""
    parts = [rows[name][:] for name in (columns.text, columns.text_pair) if name is not None]
    return tuple(
        "\n".join(" ".join(part) if isinstance(part, list) else str(part) for part in row)
        for row in zip(*parts, strict=True)
    )


def with_rows(
    splits: Splits, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, source: str
) -> Splits:
    """The splits with other rows, such as augmented ones, in place of the labelled ones."""
    train = encode(rows, splits.task, splits.columns, tokenizer, max_length, source)
    rest = splits.train.after(len(splits.rows))
    return replace(splits, train=concat(train, rest) if len(rest) else train, rows=rows)


def _check_shape(train: Columns, words: bool, other: Columns, rows: Any, source: str) -> None:
    """Raises UserError for a file whose rows have another shape than the training rows."""
    shapes = [
        "lists of words" if lists else "pairs of texts" if columns.text_pair else "single texts"
        for columns, lists in ((train, words), (other, is_list(rows, other.text)))
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{source}: its rows are {shapes[1]} and those trained on are {shapes[0]}: name the "
            "columns with --text and --text-pair, or fix the file"
        )


def prepare_file(
    files: Files,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    known_labels: Sequence[str] | None,
    metric: str | None = None,
) -> tuple[Encoded, Task]:
    """Encodes the file `files.train` to evaluate a model with these labels on."""
    rows = sources.read(files.train, "test")
    columns = find_columns(rows, files.train, files.text, files.text_pair, files.label)
    task = infer_task(rows, columns, files.train, known_labels, metric)
    return encode(rows, task, columns, tokenizer, max_length, files.train), task
