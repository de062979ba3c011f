"""Checks of a run before its first stage: vocabularies, lengths, layers, precision, NaN."""

import logging

from alembert.initialization.student import describe_start, start_map
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.models.architectures import layerless
from alembert.models.building import checked_config
from alembert.models.checks import (
    check_finite,
    check_length,
    check_precision,
    check_vocabulary,
    window_length,
)
from alembert.models.loading import load_config
from alembert.models.trace import Reads
from alembert.objectives.term import ANY_PAIR
from alembert.recipes.schema import Stage
from alembert.runs.job import Job
from alembert.runs.texts import class_weights
from alembert.runs.texts.encoded_task import EncodedTask
from alembert.training.distillation import check_layers
from alembert.training.teacher import Teacher, Teachers

log = logging.getLogger(__name__)


def check_teacher(
    stage: Stage, head: str, teacher: Teacher, source: str, task: EncodedTask
) -> None:
    """Raise UserError for a teacher with too few positions or a vocabulary that terms cannot pair.

    `source` is the model that the run's tokenizer comes from. Logits of whole texts can be compared
    across vocabularies; everything else, and windows of texts, only between the same tokens.
    """
    path = teacher.path
    check_length(stage.max_length, teacher.config, path)
    by_text = head not in ("words", "encoder", "tokens", QUESTIONS)
    of_texts = (Reads(), Reads(logits=True))
    paired = [
        term.kind
        for term in stage.objective
        if not by_text or term.reads(ANY_PAIR, False)[1] not in of_texts
    ]
    if teacher.vocabulary != (vocabulary := task.tokenizer.get_vocab()) and task.windows:
        raise UserError(
            f"{source} and {path} have different vocabularies, by which windows begin at other "
            "words: leave --windows out, or use a student made with this teacher's tokenizer"
        )
    if paired and teacher.vocabulary != vocabulary:
        soft = f", or --set 'stages.{stage.name}.objective=[{{kind: SoftLabels}}]'"
        raise UserError(
            f"{source} and {path} have different vocabularies: {paired[0]} of stage "
            f"'{stage.name}' compares them token by token; use a student made with this teacher's "
            f"tokenizer{soft if by_text else ''}"
        )
    check_vocabulary(teacher.tokenizer, teacher.config, path)


def check_job(job: Job, student_task: EncodedTask, teachers: Teachers) -> str:
    """Raise UserError for a stage that cannot work; return a line on the student's start."""
    source = job.tokenizer_source
    config = load_config(job.student) if job.student else checked_config(job.recipe.student)
    splits = student_task.splits
    if layerless(config) and splits is not None and splits.task.kind == QUESTIONS:
        raise UserError(
            f"recipe '{job.recipe.name}': a static student reads no token in its context, which "
            f"{QUESTIONS} needs: take house, or another recipe"
        )
    imitated: set[tuple[str, str]] = set()
    first, line = job.imitated_teacher(job.stages[0]) or job.teacher, ""
    if job.student is None and first is not None and job.recipe.init.start == "teacher":
        first_config = teachers[first].config
        line = describe_start(config, first_config)
        start_map(job.recipe.init.layers, config, first_config)
    _warn_of_windows(job, student_task, teachers)
    for stage in job.stages:
        if stage.segments and stage.data == "task":
            raise UserError(
                f"stage '{stage.name}': NextSentence is for a stage on a corpus, whose sequences "
                "have neighbours: take the term out of its objective"
            )
        class_weights.with_class_weights(stage, student_task.splits)
        if path := job.imitated_teacher(stage):
            head, teacher = student_task.head(stage), teachers[path]
            check_teacher(stage, head, teacher, source, student_task)
            check_precision(job.precision, teacher.config, path)
            where = f"stage '{stage.name}' of recipe '{job.recipe.name}'"
            check_layers(config, teacher.config, stage.objective, job.recipe.projections, where)
            imitated.add((path, head))
        check_length(stage.max_length, config, job.student or "the student")
    if job.student is None and config.vocab_size != teachers[source].config.vocab_size:
        fix = f"set student.vocab_size={len(student_task.tokenizer)}, or leave it out"
        check_vocabulary(student_task.tokenizer, config, "the student", fix)
    else:
        check_vocabulary(student_task.tokenizer, config, source)
    check_precision(job.precision, config, job.student or "the student")
    for path, head in sorted(imitated):
        teachers.release_others(path)
        check_finite(teachers[path].model(head), path)  # a missing head raises UserError here
    return line


def _warn_of_windows(job: Job, student_task: EncodedTask, teachers: Teachers) -> None:
    """Warn where the task's teacher has learnt other windows of long texts than this run reads."""
    if (path := job.task_teacher) is None:
        return
    learnt = window_length(teachers[path].config, path)
    if learnt is not None and (not student_task.windows or learnt != job.max_length):
        log.warning(
            f"{path}: has learnt long texts in windows of {learnt} tokens, and reads other pieces "
            f"of them here: give --windows --max-length {learnt}"
        )
