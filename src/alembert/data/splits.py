"""Reads the files of a task into training, validation and evaluation splits."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from alembert.data import sources
from alembert.data.encoded import Encoded, concat
from alembert.data.files.skipped import Skips, refuse
from alembert.data.forms import Form, Labelled, Named, read_labels
from alembert.data.labels import Columns, find_columns, is_list
from alembert.data.questions.answers import are_questions
from alembert.data.sources import Given, Source
from alembert.data.tasks import (
    Task,
    check_shape,
    encode,
    hold_out,
    infer_task,
)
from alembert.data.texts.raw import RawRows, readable_texts
from alembert.data.texts.windows import TextWindows
from alembert.io.environment import recorded_files
from alembert.io.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, init=False)
class Files:
    """The user's texts and their columns, each text file or value in memory as a `Source`.

    If task names a GLUE task, `train` is its folder, or HUB. `kind` is that of the task, which the
    labels tell by default, and `skips` takes the rows of all files that are left out, as many as
    skip_bad_rows says. fix_offsets mends offsets of answers, as Form has it; windows reads long
    texts in windows, where they are truncated without.
    """

    train: Source
    valid: Source | None
    evaluation: Source | None
    unlabelled: Source | None
    task: str | None
    text: str | None
    text_pair: str | None
    label: str | None
    kind: str | None
    fix_offsets: bool
    windows: bool
    skip_bad_rows: Skips
    _made: dict[tuple[object, ...], Labelled] = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        *,
        train: Given | Source,
        valid: Given | Source | None = None,
        evaluation: Given | Source | None = None,
        unlabelled: Given | Source | None = None,
        task: str | None = None,
        text: str | None = None,
        text_pair: str | None = None,
        label: str | None = None,
        kind: str | None = None,
        fix_offsets: bool = False,
        windows: bool = False,
        skip_bad_rows: int | Skips = 0,
    ) -> None:
        if kind is not None and task is not None:
            raise UserError(f"--kind {kind}: --task {task} names the kind: leave one out")
        by_path: dict[str, Source] = {}  # a file given twice is read once
        skips = Skips(skip_bad_rows) if isinstance(skip_bad_rows, int) else skip_bad_rows

        def source(given: Given | Source | None, role: str, task: str | None) -> Source | None:
            if given is None:
                return None
            if isinstance(given, Source):
                given.bad = skips if given.bad is refuse else given.bad
                return given
            made = Source(given, role, task, skips)
            if not isinstance(made.given, str) or task is not None:
                return made
            return by_path.setdefault(made.given, made).with_role(role)

        given = {"train": train, "valid": valid, "eval": evaluation, "unlabelled": unlabelled}
        values: dict[str, object] = {
            "evaluation" if role == "eval" else role: source(
                each, role, task if role == "train" else None
            )
            for role, each in given.items()
        }
        values |= {"task": task, "text": text, "text_pair": text_pair, "label": label}
        values |= {"kind": Form(kind=kind).kind, "fix_offsets": fix_offsets}
        values |= {"windows": windows, "skip_bad_rows": skips}
        object.__setattr__(self, "_made", {})
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def skips(self) -> Skips:
        """Takes the rows that are left out; shared with files that `replace` makes of these."""
        return self.skip_bad_rows

    @property
    def named(self) -> Named:
        """The names of the columns that the user gave."""
        return self.text, self.text_pair, self.label

    @property
    def form(self) -> Form:
        """How labels are read, as far as the user says; labels of GLUE are in the right form."""
        if self.task is not None:
            return Form(kind=sources.glue_kind(self.task))
        return Form(kind=self.kind, fix_offsets=self.fix_offsets)

    def as_trained(self, model: str) -> "Files":
        """The files with the columns and the kind that the run of `model` has on record.

        What the user names comes first, and columns that these rows lack are not taken over.
        """
        record = recorded_files(model)
        if not record:
            return self
        there = {name.strip().casefold() for name in self.train.rows.column_names}

        def column(name: str) -> str | None:
            value = record.get(name, "")
            names = {value.casefold()} & there or {x.strip().casefold() for x in value.split(",")}
            return value if names <= there else None

        text, pair = self.text, self.text_pair
        if text is None and (text := column("text")) is not None:
            pair = column("text_pair")
        label, kind = self.label or column("label"), self.kind or record.get("kind")
        options = {"--text": text, "--text-pair": pair, "--label": label, "--kind": kind}
        if (*self.named, self.kind) == tuple(options.values()):
            return self
        words = [f"{option} {value}" for option, value in options.items() if value is not None]
        log.info(f"{self.train.name}: read as the run of {model} has it: {' '.join(words)}")
        return replace(self, text=text, text_pair=pair, label=label, kind=kind)

    def labelled(
        self, source: Source, known: Sequence[str] | None, form: Form | None = None
    ) -> Labelled:
        """The rows of a source with their labels in the form of tasks, rewritten once.

        `known` are the labels of a model, and `form` that of the training rows.
        """
        key = (source.name, source.role, tuple(known or ()), form)
        if key not in self._made:
            self._made[key] = read_labels(
                source.rows, source.name, self.named, known, form or self.form, self.skips
            )
        return self._made[key]

    @property
    def test(self) -> Source | None:
        """The rows for the final metrics: of the evaluation file, or of the GLUE task."""
        if self.evaluation is None and self.task is not None:
            return self.train.with_role("eval")
        return self.evaluation

    @property
    def sources(self) -> dict[str, Source]:
        """The sources that are given, by their names here."""
        named = {"train": self.train, "valid": self.valid, "evaluation": self.test}
        named["unlabelled"] = self.unlabelled
        return {name: source for name, source in named.items() if source is not None}

    @property
    def arguments(self) -> dict[str, str | int | None]:
        """The fields as texts, as environment.json has them: a path, or the identity of rows.

        Those that were not always there are left out unless they are given.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["_made"]
        values["skip_bad_rows"] = self.skips.most
        new = ("kind", "fix_offsets", "windows", "skip_bad_rows")  # not in runs of before
        return {
            name: value.identity if isinstance(value, Source) else value
            for name, value in values.items()
            if name not in new or value
        }


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The encoded splits of a task: train, valid (for checkpoints) and test (for metrics)."""

    task: Task
    train: Encoded  # the labelled rows, then unlabelled ones unless these are apart
    valid: Encoded
    test: Encoded | None  # None without an evaluation file
    rows: Dataset  # the labelled rows of train before encoding, without variants
    columns: Columns
    raw_valid: RawRows
    raw_test: RawRows | None = None
    raw_unlabelled: RawRows | None = None
    unlabelled: Encoded | None = None  # where they are no part of train
    texts: tuple[str, ...] = ()  # the readable texts of test
    variants: "Variants | None" = None  # those among train

    @property
    def raw_train(self) -> RawRows:
        """The labelled rows of train, without variants."""
        return RawRows(self.rows, self.columns)

    @property
    def labelled_train(self) -> Encoded:
        """The rows of train that `raw_train` has, in its order."""
        if self.variants is None or self.windows:  # labelled texts have the first numbers
            return self.train.take(np.flatnonzero(self.train.texts < len(self.rows)))
        places = np.arange(len(self.rows))  # each row is followed by its variants
        return self.train.take(places + np.searchsorted(np.sort(self.variants.of), places))

    @property
    def apart(self) -> "Splits":
        """The splits with the labelled rows alone in train, for where no teacher labels others.

        There are no variants then, which a teacher alone labels.
        """
        if self.raw_unlabelled is None:
            return self
        others = self.train.take(np.flatnonzero(self.train.texts >= len(self.rows)))
        if isinstance(others, TextWindows):  # numbers its own texts
            others = replace(others, of=others.of - len(self.rows))
        return replace(self, train=self.labelled_train, unlabelled=others)

    @property
    def windows(self) -> bool:
        """Whether long texts are read in windows; questions have windows of their own."""
        return isinstance(self.train, TextWindows)


@dataclass(frozen=True)
class Variants:
    """Rows with augmented texts, and the number of the labelled row that each is a variant of."""

    rows: Dataset
    of: NDArray[np.int64]


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
    train = files.labelled(files.train, known_labels)
    train_rows, columns, source = train.rows, train.columns, files.train.name
    task = infer_task(train_rows, columns, source, train.known, metric, files.task)
    known = task.labels if task.kind != "regression" else None
    if files.valid is not None:
        read = files.labelled(files.valid, known, train.form)
        valid_rows, valid_columns = read.rows, read.columns
    else:
        train_rows, valid_rows = hold_out(train_rows, task, columns, seed, source=source)
        valid_columns = columns

    def encoded(rows: Any, where: Columns, source: Source, **how: bool) -> Encoded:
        check_shape(columns, is_list(train_rows, columns.text), where, rows, source.name)
        how |= {"windows": files.windows}
        return encode(rows, task, where, tokenizer, max_length, source.name, **how)

    encoded_train = encoded(train_rows, columns, files.train)
    raw_unlabelled = None
    if (more := files.unlabelled) is not None:
        where = find_columns(more.rows, more.name, files.text, files.text_pair, labelled=False)
        encoded_train = concat(encoded_train, encoded(more.rows, where, more, labelled=False))
        raw_unlabelled = RawRows(more.rows, where)
    valid = encoded(valid_rows, valid_columns, files.valid or files.train, lenient=True)
    test, raw_test, texts = None, None, tuple[str, ...]()
    if files.test is not None:
        read = files.labelled(files.test, known, train.form)
        test = encoded(read.rows, read.columns, files.test, lenient=True)
        texts = readable_texts(read.rows, read.columns)
        raw_test = RawRows(read.rows, read.columns)
    return Splits(
        task=task,
        train=encoded_train,
        valid=valid,
        test=test,
        rows=train_rows,
        columns=columns,
        raw_valid=RawRows(valid_rows, valid_columns),
        raw_test=raw_test,
        raw_unlabelled=raw_unlabelled,
        texts=texts,
    )


def are_pairs(files: Files) -> bool:
    """Whether the training rows hold two texts each."""
    if files.task is not None:
        return sources.has_pairs(files.task)
    if are_questions(files.train.rows, files.named, files.kind):
        return True
    return find_columns(files.train.rows, files.train.name, *files.named).text_pair is not None


def with_variants(
    splits: Splits,
    variants: Variants,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    source: str,
) -> Splits:
    """The splits with each labelled row followed by its variants, which alone are encoded.

    Variants have no label: a word may be replaced by its opposite, which the teacher sees.
    """
    train = splits.train
    if len(variants.of):
        more = encode(
            variants.rows, splits.task, splits.columns, tokenizer, max_length, source,
            labelled=False, windows=splits.windows,
        )  # fmt: skip
        numbers = np.concatenate((train.texts, variants.of[more.texts]))
        train = concat(train, more).take(np.argsort(numbers, kind="stable"))
    return replace(splits, train=train, variants=variants)


def prepare_file(
    files: Files,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    known_labels: Sequence[str] | None,
    metric: str | None = None,
) -> tuple[Encoded, Task]:
    """Encodes the file `files.train` to evaluate a model with these labels on."""
    source = files.train.with_role("eval")
    read = files.labelled(source, known_labels)
    task = infer_task(read.rows, read.columns, source.name, read.known, metric, lenient=True)
    how = {"lenient": True, "windows": files.windows}
    return encode(read.rows, task, read.columns, tokenizer, max_length, source.name, **how), task
