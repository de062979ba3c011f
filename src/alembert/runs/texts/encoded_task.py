"""A run's texts as the tokenizers of its student and its teacher encode them."""

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Value
from datasets.table import InMemoryTable
from transformers import PreTrainedTokenizerBase

from alembert.augmentation.augment_file import (
    Augmentation,
    checked_mlm,
    make_variants,
    own_vectors,
    read_variants,
    ready,
    rows_of_variants,
    word_vectors,
)
from alembert.augmentation.word_vectors import Vectors
from alembert.data.corpus.corpus import prepared, read_corpus
from alembert.data.splits import Splits, Variants, prepare, with_variants
from alembert.data.tables import digest_of
from alembert.data.tasks import Kind
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep
from alembert.models import tokenizer_pruning
from alembert.recipes.schema import Stage, replaced, with_run
from alembert.runs import trim
from alembert.runs.folder.writing import open_run
from alembert.runs.job import Job
from alembert.training.teacher import Teacher, Teachers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedTask:
    """A tokenizer and the task's rows as it encodes them; None for a run without a task."""

    tokenizer: PreTrainedTokenizerBase
    splits: Splits | None

    @property
    def pad(self) -> int:
        """The id of the padding token."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def windows(self) -> bool:
        """Whether long texts are read in windows."""
        return self.splits is not None and self.splits.windows

    def head(self, stage: Stage) -> str:
        """Return the head that a stage's models need."""
        return stage.head(self.splits.task.kind if self.splits else "")


def encode_task(job: Job, source: Teacher, teachers: Teachers) -> EncodedTask:
    """Return the job's files as the tokenizer of the model `source` encodes them."""
    tokenizer = source.tokenizer
    if job.files is None:
        return EncodedTask(tokenizer, None)
    labels_of = job.task_teacher or job.labels_of
    known = teachers[labels_of].labels if labels_of else None
    splits = prepare(job.files, tokenizer, job.max_length, known, job.seed, job.recipe.metric)
    return EncodedTask(tokenizer, splits if job.task_teacher is not None else splits.apart)


def encode_for_teacher(
    job: Job, student_task: EncodedTask, teacher: Teacher | None, teachers: Teachers
) -> EncodedTask:
    """Return `student_task` as a teacher encodes it, unchanged where both vocabularies agree."""
    if teacher is None or student_task.splits is None:
        return student_task
    if teacher.vocabulary == student_task.tokenizer.get_vocab():
        return student_task
    task = encode_task(job, teacher, teachers)
    return _with_variants(job, task, student_task.splits.variants)


def _with_variants(job: Job, task: EncodedTask, variants: Variants | None) -> EncodedTask:
    """Return the task with these variants among the labelled training rows, if there are any."""
    if task.splits is None or job.files is None or variants is None:
        return task
    source = job.files.train.name
    splits = with_variants(task.splits, variants, task.tokenizer, job.max_length, source)
    return replace(task, splits=splits)


def trim_to_task(
    job: Job, student_task: EncodedTask, leads: bool, teachers: Teachers
) -> tuple[Job, EncodedTask]:
    """Return the job with teachers trimmed to the tokens of its texts, and the texts encoded anew.

    The trimmed teachers are written to RUN/vocabulary; their outputs on training texts and corpus
    are those of the full ones. Texts of --eval do not count.
    """
    named = {"teacher": job.teacher, "general_teacher": job.general_teacher}
    full = {name: path for name, path in named.items() if path is not None}
    if not full:
        raise UserError("--vocabulary trims the teacher's vocabulary: name one with --teacher")
    if job.corpus is not None and prepared(job.corpus):
        raise UserError(
            f"{job.corpus}: was prepared with all tokens, and --vocabulary drops some: give "
            "--corpus the text itself"
        )
    at = {name: job.out / "vocabulary" / name.replace("_", "-") for name in full}
    if leads and (missing := [name for name in at if not (at[name] / "config.json").is_file()]):
        ids = _ids_needed(job, student_task, [teachers[path] for path in full.values()])
        open_run(job)
        for name in missing:
            with atomic(at[name]) as partial:
                trim.write(teachers[full[name]], ids, partial)
                keep(partial, sorted(path.name for path in partial.iterdir() if path.is_file()))
    teachers.release_others(None)  # the stages imitate the smaller ones
    first = teachers[str(next(iter(at.values())))]
    config = first.config
    log.info(f"vocabulary: {config.vocab_size:,} tokens of {len(student_task.tokenizer):,} stay")
    ids_of_student = {
        name: getattr(config, name)
        for name in job.recipe.student
        if name == "vocab_size" or name.endswith("_token_id")
    }
    untrimmed = with_run(job.recipe, vocabulary=None)  # the teachers on disk are trimmed by now
    recipe = replaced(untrimmed, student=job.recipe.student | ids_of_student)
    paths: dict[str, Any] = {name: str(path) for name, path in at.items()}
    smaller = replace(job, recipe=recipe, **paths)
    task = encode_task(smaller, first, teachers)
    variants = student_task.splits.variants if student_task.splits is not None else None
    return smaller, _with_variants(job, task, variants)


