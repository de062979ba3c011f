"""The preparation of a stage: its recipe, its models, its rows, and how tokens are masked."""

import logging
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from alembert.data.batches import Rows
from alembert.data.collate import Masking, masking_for, pad, plan
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.data.corpus.segments import Segmented
from alembert.data.encoded import Encoded
from alembert.initialization.bottleneck import fit_mlm_head
from alembert.initialization.static import static_student, words_of
from alembert.initialization.student import from_scratch, from_teacher
from alembert.initialization.text_vectors import single_texts
from alembert.io.errors import UserError
from alembert.io.progress import doing
from alembert.models.architectures import bottlenecked
from alembert.models.building import draw_model
from alembert.models.loading import (
    has_head,
    label_fields,
    load_config,
    load_model,
    load_tokenizer,
)
from alembert.models.static.config import STATIC
from alembert.models.trace import Batch, Reads
from alembert.recipes.schema import Stage
from alembert.runs.folder.origin import origin_of
from alembert.runs.job import Job
from alembert.runs.stages.linear_teacher import with_linear_teacher
from alembert.runs.texts import ensemble
from alembert.runs.texts.encoded_task import EncodedTask
from alembert.training import checkpoint, trace_cache
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import (
    RowSubset,
    WithTeacherLogits,
    are_read_often,
    cached_logits,
    with_traces,
)
from alembert.training.monitor import length_of

log = logging.getLogger(__name__)

LOGITS = Reads(logits=True)
SHAPE = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings",
)  # fmt: skip
TOKENS = 16_384  # of the sample from which a narrow student is initialised


def prepare_stage(
    job: Job,
    stage: Stage,
    stage_folder: Path,
    last: Path | None,
    texts: ensemble.RunTexts,
    accelerator: Accelerator,
) -> tuple[Distillation, Rows, Masking | None]:
    """Return a stage's models, its rows, and how their tokens are masked.

    last: the model of the stage before.
    """
    student_task, on_corpus = texts.student, stage.data == "corpus"
    with accelerator.main_process_first():
        rows, masking = _rows(job, stage, student_task)
    begins = checkpoint.newest(stage_folder / "checkpoint" / checkpoint.STATE)[0] is None
    distillation = prepare_models(job, stage, last, texts, (rows, masking), begins)
    teacher, reads = distillation.teacher, distillation.reads[1]
    splits = None if on_corpus else student_task.splits
    classes = 0 if splits is None else len(splits.task.labels)
    cacheable = reads == LOGITS or (texts.others and reads.logits)
    if isinstance(rows, Encoded) and teacher is not None and cacheable:
        assert texts.teacher.splits is not None
        subset = _rows_read(stage, rows, classes, job.seed)
        cached = cached_logits(
            teacher, texts.teacher.splits.train, texts.teacher.pad, accelerator, subset
        )
        if texts.others:
            task = texts.teacher.splits.task
            cached = ensemble.with_average(cached, task, texts.others, accelerator)
        rows = WithTeacherLogits(rows, cached.logits, subset)
    if stage.teacher == "linear":
        assert student_task.splits is not None
        assert job.student is not None
        with accelerator.main_process_first():
            rows = with_linear_teacher(
                student_task.splits, student_task.tokenizer, job.student, stage.max_length, job.seed
            )
    if not on_corpus:
        length = length_of(stage, len(rows), classes)
        if are_read_often(length, stage.batch_size, len(rows)):
            rows = with_traces(distillation, rows, student_task.pad, accelerator)
    if isinstance(rows, Corpus | Segmented) and job.caching is not None:
        rows, masking = _with_traces(
            job, stage, distillation, rows, masking, student_task.pad, accelerator
        )
        texts.teachers.release_others(None)  # the distillation has dismissed it, too
    return distillation, rows, masking


