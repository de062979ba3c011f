"""Finds the model that a saved model was before a task trained it, by the folders of runs."""

from pathlib import Path

from alembert.io.errors import UserError
from alembert.models.loading import digest_of, label_names_of, load_config
from alembert.runs.folder import ENVIRONMENT, RECIPE
from alembert.runs.record import RunRecord


def origin_of(model: str) -> str:
    """Return the folder or hub id of the newest model before this one that no task has trained.

    That may be the model itself. Raises UserError, which says why, where it is not known or gone.
    """
    folders = (Path(model), Path(model).parent)  # a run, or the student in it
    run = next((folder for folder in folders if (folder / RECIPE).is_file()), None)
    if run is None:
        if label_names_of(load_config(model)) is not None:
            raise UserError(f"it is not known from which model {model} was trained")
        return model
    record = RunRecord(run)
    if not record.files:  # of a corpus alone, which has no labels
        return model
    name = "teacher" if record.arguments.get("teacher") else "student"
    start = record.arguments.get(name)
    if start is None or record.recipe.get("init", {}).get("start") == "scratch":
        raise UserError(f"{model} was trained from random weights")
    path = record.resolved(start)
    known = record.environment.get("digests", {}).get(name)
    if known is not None and digest_of(path) != known:
        raise UserError(f"{path} is no more the model that {run / ENVIRONMENT} tells of")
    return origin_of(path)