def _ids_needed(job: Job, student_task: EncodedTask, teachers: list[Teacher]) -> list[int]:
    """Return the token ids of all training texts; UserError for teachers of two vocabularies."""
    first, required = teachers[0], set[int]()
    state = tokenizer_pruning.state_of(student_task.tokenizer, first.path)
    for teacher in teachers:
        if teacher.vocabulary != student_task.tokenizer.get_vocab():
            raise UserError(
                f"--vocabulary: {teacher} has another vocabulary than {first}: leave it out"
            )
        required |= trim.required_ids(state, teacher.config)
    counts = np.zeros(max(teacher.config.vocab_size for teacher in teachers), np.int64)
    if student_task.splits is not None:
        for part in (student_task.splits.train, student_task.splits.valid):
            counts += np.bincount(part.input_ids, minlength=len(counts))
    for stage in job.stages:
        if stage.data == "corpus" and job.corpus is not None:
            of_corpus = read_corpus(job.corpus, student_task.tokenizer, stage.max_length).counts
            counts[: len(of_corpus)] += of_corpus
    return tokenizer_pruning.choose_ids(state, required, None, 1.0, counts.tolist())


def augmented(job: Job, student_task: EncodedTask, teachers: Teachers) -> EncodedTask:
    """Return the task with augmented texts among the labelled training rows, where possible."""
    settings, splits = job.recipe.augment, student_task.splits
    if splits is None or job.files is None or settings is None:
        return student_task
    if job.task_teacher is None:
        log.info("augmentation is left out: it needs a teacher")
        return student_task
    most, settings = settings.most, settings.of_rows(len(splits.rows), len(splits.columns.texts))
    if settings.copies + settings.partners < 1:
        log.info(
            f"augmentation is left out: {len(splits.rows):,} rows and a variant of each are more "
            f"than {most:,} (augment.most)"
        )
        return student_task
    mlm = job.mlm
    if mlm is None and job.general_teacher and teachers[job.general_teacher].has_head("words"):
        mlm = job.general_teacher
    rows, names = _numbers_as_text(splits), splits.columns.texts
    made = job.out / f"augmented-{digest_of(rows)[:12]}.parquet"
    table = _earlier_variants(made, len(names) == 2)
    if table is None:
        masked = None  # a wrong name raises UserError before the run folder is written
        if mlm is not None:
            model, tokenizer = teachers[mlm].model("words"), teachers[mlm].tokenizer
            masked = ready(checked_mlm(model, tokenizer, mlm), mlm, job.precision)
        near = _near(job, teachers[job.task_teacher], splits.task.kind, mlm)
        open_run(job)
        how = Augmentation(
            settings=settings,
            seed=job.seed,
            precision=job.precision,
            vectors=near,
            mlm=masked,
        )
        table = make_variants(rows, splits.columns, job.files.train.name, made, how)
        keep(job.out, [made.name])
    _remove_old(job.out, made)
    log.info(f"augmentation: {len(rows):,} rows became {len(rows) + len(table):,}")
    varied = rows_of_variants(rows.with_format("arrow")[:], names, table)
    variants = Variants(Dataset(InMemoryTable(varied)), table["row"].to_numpy())
    return _with_variants(job, student_task, variants)


def _near(job: Job, teacher: Teacher, kind: Kind, mlm: str | None) -> Vectors | None:
    """Return the vectors of --vectors; without them and an MLM, those of the teacher's tokens."""
    if job.vectors is not None or mlm is not None:
        return word_vectors(Path(job.vectors) if job.vectors else None, None, mlm)
    return own_vectors(teacher.model(kind), teacher.tokenizer, teacher.path)


def _earlier_variants(made: Path, pairs: bool) -> pa.Table | None:
    """Return the variants of an earlier start, or None; an unreadable file is deleted."""
    if not made.is_file():
        return None
    try:
        return read_variants(made, pairs)
    except UserError as error:
        log.info(f"{error}: it is made again")
        made.unlink()
        return None


def _numbers_as_text(splits: Splits) -> Dataset:
    """Return the labelled rows with numbers in text columns as strings."""
    rows = splits.rows
    for name in splits.columns.texts:
        feature = rows.features[name]
        if isinstance(feature, Value) and feature.dtype not in ("string", "large_string"):
            rows = rows.cast_column(name, Value("string"))
    return rows


def _remove_old(out: Path, made: Path) -> None:
    """Remove files of an interrupted augmentation, or of one of other rows."""
    for path in out.glob("augmented-*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path != made:
            path.unlink()