def prepare_models(
    job: Job,
    stage: Stage,
    last: Path | None,
    texts: ensemble.RunTexts,
    read: tuple[Rows, Masking | None] | None = None,
    begins: bool = True,
) -> Distillation:
    """Return a stage's student, at its start where the stage `begins`, beside its teacher.

    read: the stage's rows, and how they are masked; by default they are read here.
    """
    student_task, on_corpus = texts.student, stage.data == "corpus"
    rows, masking = read or _rows(job, stage, student_task)
    path = job.imitated_teacher(stage)
    texts.teachers.release_others(path)
    head = student_task.head(stage)
    labels = () if student_task.splits is None or on_corpus else student_task.splits.task.labels
    sample = sample_of(rows, student_task.pad)
    teacher = texts.teachers[path].model(head) if path else None
    with doing("making the student"):
        student = make_student(job, head, labels, last, teacher, sample, student_task, rows)
    distillation = Distillation(
        student, teacher, stage.objective, words=on_corpus, projections=job.recipe.projections,
        recorded=stage.teacher == "linear",
    )  # fmt: skip
    if begins and distillation.projections:
        distillation.start_projections(sample)
    new_head = distillation.reads[1].vocabulary and _new_mlm_head(job, student, last)
    if begins and teacher is not None and new_head:
        random = torch.Generator().manual_seed(job.seed)
        fit_mlm_head(student, teacher, masking(dict(sample), random) if masking else sample)
    return distillation


def _new_mlm_head(job: Job, student: PreTrainedModel, last: Path | None) -> bool:
    """Return whether a bottleneck student's MLM head is new and has to be fitted."""
    source = last or job.student
    return (
        bottlenecked(student.config)
        and job.recipe.init.start != "scratch"
        and (source is None or not has_head(str(source), "words"))
    )


def _with_traces(
    job: Job,
    stage: Stage,
    distillation: Distillation,
    rows: Corpus | Segmented,
    masking: Masking | None,
    pad: int,
    accelerator: Accelerator,
) -> tuple[Rows, Masking | None]:
    """Return the corpus with the teacher's cached traces and fixed masks, if there is a teacher."""
    if distillation.teacher is None:
        log.info(f"stage '{stage.name}': imitates no teacher: there is nothing to cache")
        return rows, masking
    assert job.caching is not None
    if masking is not None:
        log.info(f"stage '{stage.name}': masks are drawn once a sequence, the same in every epoch")
    with accelerator.main_process_first():
        cached = trace_cache.cached_traces(
            distillation, rows, masking, pad, job.caching, job.seed, accelerator
        )
    distillation.dismiss_teacher()
    return cached, None


def _rows_read(stage: Stage, rows: Encoded, classes: int, seed: int) -> RowSubset | None:
    """Return the rows that a stage of less than an epoch reads, in order; None of a longer one."""
    count = length_of(stage, len(rows), classes).cap * stage.batch_size
    if count >= len(rows):
        return None
    batches = plan(rows.lengths, stage.batch_size, seed, 0)
    return RowSubset(np.concatenate([batches[i] for i in range(len(batches))]), count)


def _rows(job: Job, stage: Stage, student_task: EncodedTask) -> tuple[Rows, Masking | None]:
    """Return a stage's rows, and how their tokens are masked."""
    if stage.data == "task":
        assert student_task.splits is not None
        return student_task.splits.train, None
    assert job.corpus is not None
    corpus = read_corpus(job.corpus, student_task.tokenizer, stage.max_length)
    read = Segmented(corpus, job.seed) if stage.segments else corpus
    if stage.masking is None:
        return read, None
    share, rare_words = stage.masking.share, stage.masking.rare_words
    return read, masking_for(student_task.tokenizer, share, rare_words, corpus.counts)


