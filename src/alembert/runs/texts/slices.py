"""Quality by slice of a run's evaluation: by the columns of --slice, and by length."""

from collections.abc import Mapping

from alembert.data.encoded import Encoded
from alembert.evaluation.metrics import Logits
from alembert.evaluation.uncertainty import slices
from alembert.evaluation.uncertainty.resampling import Rows
from alembert.evaluation.uncertainty.slices import Slices
from alembert.io.errors import UserError
from alembert.runs.job import Job
from alembert.runs.texts.ensemble import RunTexts

MODELS = ("teacher", "student")


def check(job: Job) -> None:
    """Raise UserError for a column that the rows of --eval lack, before anything is trained."""
    if not job.slices:
        return
    test = job.files.test if job.files is not None else None
    if test is None:
        raise UserError(f"--slice {job.slices[0]}: is a column of --eval: give that too")
    slices.check(job.slices, test.rows.column_names, test.name)


def of_run(
    job: Job, texts: RunTexts, logits: Mapping[str, Logits], data: Mapping[str, Encoded]
) -> Slices:
    """Return the metric of teacher and student by each value of the columns, and by length."""
    splits = texts.student.splits
    assert splits is not None
    models = {
        name: Rows.of(splits.task, logits[name], data[name]) for name in MODELS if name in logits
    }
    lengths = {slices.LENGTH: slices.lengths_of(data["student"])}
    return slices.slices_of(models, columns_of(job, texts) | lengths)


def columns_of(job: Job, texts: RunTexts) -> dict[str, list[str]]:
    """Return the value of each text of --eval in the columns of --slice."""
    if not job.slices:
        return {}
    splits = texts.student.splits
    assert splits is not None
    assert splits.raw_test is not None
    assert job.files is not None
    assert job.files.test is not None
    return slices.values_of(splits.raw_test.rows, job.slices, job.files.test.name)
