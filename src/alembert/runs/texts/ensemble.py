"""Several teachers of a task: the student imitates the average of their predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from scipy.special import log_expit, log_softmax, logsumexp

from alembert.data.labels import list_names
from alembert.data.tasks import Kind, Task
from alembert.evaluation import predict
from alembert.evaluation.metrics import Logits
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.models import checks
from alembert.runs.job import Job
from alembert.runs.texts.encoded_task import EncodedTask, encode_for_teacher
from alembert.training.logit_cache import WithTeacherLogits, cached_logits
from alembert.training.teacher import Teacher, Teachers


@dataclass(frozen=True)
class EnsembleMember:
    """A further teacher; order[i] is the column of its logits for the first teacher's label i."""

    teacher: Teacher
    order: tuple[int, ...]
    task: EncodedTask


@dataclass(frozen=True, kw_only=True)
class RunTexts:
    """A run's texts as its student and its teachers encode them.

    `teacher` is the one that the stages imitate, with a vocabulary that may be trimmed;
    `full_teacher` is the same before trimming, for its evaluation.
    """

    student: EncodedTask
    teacher: EncodedTask
    full_teacher: EncodedTask
    teachers: Teachers
    others: tuple[EnsembleMember, ...] = ()


def average(kind: Kind, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the logits (N, C) of the teachers' mean prediction, given each one's (N, C).

    Classes and tags: the log of the mean of softmax(z_k), whose distribution at temperature T is
    proportional to mean^(1/T). Several labels: log p / (1 - p) of p, the mean of sigmoid(z_k).
    Scores, and logits of questions: their mean.
    """
    stacked = np.stack(logits).astype(np.float64)
    if kind in ("regression", QUESTIONS):
        mean = stacked.mean(axis=0)
    elif kind == "multilabel":
        mean = logsumexp(log_expit(stacked), axis=0) - logsumexp(log_expit(-stacked), axis=0)
    else:
        mean = logsumexp(log_softmax(stacked, axis=-1), axis=0) - np.log(len(stacked))
    rounded: NDArray[np.float32] = mean.astype(np.float32)
    return rounded


def check(job: Job, student_task: EncodedTask, teachers: Teachers) -> None:
    """Raise UserError for teachers that no stage imitates, or that cannot be averaged."""
    if not job.more_teachers:
        return
    tasks = [stage for stage in job.stages if stage.data == "task"]
    imitating = [stage for stage in tasks if any(t.over == "answers" for t in stage.objective)]
    if not imitating or student_task.splits is None or job.teacher is None:
        raise UserError(
            f"--teacher {job.more_teachers[0]}: several teachers are averaged by their logits "
            "on a task, and no stage of this run imitates these: give --train, or one --teacher"
        )
    kind, vocabulary = student_task.splits.task.kind, teachers[job.teacher].vocabulary
    for path in job.more_teachers:
        teacher = teachers[path]
        checks.check_length(max(stage.max_length for stage in imitating), teacher.config, path)
        checks.check_vocabulary(teacher.tokenizer, teacher.config, path)
        _order(teachers[job.teacher], teacher, kind)
        teacher.model(kind)  # a missing head raises UserError here
        teacher.release()
        if kind == "tokens" and teacher.vocabulary != vocabulary:
            raise UserError(
                f"{path}: its tokenizer is not that of {job.teacher}, and tags are averaged token "
                "by token: leave one of these teachers out"
            )
        if kind == QUESTIONS and teacher.vocabulary != vocabulary:
            raise UserError(
                f"{path}: its tokenizer is not that of {job.teacher}, and answers are averaged "
                "token by token: leave one of these teachers out"
            )
        if student_task.windows and teacher.vocabulary != vocabulary:
            raise UserError(
                f"{path}: its tokenizer is not that of {job.teacher}, by which windows begin at "
                "other words: leave --windows out, or one of these teachers"
            )


def members(job: Job, student_task: EncodedTask, teachers: Teachers) -> tuple[EnsembleMember, ...]:
    """Return the further teachers, each with the run's texts as it encodes them."""
    if not job.more_teachers:
        return ()
    assert student_task.splits is not None
    assert job.teacher is not None
    first, kind = teachers[job.teacher], student_task.splits.task.kind
    return tuple(
        EnsembleMember(
            teacher,
            _order(first, teacher, kind),
            encode_for_teacher(job, student_task, teacher, teachers),
        )
        for teacher in map(teachers.__getitem__, job.more_teachers)
    )


def _order(first: Teacher, other: Teacher, kind: Kind) -> tuple[int, ...]:
    """Return the column of each of the first teacher's labels in the other's logits."""
    labels, others = first.labels or [], other.labels or []
    if kind == "regression" and len(labels) == len(others) == 1:
        return (0,)
    for spelt in (str, str.casefold):  # ignores case where the names still differ
        columns = {spelt(name): i for i, name in enumerate(others)}
        names = [spelt(name) for name in labels]
        if len(columns) == len(labels) == len(others) and columns.keys() == set(names):
            return tuple(columns[name] for name in names)
    unshared = sorted(set(labels) ^ set(others)) or others
    raise UserError(
        f"{other}: its labels are not those of {first}: {list_names(unshared)} only one of them "
        "has; average teachers of the same labels"
    )


def with_average(
    first: WithTeacherLogits, task: Task, others: Sequence[EnsembleMember], accelerator: Accelerator
) -> WithTeacherLogits:
    """Return the rows with the average of all teachers' logits."""
    members_logits = [first.logits]
    for member in others:
        assert member.task.splits is not None
        rows, model = member.task.splits.train, member.teacher.model(task.kind)
        if len(rows) != len(first) or (rows.per_token and rows.lengths != first.lengths):
            raise UserError(f"{member.teacher}: reads other rows than the first teacher")
        cached = cached_logits(model, rows, member.task.pad, accelerator, first.subset)
        members_logits.append([part[:, member.order] for part in cached.logits])
        member.teacher.release()
    logits = [average(task.kind, parts) for parts in zip(*members_logits, strict=True)]
    return WithTeacherLogits(first.rows, logits, first.subset)


def evaluate_ensemble(
    first: Logits, task: Task, others: Sequence[EnsembleMember]
) -> tuple[Logits, int]:
    """Return the average logits on --eval, and the further teachers' number of parameters.

    `first` has the first teacher's logits.
    """
    members_logits, parameters = [list(first)], 0
    for member in others:
        splits, model = member.task.splits, member.teacher.model(task.kind)
        assert splits is not None
        assert splits.test is not None
        rows = predict.predict(model, splits.test, member.task.pad)
        members_logits.append([row[..., member.order] for row in rows])
        parameters += sum(p.numel() for p in model.parameters())
        member.teacher.release()
    return [average(task.kind, row) for row in zip(*members_logits, strict=True)], parameters
