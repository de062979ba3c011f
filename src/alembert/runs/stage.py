"""A stage at its beginning: its models, the rows that it reads, how their words are hidden."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from alembert.data.batches import Rows
from alembert.data.collate import Masking, masking_for, plan
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.data.encoded import Encoded
from alembert.initialization.bottleneck import fit_words_head
from alembert.io.errors import Say
from alembert.models import anatomy
from alembert.models.loading import has_head, load_model
from alembert.models.trace import Reads
from alembert.recipes.schema import Stage
from alembert.runs import ensemble
from alembert.runs.encoded_task import Reading
from alembert.runs.job import Job, head_of
from alembert.runs.start import sample_of, student_for
from alembert.training import checkpoint, trace_cache
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import Answered, Asked, answered
from alembert.training.monitor import length_of

ANSWERS = Reads(logits=True)


def begun(
    job: Job,
    stage: Stage,
    place: Path,
    last: Path | None,
    read: tuple[Reading, Reading],
    others: tuple[ensemble.Member, ...],
    accelerator: Accelerator,
    say: Say,
) -> tuple[Distillation, Rows, Masking | None]:
    """A stage's models, the rows that it reads, and how their words are hidden."""
    mine, theirs = read
    words, head = stage.data == "corpus", head_of(stage, mine.splits)
    labels = () if mine.splits is None or words else mine.splits.task.labels
    with accelerator.main_process_first():
        rows, masking = _rows(job, stage, mine)
    sample = sample_of(rows, mine.pad)
    teacher = load_model(path, head) if (path := job.asked(stage)) else None
    student = student_for(job, head, labels, last, teacher, sample)
    distillation = Distillation(
        student, teacher, stage.objective, words=words, projections=job.recipe.projections
    )
    reads = distillation.reads[1]
    state = place / "checkpoint" / checkpoint.STATE
    if checkpoint.newest(state)[0] is None:
        if distillation.projections:
            distillation.start_projections(sample)
        if teacher is not None and reads.words and _drawn_head(job, student, last):
            dice = torch.Generator().manual_seed(job.seed)
            fit_words_head(student, teacher, masking(dict(sample), dice) if masking else sample)
    kept = reads == ANSWERS or (others and reads.logits)
    if isinstance(rows, Encoded) and teacher is not None and kept:
        assert theirs.splits is not None
        asked = _asked(stage, rows, len(labels), job.seed)
        said = answered(teacher, theirs.splits.train, theirs.pad, accelerator, asked)
        if others:
            said = ensemble.with_answers(said, theirs.splits.task, others, accelerator)
        rows = Answered(rows, said.logits, asked)
    if isinstance(rows, Corpus) and job.caching is not None:
        rows, masking = _taught(job, stage, distillation, rows, masking, mine.pad, accelerator, say)
    return distillation, rows, masking


def _drawn_head(job: Job, student: PreTrainedModel, last: Path | None) -> bool:
    """Whether a thin student's masked-word head is new, and a better one was not turned down."""
    source = last or job.student
    return (
        anatomy.bottlenecked(student.config)
        and job.recipe.init.start != "scratch"
        and (source is None or not has_head(str(source), "words"))
    )


def _taught(
    job: Job,
    stage: Stage,
    distillation: Distillation,
    rows: Corpus,
    masking: Masking | None,
    pad: int,
    accelerator: Accelerator,
    say: Say,
) -> tuple[Rows, Masking | None]:
    """The corpus with what the teacher says of it, and its words hidden already."""
    if distillation.teacher is None:
        say(f"stage '{stage.name}': asks no teacher: there is nothing to keep of one")
        return rows, masking
    assert job.caching is not None
    if masking is not None:
        say(f"stage '{stage.name}': masks are drawn once a sequence, the same in every epoch")
    with accelerator.main_process_first():
        found = trace_cache.taught(
            distillation, rows, masking, pad, job.caching, job.seed, accelerator, say
        )
    distillation.dismiss_teacher()
    return found, None


def _asked(stage: Stage, rows: Encoded, classes: int, seed: int) -> Asked | None:
    """The rows that a stage of less than an epoch reads, as it reads them; None of a longer one."""
    count = length_of(stage, len(rows), classes).cap * stage.batch_size
    if count >= len(rows):
        return None
    batches = plan(rows.lengths, stage.batch_size, seed, 0)
    return Asked(np.concatenate([batches[i] for i in range(len(batches))]), count)


def _rows(job: Job, stage: Stage, mine: Reading) -> tuple[Rows, Masking | None]:
    """What a stage reads, and how its words are hidden."""
    if stage.data == "task":
        assert mine.splits is not None
        return mine.splits.train, None
    assert job.corpus is not None
    corpus = read_corpus(job.corpus, mine.tokenizer, stage.max_length)
    if stage.masking is None:
        return corpus, None
    share, rare_words = stage.masking.share, stage.masking.rare_words
    return corpus, masking_for(mine.tokenizer, share, rare_words, corpus.counts)
