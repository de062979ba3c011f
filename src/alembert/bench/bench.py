"""Size, latency, throughput and memory of saved models on CPU, side by side."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from alembert.bench.rows import Row
from alembert.bench.side_by_side import measure
from alembert.bench.worker import Spec
from alembert.inference import manifest as deployed
from alembert.io import files, hub
from alembert.io.errors import UserError

Text = str | tuple[str, ...]  # a single one, or a pair
MOST_TEXTS = 1000
BACKENDS = ("torch", *deployed.BACKENDS)


def bench(
    models: Sequence[str],
    backends: Sequence[str],
    threads: Sequence[int],
    batch: int,
    length: int,
    texts: Sequence[Text],
    seconds: float,
    baselines: Sequence[str],
) -> list[Row]:
    """A row for every model x backend x threads, each timed in its own process.

    models are saved models, run folders (their students) or hub ids. Without backends, torch and
    each model's exported variants are timed. Texts are cut at `length` tokens; without texts, ids
    are random and all `length` long. seconds bounds the time of a row. baselines are MODEL:BACKEND
    to compare with, by default the first model in torch and in onnx, else the first row.
    Raises UserError for a setting or a model that cannot be timed.
    """
    _check({"--batch": batch, "--length": length, "--seconds": seconds, "--threads": min(threads)})
    folders = {model: _downloaded(model) for model in dict.fromkeys(models)}
    samples = tuple(texts)
    specs = [
        Spec(
            model=model,
            folder=str(folder),
            backend=backend,
            threads=count,
            batch=batch,
            length=length,
            texts=samples,
        )
        for count in dict.fromkeys(threads)
        for model, folder in folders.items()
        for backend in _backends(model, folder, backends)
    ]
    return measure(specs, _references(specs, baselines, models[0]), seconds)


def _check(numbers: dict[str, float]) -> None:
    for name, number in numbers.items():
        if not 0 < number < float("inf"):
            raise UserError(f"{name} {number:g}: must be over 0 and finite")


def _downloaded(model: str) -> Path:
    """The folder of a saved model, which is student/ in a run folder; a hub id is downloaded."""
    folder = files.model_folder(model)
    if (folder / "config.json").is_file():
        return folder
    from alembert.models.loading import load_config  # its errors explain a wrong name

    load_config(model)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors"]
    offline = not hub.reachable()
    return Path(snapshot_download(model, allow_patterns=patterns, local_files_only=offline))


def _backends(model: str, folder: Path, requested: Sequence[str]) -> list[str]:
    """The backends of a model to time, in the order of BACKENDS."""
    for name in requested:
        if name not in BACKENDS:
            raise UserError(f"--backends {name}: choose among {', '.join(BACKENDS)}")
    exported = []
    if (folder / deployed.FILE).is_file():
        exported = [variant.backend for variant in deployed.read_manifest(folder).variants]
        exported = [name for name in exported if name in requested or name != "attentions"]
    for name in requested:
        if name != "torch" and name not in exported:
            option = f" --{name.partition('-')[0]}" if name != "onnx" else ""
            raise UserError(
                f"{model}: not exported for {name}: 'alembert export {model}{option}' does it"
            )
    has_torch = importlib.util.find_spec("torch") is not None
    if "torch" in requested and not has_torch:
        raise UserError("--backends torch: torch is not installed: pip install 'alembert[train]'")
    chosen = requested or [*(["torch"] if has_torch else []), *exported]
    if not chosen:
        raise UserError(f"{model}: not exported: 'alembert export {model}' does it")
    return [name for name in BACKENDS if name in chosen]


def _references(specs: Sequence[Spec], baselines: Sequence[str], first: str) -> list[str]:
    """The names of the rows that all rows are compared with."""
    names = list(dict.fromkeys(spec.name for spec in specs))
    for name in baselines:
        if name not in names:
            raise UserError(f"--baseline {name}: no such row; there are {', '.join(names)}")
    defaults = [name for name in (f"{first}:torch", f"{first}:onnx") if name in names]
    return list(baselines) or defaults or names[:1]


def texts_of(file: str, text: str | None, text_pair: str | None) -> list[Text]:
    """At most MOST_TEXTS rows of a file, drawn at random; empty texts are left out.

    Raises UserError for a file without a text.
    """
    try:
        from alembert.data.labels import find_columns
        from alembert.data.sources import read
        from alembert.data.texts.raw import asked_texts
    except ModuleNotFoundError as error:
        raise UserError(f"--data needs {error.name}: pip install 'alembert[train]'") from error
    rows = read(file, "test")
    columns = find_columns(rows, file, text, text_pair, labelled=False)
    texts = asked_texts(rows, columns, MOST_TEXTS)
    result: list[Text] = [" ".join(text) if isinstance(text, list) else text for text in texts]
    if not result:
        raise UserError(f"{file}: no row with a text: nothing to time")
    return result
