"""A run's texts as the tokenizers of its student and its teacher encode them."""

import hashlib
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Value
from transformers import PreTrainedTokenizerBase

from alembert.augmentation.augment_file import augment_file
from alembert.augmentation.word_vectors import read_vectors
from alembert.data import sources
from alembert.data.corpus.corpus import prepared, read_corpus
from alembert.data.splits import Splits, prepare, with_rows
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep
from alembert.models import loading, tokenizer_pruning
from alembert.recipes.schema import Stage, replaced
from alembert.runs import trim
from alembert.runs.folder.writing import open_run
from alembert.runs.job import Job

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

    def head(self, stage: Stage) -> str:
        """Return the head that a stage's models need."""
        return stage.head(self.splits.task.kind if self.splits else "")


def encode_task(job: Job, path: str) -> EncodedTask:
    """Return the job's files as the tokenizer of the model at `path` encodes them."""
    tokenizer = loading.load_tokenizer(path)
    if job.files is None:
        return EncodedTask(tokenizer, None)
    teacher = job.task_teacher
    known = loading.label_names_of(loading.load_config(teacher)) if teacher else None
    splits = prepare(job.files, tokenizer, job.max_length, known, job.seed, job.recipe.metric)
    return EncodedTask(tokenizer, splits)


def encode_for_teacher(job: Job, student_task: EncodedTask, path: str | None = None) -> EncodedTask:
    """Return `student_task` as the teacher encodes it, unchanged where both vocabularies agree.

    `path` names a teacher other than the task's first.
    """
    path = path or job.task_teacher
    if path is None or student_task.splits is None:
        return student_task
    if loading.load_tokenizer(path).get_vocab() == student_task.tokenizer.get_vocab():
        return student_task
    return _with_rows(job, encode_task(job, path), student_task.splits.rows)


def _with_rows(job: Job, task: EncodedTask, rows: Dataset) -> EncodedTask:
    """Return the task with these labelled training rows, which may have augmented texts."""
    if task.splits is None or job.files is None or len(task.splits.rows) == len(rows):
        return task
    length, source = job.max_length, job.files.train.name
    return replace(task, splits=with_rows(task.splits, rows, task.tokenizer, length, source))


def trim_to_task(job: Job, student_task: EncodedTask, leads: bool) -> tuple[Job, EncodedTask]:
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
        ids = _ids_needed(job, student_task, list(full.values()))
        open_run(job)
        for name in missing:
            with atomic(at[name]) as partial:
                trim.write(full[name], ids, partial)
                keep(partial, sorted(path.name for path in partial.iterdir() if path.is_file()))
    first = str(next(iter(at.values())))
    config = loading.load_config(first)
    log.info(f"vocabulary: {config.vocab_size:,} tokens of {len(student_task.tokenizer):,} stay")
    ids_of_student = {
        name: getattr(config, name)
        for name in job.recipe.student
        if name == "vocab_size" or name.endswith("_token_id")
    }
    recipe = replaced(job.recipe, student=job.recipe.student | ids_of_student)
    paths: dict[str, Any] = {name: str(path) for name, path in at.items()}
    smaller = replace(job, recipe=recipe, vocabulary=None, **paths)
    task = encode_task(smaller, first)
    if student_task.splits is not None:
        task = _with_rows(job, task, student_task.splits.rows)
    return smaller, task


def _ids_needed(job: Job, student_task: EncodedTask, teachers: list[str]) -> list[int]:
    """Return the token ids of all training texts; UserError for teachers of two vocabularies."""
    state, required = tokenizer_pruning.state_of(student_task.tokenizer, teachers[0]), set[int]()
    for path in teachers:
        if loading.load_tokenizer(path).get_vocab() != student_task.tokenizer.get_vocab():
            raise UserError(
                f"--vocabulary: {path} has another vocabulary than {teachers[0]}: leave it out"
            )
        required |= trim.required_ids(state, loading.load_config(path))
    counts = np.zeros(max(loading.load_config(path).vocab_size for path in teachers), np.int64)
    if student_task.splits is not None:
        for part in (student_task.splits.train, student_task.splits.valid):
            counts += np.bincount(part.input_ids, minlength=len(counts))
    for stage in job.stages:
        if stage.data == "corpus" and job.corpus is not None:
            of_corpus = read_corpus(job.corpus, student_task.tokenizer, stage.max_length).counts
            counts[: len(of_corpus)] += of_corpus
    return tokenizer_pruning.choose_ids(state, required, None, 1.0, counts.tolist())


def augmented(job: Job, student_task: EncodedTask) -> EncodedTask:
    """Return the task with augmented texts among the labelled training rows, where possible."""
    settings, splits = job.recipe.augment, student_task.splits
    if splits is None or job.files is None or settings is None:
        return student_task
    mlm = job.mlm
    if mlm is None and job.general_teacher and loading.has_head(job.general_teacher, "words"):
        mlm = job.general_teacher
    if job.task_teacher is None or (mlm is None and job.vectors is None):
        needed = "a masked language model, or word vectors: --mlm DIR"
        needed = "a teacher" if job.task_teacher is None else needed
        log.info(f"augmentation is left out: it needs {needed}")
        return student_task
    rows = _numbers_as_text(splits)
    made = job.out / f"augmented-{_digest(rows)}.parquet"
    variants = _read_variants(made)
    if variants is None:
        if mlm is not None:  # a wrong name raises UserError before the run folder is written
            loading.load_model(mlm, "words")
        if job.vectors is not None:
            read_vectors(Path(job.vectors))
        open_run(job)
        augment_file(
            job.files.train.name, made, mlm=mlm, vectors=Path(job.vectors) if job.vectors else None,
            embeddings=None, settings=settings, seed=job.seed, text=splits.columns.text,
            text_pair=splits.columns.text_pair, precision=job.precision, data=rows,
        )  # fmt: skip
        keep(job.out, [made.name])
        variants = sources.read(str(made))
    _remove_old(job.out, made)
    log.info(f"augmentation: {len(rows):,} rows became {len(variants):,}")
    return _with_rows(job, student_task, variants)


def _read_variants(made: Path) -> Dataset | None:
    """Return the variants of an earlier start, or None; an unreadable file is deleted."""
    if not made.is_file():
        return None
    try:
        return sources.read(str(made))
    except UserError as error:
        log.info(f"{error}: it is made again")
        made.unlink()
        return None


def _numbers_as_text(splits: Splits) -> Dataset:
    """Return the labelled rows with numbers in text columns as strings."""
    rows = splits.rows
    for name in filter(None, (splits.columns.text, splits.columns.text_pair)):
        feature = rows.features[name]
        if isinstance(feature, Value) and feature.dtype not in ("string", "large_string"):
            rows = rows.cast_column(name, Value("string"))
    return rows


def _digest(rows: Dataset) -> str:
    """Return a digest of the rows: their file may have changed since the run was started."""
    table: pa.Table = rows.with_format("arrow")[:]
    state = hashlib.sha256()
    for batch in table.to_batches():
        state.update(batch.serialize())
    return state.hexdigest()[:12]


def _remove_old(out: Path, made: Path) -> None:
    """Remove files of an interrupted augmentation, or of one of other rows."""
    for path in out.glob("augmented-*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path != made:
            path.unlink()
