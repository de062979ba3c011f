"""A run's texts as its student and its teacher read them, each by its own tokenizer."""

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
from alembert.io.files import atomic
from alembert.models import tokenizer_pruning
from alembert.models.loading import (
    has_head,
    label_names_of,
    load_config,
    load_model,
    load_tokenizer,
)
from alembert.recipes.schema import Stage
from alembert.runs import folder, trim
from alembert.runs.job import Job, longest, teacher_counts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedTask:
    """A tokenizer, and the task's rows as it encodes them; None of a run without a task."""

    tokenizer: PreTrainedTokenizerBase
    splits: Splits | None

    @property
    def pad(self) -> int:
        """The id of padding."""
        return int(self.tokenizer.pad_token_id or 0)


def encode_task(job: Job, stages: list[Stage], path: str) -> EncodedTask:
    """The job's files as the tokenizer of the model at `path` reads them."""
    tokenizer = load_tokenizer(path)
    if job.files is None:
        return EncodedTask(tokenizer, None)
    known = None
    if job.teacher is not None and teacher_counts(stages):
        known = label_names_of(load_config(job.teacher))
    return EncodedTask(tokenizer, prepare(job.files, tokenizer, longest(stages), known, job.seed))


def encode_for_teacher(
    job: Job, stages: list[Stage], student_task: EncodedTask, path: str | None = None
) -> EncodedTask:
    """The rows of `student_task` as the task's teacher reads them: the same where its words are.

    path: of another teacher of the task than the first.
    """
    path = path or job.teacher
    if (
        path is None
        or job.files is None
        or student_task.splits is None
        or not teacher_counts(stages)
    ):
        return student_task
    if load_tokenizer(path).get_vocab() == student_task.tokenizer.get_vocab():
        return student_task
    return _with_rows_of(student_task.splits, encode_task(job, stages, path), job, stages)


def _with_rows_of(splits: Splits, found: EncodedTask, job: Job, stages: list[Stage]) -> EncodedTask:
    """A reading with the rows of train that others have: their variants too."""
    if found.splits is None or job.files is None or len(found.splits.rows) == len(splits.rows):
        return found
    source, room = job.files.train, longest(stages)
    return replace(
        found, splits=with_rows(found.splits, splits.rows, found.tokenizer, room, source)
    )


def trim_to_task(
    job: Job, stages: list[Stage], student_task: EncodedTask, leads: bool
) -> tuple[Job, EncodedTask]:
    """The job with teachers that know the pieces of its texts alone, and what these then read.

    The trimmed teachers lie in RUN/vocabulary; on the texts of train and of the corpus they say
    what the whole ones say. Texts of --eval are not looked at.
    """
    given = {"teacher": job.teacher, "general_teacher": job.general_teacher}
    whole = {name: path for name, path in given.items() if path is not None}
    if not whole:
        raise UserError("--vocabulary trims the teacher's: name one with --teacher")
    if job.corpus is not None and prepared(job.corpus):
        raise UserError(
            f"{job.corpus}: was prepared with all pieces, and --vocabulary keeps some: give "
            "--corpus the text itself"
        )
    at = {name: job.out / "vocabulary" / name.replace("_", "-") for name in whole}
    if leads and (missing := [name for name in at if not (at[name] / "config.json").is_file()]):
        kept = _kept(job, stages, student_task, list(whole.values()))
        folder.open_run(job.out, job.recipe, job.arguments)
        for name in missing:
            with atomic(at[name]) as partial:
                trim.write(whole[name], kept, partial)
    first = str(next(iter(at.values())))
    config = load_config(first)
    log.info(f"vocabulary: {config.vocab_size:,} pieces of {len(student_task.tokenizer):,} stay")
    own = {
        name: getattr(config, name)
        for name in job.recipe.student
        if name == "vocab_size" or name.endswith("_token_id")
    }
    recipe = job.recipe.model_copy(update={"student": job.recipe.student | own})
    paths: dict[str, Any] = {name: str(place) for name, place in at.items()}
    smaller = replace(job, recipe=recipe, vocabulary=None, **paths)
    found = encode_task(smaller, stages, first)
    if student_task.splits is not None:
        found = _with_rows_of(student_task.splits, found, job, stages)
    return smaller, found


