"""The student at the beginning of a stage: what came before, what was named, or a new one."""

from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from alembert.data.batches import Rows
from alembert.data.collate import pad
from alembert.errors import UserError
from alembert.job import Job
from alembert.models.load import load_model
from alembert.student import from_scratch, from_teacher
from alembert.trace import Batch

SAMPLE = 256  # texts by which a narrow student's view of its teacher is found


def sample_of(rows: Rows, pad_token_id: int) -> Batch:
    """Texts from all over the rows as one batch, without labels."""
    places = np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int))
    chosen = [rows[int(i)] for i in places]
    return pad([{k: v for k, v in row.items() if k != "labels"} for row in chosen], pad_token_id)


def student_for(
    job: Job,
    head: str,
    labels: tuple[str, ...],
    last: Path | None,
    teacher: PreTrainedModel | None,
    sample: Batch,
) -> PreTrainedModel:
    """The student with a head for these labels. last: the model of the stage before."""
    source = str(last) if last is not None else job.student
    if source is not None:
        torch.manual_seed(job.seed)  # a head that the checkpoint lacks is drawn at random
        return load_model(source, head, labels=labels, fresh_head=True)
    recipe = job.recipe
    if recipe.init.start == "scratch":
        return from_scratch(recipe.student, head, labels, job.seed)
    if teacher is None and job.teacher is not None:  # its layers, and none of its answers
        teacher = load_model(job.teacher, head, labels=labels, fresh_head=True)
    if recipe.init.start == "checkpoint" or teacher is None:
        raise UserError(
            f"recipe '{recipe.name}' starts from a saved model: name one with --student"
        )
    init = recipe.init
    return from_teacher(
        recipe.student, head, labels, teacher, init.layers, job.seed, sample, init.basis
    )
