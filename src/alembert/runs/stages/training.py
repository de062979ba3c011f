"""The training of one objective on a stage's rows, validated on held-out texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from alembert.data.batches import Batches, Rows
from alembert.data.collate import Masking
from alembert.recipes.schema import Stage
from alembert.runs.job import Job
from alembert.runs.stages import validation
from alembert.runs.texts.ensemble import RunTexts
from alembert.training.callbacks import Callbacks
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import WithTeacherLogits
from alembert.training.loop import train
from alembert.training.monitor import Length, Schedule, Validator, length_of
from alembert.training.sparse_embedding import restore, restrict, token_ids_in


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A stage with all that its training needs; `masking` is None where nothing is masked."""

    job: Job
    stage: Stage
    texts: RunTexts
    distillation: Distillation
    rows: Rows
    masking: Masking | None
    accelerator: Accelerator

    @property
    def length(self) -> Length:
        """The least and the most steps of the training."""
        splits = self.texts.student.splits if self.stage.data == "task" else None
        return length_of(self.stage, len(self.rows), len(splits.task.labels) if splits else 1)

    @property
    def validator(self) -> Validator | None:
        """What measures the student; None on a corpus, and where its result would not be used."""
        splits = self.texts.student.splits
        if self.stage.data != "task" or splits is None:
            return None
        return validation.validator_for(
            self.stage, self.distillation, splits, self.texts.student.pad, self.length,
            len(self.rows), self.accelerator,
        )  # fmt: skip


def trained(
    prepared: Prepared, folder: Path, validator: Validator | None, callbacks: Callbacks
) -> dict[str, Any]:
    """Train the student in place, resumed from what is in `folder`, and return the final facts."""
    stage, splits = prepared.stage, prepared.texts.student.splits
    student, rows, pad = prepared.distillation.student, prepared.rows, prepared.texts.student.pad
    batches = Batches(
        rows=rows,
        batch_size=stage.batch_size,
        seed=prepared.job.seed,
        pad_token_id=pad,
        masking=prepared.masking,
    )
    table = None
    if stage.data == "task" and splits is not None:
        read = rows.rows if isinstance(rows, WithTeacherLogits) else splits.train
        table = restrict(student, token_ids_in((read.input_ids, splits.valid.input_ids), pad))
    facts = train(
        prepared.distillation, stage, batches, prepared.length, folder,
        seed=prepared.job.seed, accelerator=prepared.accelerator, validator=validator,
        callbacks=callbacks,
    )  # fmt: skip
    if table is not None:
        step = facts["best_step"] or facts["step"]
        restore(student, table, Schedule(stage, prepared.length, facts.get("cooling")), step)
    return facts