def _kept(
    job: Job, stages: list[Stage], student_task: EncodedTask, teachers: list[str]
) -> list[int]:
    """The pieces of all texts that the run learns from, of teachers that read the same words."""
    state, stay = tokenizer_pruning.state_of(student_task.tokenizer, teachers[0]), set[int]()
    for path in teachers:
        if load_tokenizer(path).get_vocab() != student_task.tokenizer.get_vocab():
            raise UserError(
                f"--vocabulary: {path} has another vocabulary than {teachers[0]}: leave it out"
            )
        stay |= trim.always(state, load_config(path))
    counts = np.zeros(max(load_config(path).vocab_size for path in teachers), np.int64)
    if student_task.splits is not None:
        for part in (student_task.splits.train, student_task.splits.valid):
            counts += np.bincount(part.input_ids, minlength=len(counts))
    for stage in stages:
        if stage.data == "corpus" and job.corpus is not None:
            found = read_corpus(job.corpus, student_task.tokenizer, stage.max_length).counts
            counts[: len(found)] += found
    return tokenizer_pruning.chosen(state, stay, None, 1.0, counts.tolist())


def augmented(
    job: Job,
    stages: list[Stage],
    splits: Splits | None,
    tokenizer: PreTrainedTokenizerBase,
) -> Splits | None:
    """The splits with variants beside the labelled rows of train; what is left out is said."""
    settings = job.recipe.augment
    if splits is None or job.files is None or settings is None:
        return splits
    mlm = job.mlm
    if mlm is None and job.general_teacher and has_head(job.general_teacher, "words"):
        mlm = job.general_teacher
    if not teacher_counts(stages) or (mlm is None and job.vectors is None):
        why = (
            "a masked-word model, or word vectors: --mlm DIR"
            if teacher_counts(stages)
            else "a teacher"
        )
        log.info(f"augmentation is left out: it needs {why}")
        return splits
    rows = _as_texts(splits)
    made = job.out / f"augmented-{_digest(rows)}.parquet"
    source = job.out / "train.parquet"
    variants = _there(made)
    if variants is None:
        if mlm is not None:  # a name that is wrong is refused before the folder is this run's
            load_model(mlm, "words")
        if job.vectors is not None:
            read_vectors(Path(job.vectors))
        folder.open_run(job.out, job.recipe, job.arguments)
        with atomic(source) as partial:
            rows.to_parquet(partial)
        augment_file(
            str(source), made, mlm=mlm, vectors=Path(job.vectors) if job.vectors else None,
            embeddings=None, settings=settings, seed=job.seed, text=splits.columns.text,
            text_pair=splits.columns.text_pair, precision=job.precision,
            shown=job.files.train,
        )  # fmt: skip
        variants = sources.read(str(made))
    _tidy(job.out, made)
    log.info(f"augmentation: {len(rows):,} rows became {len(variants):,}")
    return with_rows(splits, variants, tokenizer, longest(stages), job.files.train)


def _there(made: Path) -> Dataset | None:
    """The variants that were made before; what cannot be read is said, and made anew."""
    if not made.is_file():
        return None
    try:
        return sources.read(str(made))
    except UserError as error:
        log.info(f"{error}: made anew")
        made.unlink()
        return None


def _as_texts(splits: Splits) -> Dataset:
    """The labelled rows with numbers in the place of texts written out, as they are read."""
    rows = splits.rows
    for name in filter(None, (splits.columns.text, splits.columns.text_pair)):
        feature = rows.features[name]
        if isinstance(feature, Value) and feature.dtype not in ("string", "large_string"):
            rows = rows.cast_column(name, Value("string"))
    return rows


def _digest(rows: Dataset) -> str:
    """Changes with the rows: the file named may have changed since the run began."""
    table: pa.Table = rows.with_format("arrow")[:]
    state = hashlib.sha256()
    for batch in table.to_batches():
        state.update(batch.serialize())
    return state.hexdigest()[:12]


def _tidy(out: Path, made: Path) -> None:
    """Drop what an interrupted run, or one on other rows, left behind."""
    (out / "train.parquet").unlink(missing_ok=True)
    for place in out.glob("augmented-*"):
        if place.is_dir():
            shutil.rmtree(place)
        elif place != made:
            place.unlink()
