"""The same student trained without its teacher, which shows what the distillation is worth."""

from dataclasses import replace

from alembert.objectives.label_terms import HardLabels
from alembert.recipes.schema import Masking, Recipe, Stage, replaced
from alembert.runs.folder import UNDISTILLED
from alembert.runs.job import Job


def without_teacher(job: Job, kind: str) -> Job:
    """Return the job that trains a distillation's student on labels alone, in RUN/undistilled.

    The student, its start, its vocabulary, its labelled texts and the rule of its length are the
    same. `kind` is that of the task, which the teacher's labels may have told.
    """
    assert job.files is not None
    files = replace(job.files, unlabelled=None)  # the teacher alone labelled them
    if files.task is None:
        files = replace(files, kind=kind)
    return replace(
        job,
        recipe=_on_labels_alone(job.recipe),
        out=job.out / UNDISTILLED,
        teacher=job.teacher_for(job.stages[0]),  # the student starts from it
        general_teacher=None,
        more_teachers=(),
        labels_of=job.task_teacher,
        files=files,
        mlm=None,
        vectors=None,
        callbacks=(),
        track=(),
        describes=False,
        export=False,
        baselines=False,
        undistilled=False,
    )


def _on_labels_alone(recipe: Recipe) -> Recipe:
    """Return the recipe with no term that imitates; augmented texts go, which need a teacher."""
    stages = tuple(map(_stage_on_labels, recipe.stages))
    settings = replaced(recipe.run, cache_teacher=False)
    return replaced(recipe, stages=stages, run=settings, projections="none", augment=None)


def _stage_on_labels(stage: Stage) -> Stage:
    if stage.teacher == "linear":
        return stage
    terms = tuple(term for term in stage.objective if not term.imitates) or (HardLabels(),)
    masking = stage.masking or (Masking() if stage.data == "corpus" else None)
    return replaced(stage, objective=terms, alternatives=(), masking=masking)
