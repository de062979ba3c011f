"""Several saved models on the same labelled texts, with intervals of their differences."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alembert.api.given import plain
from alembert.api.model import Model
from alembert.api.options import labelled_files, metric_of
from alembert.io.errors import UserError

if TYPE_CHECKING:
    from alembert.data.sources import Given
    from alembert.evaluation.uncertainty.compared import Comparison


@plain
def compare(
    models: Sequence[str | Path | Model],
    data: "Given",
    *,
    columns: Mapping[str, str] | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    skip_bad_rows: int = 0,
    fix_offsets: bool = False,
    windows: bool = False,
    max_length: int | None = None,
    backend: str | None = None,
    metric: "str | Callable[..., float] | None" = None,
    slices: Sequence[str] = (),
) -> "Comparison":
    """Return the metric of each model with its interval, and its difference to the first.

    models are saved models, run folders or what functions here returned; MODEL:BACKEND is one in an
    exported backend, and a folder that has nothing but an export answers by that. columns, text,
    text_pair, label, kind and windows are as in `evaluate`, and slices names columns to measure by.
    Of each text max_length tokens are read, by default the most that a run of these models read,
    and windows of as many as it has learnt by one that reads long texts so. Raises UserError.
    """
    from alembert.evaluation.uncertainty.compared import compare
    from alembert.io.environment import LENGTH, recorded_length
    from alembert.models.checks import window_length
    from alembert.models.loading import load_config
    from alembert.runs.evaluate import judge

    if not models:
        raise UserError("name the models to compare")
    files = labelled_files(data, {
        "columns": columns, "text": text, "text_pair": text_pair, "label": label, "kind": kind,
        "skip_bad_rows": skip_bad_rows, "fix_offsets": fix_offsets,
        "windows": windows,
    })  # fmt: skip
    metric, judged = metric_of({"metric": metric}), {}
    lengths = [recorded_length(_split(str(name))[0]) or LENGTH for name in models]
    longest = max(lengths)
    for name in map(str, models):
        path, own = _split(name)
        if name in judged:
            raise UserError(f"{name}: is named twice: leave one out")
        engine = own or backend or _engine(path)
        length = max_length or (None if window_length(load_config(path), path) else longest)
        judged[name] = judge(path, files, length, engine, metric, slices)
    return compare(judged)


def _split(name: str) -> tuple[str, str | None]:
    """Return the model and the backend of MODEL:BACKEND, which no folder may be called."""
    model, colon, backend = name.rpartition(":")
    if colon and not Path(name).exists() and Path(model).is_dir():
        return model, backend
    return name, None


def _engine(path: str) -> str:
    """Return torch, or the export's engine for a folder without weights of torch."""
    from alembert.inference import manifest
    from alembert.io.files import model_folder

    folder = model_folder(path)
    if (folder / manifest.FILE).is_file() and not list(folder.glob("*.safetensors")):
        return manifest.read_manifest(folder).chosen
    return "torch"