def sample_of(rows: Rows, pad_token_id: int) -> Batch:
    """Return evenly spaced rows as one batch without labels, cut at twice the mean length."""
    mean = max(int(np.mean(rows.lengths)), 1)
    numbers = np.linspace(0, len(rows) - 1, min(max(TOKENS // mean, 1), len(rows))).astype(int)
    sample = [rows[int(i)] for i in numbers]
    kinds = ("input_ids", "token_type_ids")
    cut = [{k: row[k][: 2 * mean] for k in kinds if k in row} for row in sample]
    return pad(cut, pad_token_id)


def make_student(
    job: Job,
    head: str,
    labels: tuple[str, ...],
    last: Path | None,
    teacher: PreTrainedModel | None,
    sample: Batch,
    student_task: EncodedTask,
    rows: Rows,
) -> PreTrainedModel:
    """Return the student with a head for these labels; `last` is the model of the stage before."""
    recipe = job.recipe
    source = str(last) if last is not None else job.student
    if source is not None:
        torch.manual_seed(job.seed)  # a head that the checkpoint lacks is drawn at random
        config = load_config(source)
        dropout = {
            name: value
            for name, value in recipe.student.items()
            if "dropout" in name and hasattr(config, name)
        }
        if last is None and job.teacher is None and recipe.init.start == "scratch":
            config.update(label_fields(head, labels) | dropout)
            return draw_model(config, head, job.seed)  # fine-tuning of random weights
        return load_model(source, head, labels=labels, fresh_head=True, changes=dropout)
    static = recipe.student.get("model_type") == STATIC
    if recipe.init.start == "scratch":
        if static:
            return _static(job, head, labels, None, student_task, rows)
        return from_scratch(recipe.student, head, labels, job.seed)
    if (
        teacher is None and job.teacher is not None
    ):  # it gives its layers, though nothing imitates it
        teacher = load_model(job.teacher, head, labels=labels, fresh_head=True)
    if recipe.init.start == "checkpoint" or teacher is None:
        raise UserError(
            f"recipe '{recipe.name}' starts from a saved model: name one with --student"
        )
    init = recipe.init
    if static:
        return _static(job, head, labels, teacher, student_task, rows)
    return from_teacher(
        recipe.student, head, labels, teacher, init.layers, job.seed, sample, init.basis
    )


def _static(
    job: Job,
    head: str,
    labels: tuple[str, ...],
    teacher: PreTrainedModel | None,
    student_task: EncodedTask,
    rows: Rows,
) -> PreTrainedModel:
    """Return a static student, for which the tokens of the stage's rows are counted.

    It starts from the encoder that its teacher was before a task, where that is known: a teacher of
    pairs has never read their texts alone.
    """
    if not isinstance(rows, Encoded):
        raise UserError("a static student learns a task alone: leave out its stages on a corpus")
    fields = job.recipe.student
    size = int(fields["vocab_size"])
    words = words_of(student_task.tokenizer, rows.input_ids, rows.lengths, size)
    if teacher is None:
        return static_student(fields, head, labels, None, words, job.seed)
    encoder = _before_the_task(job, teacher, student_task)
    # a tag is read from single vectors, which means of texts make worse
    tags = rows.per_token
    texts = () if tags else single_texts(rows.input_ids, rows.lengths, words.special)
    return static_student(fields, head, labels, encoder, words, job.seed, texts)


def _before_the_task(
    job: Job, teacher: PreTrainedModel, student_task: EncodedTask
) -> PreTrainedModel:
    """Return the encoder that the teacher was before a task; the teacher where it is not known."""
    assert job.teacher is not None
    try:
        path = origin_of(job.teacher)
        config = load_config(path)
        alike = all(getattr(config, x, None) == getattr(teacher.config, x, None) for x in SHAPE)
        words = load_tokenizer(path).get_vocab()
        if alike and words == student_task.tokenizer.get_vocab():
            encoder = load_model(path, "encoder")
            log.info(f"vectors of texts: by {path}, which the teacher was before its task")
            return encoder
        why = f"{path} has another shape, or other tokens"
    except UserError as error:
        why = str(error)
    log.info(f"vectors of texts: by the teacher itself, not as it was before its task: {why}")
    return teacher
