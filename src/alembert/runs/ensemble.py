"""Several teachers of a task: what a student hears is the average of what they say of each text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from scipy.special import log_expit, log_softmax, logsumexp

from alembert.data.labels import list_names
from alembert.data.tasks import Kind, Task
from alembert.evaluation import predict
from alembert.evaluation.metrics import Logits
from alembert.io.errors import UserError
from alembert.models import checks
from alembert.models.loading import label_names_of, load_config, load_model, load_tokenizer
from alembert.recipes.schema import Stage
from alembert.runs.encoded_task import EncodedTask, encode_for_teacher
from alembert.runs.job import Job
from alembert.training.logit_cache import WithTeacherLogits, cached_logits


@dataclass(frozen=True)
class EnsembleMember:
    """A teacher beside the first. order[i]: where in its answers the first teacher's label i is."""

    path: str
    order: tuple[int, ...]
    reading: EncodedTask


def average(kind: Kind, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits (N, C) of the teachers' mean answer, out of each one's (N, C).

    Classes and tags: log of the mean of softmax(z_k), so that a temperature T makes of it a
    distribution proportional to mean^(1/T). Several labels: log p / (1 - p) of p, the mean of
    sigmoid(z_k). Scores: their mean.
    """
    stacked = np.stack(logits).astype(np.float64)
    if kind == "regression":
        found = stacked.mean(axis=0)
    elif kind == "multilabel":
        found = logsumexp(log_expit(stacked), axis=0) - logsumexp(log_expit(-stacked), axis=0)
    else:
        found = logsumexp(log_softmax(stacked, axis=-1), axis=0) - np.log(len(stacked))
    mean: NDArray[np.float32] = found.astype(np.float32)
    return mean


def check(job: Job, stages: list[Stage], student_task: EncodedTask) -> None:
    """Refuse a run that asks no teacher beside the first, or one that cannot be averaged with it.

    student_task: the run's texts as its tokenizer reads them.
    """
    if not job.more_teachers:
        return
    asking = [
        s for s in stages if s.data == "task" and any(t.over == "answers" for t in s.objective)
    ]
    if not asking or student_task.splits is None or job.teacher is None:
        raise UserError(
            f"--teacher {job.more_teachers[0]}: several teachers are averaged in what they answer "
            "to a task, and no stage of this run imitates that: give --train, or one --teacher"
        )
    kind, words = student_task.splits.task.kind, load_tokenizer(job.teacher).get_vocab()
    for path in job.more_teachers:
        config, tokenizer = load_config(path), load_tokenizer(path)
        checks.check_length(max(stage.max_length for stage in asking), config, path)
        checks.check_vocabulary(tokenizer, config, path)
        _order(job.teacher, path, kind)
        load_model(path, kind)  # refused now when the head is not there
        if kind == "tokens" and tokenizer.get_vocab() != words:
            raise UserError(
                f"{path}: its tokenizer is not that of {job.teacher}, and tags are averaged piece "
                "by piece: leave one of these teachers out"
            )


def members(job: Job, stages: list[Stage], student_task: EncodedTask) -> tuple[EnsembleMember, ...]:
    """The teachers beside the first, and the run's texts as they read them."""
    if not job.more_teachers:
        return ()
    assert student_task.splits is not None
    assert job.teacher is not None
    first, kind = job.teacher, student_task.splits.task.kind
    return tuple(
        EnsembleMember(
            path, _order(first, path, kind), encode_for_teacher(job, stages, student_task, path)
        )
        for path in job.more_teachers
    )


def _order(first: str, other: str, kind: Kind) -> tuple[int, ...]:
    """Where the first teacher's labels stand in the other's answers."""
    student_task, teacher_task = (
        label_names_of(load_config(path)) or [] for path in (first, other)
    )
    if kind == "regression" and len(student_task) == len(teacher_task) == 1:
        return (0,)
    for same in (str, str.casefold):  # names that differ by case alone, unless that tells apart
        places = {same(name): i for i, name in enumerate(teacher_task)}
        wanted = [same(name) for name in student_task]
        if len(places) == len(student_task) == len(teacher_task) and places.keys() == set(wanted):
            return tuple(places[name] for name in wanted)
    apart = sorted(set(student_task) ^ set(teacher_task)) or teacher_task
    raise UserError(
        f"{other}: its labels are not those of {first}: {list_names(apart)} only one of them has; "
        "average teachers of the same labels"
    )


def with_answers(
    first: WithTeacherLogits, task: Task, others: Sequence[EnsembleMember], accelerator: Accelerator
) -> WithTeacherLogits:
    """The rows with the average of the first teacher's answers and the others'."""
    said = [first.logits]
    for member in others:
        assert member.reading.splits is not None
        rows, model = member.reading.splits.train, load_model(member.path, task.kind)
        if len(rows) != len(first) or (task.kind == "tokens" and rows.lengths != first.lengths):
            raise UserError(f"{member.path}: reads other rows than the first teacher")
        found = cached_logits(model, rows, member.reading.pad, accelerator, first.asked)
        said.append([part[:, member.order] for part in found.logits])
    logits = [average(task.kind, parts) for parts in zip(*said, strict=True)]
    return WithTeacherLogits(first.rows, logits, first.asked)


def evaluate_ensemble(
    first: Logits, task: Task, others: Sequence[EnsembleMember]
) -> tuple[Logits, int]:
    """The average of what all say of the texts of --eval, and the others' parameters together.

    first: what the first teacher says of them.
    """
    said, parameters = [list(first)], 0
    for member in others:
        splits, model = member.reading.splits, load_model(member.path, task.kind)
        assert splits is not None
        assert splits.test is not None
        rows = predict.predict(model, splits.test, member.reading.pad)
        said.append([row[..., member.order] for row in rows])
        parameters += sum(p.numel() for p in model.parameters())
    return list(_rows(task.kind, said)), parameters


def _rows(
    kind: Kind, said: Sequence[Sequence[NDArray[np.float32]]]
) -> Iterator[NDArray[np.float32]]:
    """One text's average after the other: (C,), or (T, C) of tags."""
    for row in zip(*said, strict=True):
        yield average(kind, row)
