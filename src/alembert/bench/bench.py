"""Size, latency, throughput and memory of saved models on CPU, side by side."""

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alembert.bench.rows import Round, Row, Subject, row, weights_mb
from alembert.bench.side_by_side import FEWEST, measure
from alembert.bench.worker import Spec, eager, ids_of
from alembert.inference import manifest as deployed
from alembert.io import hub
from alembert.io.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from alembert.data.encoded import Encoded

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
    """A row for every model x backend x threads, each in a process of its own.

    models: saved models, run folders (their students), or hub ids. backends: none: torch and what
    each model was exported for. texts: real ones, cut at `length` tokens; none: made-up ids, all
    `length` long. seconds: the most that a row is timed. baselines: MODEL:BACKEND to compare with;
    none: the first model in torch and in onnx, where they are there, else the first row.
    """
    _check({"--batch": batch, "--length": length, "--seconds": seconds, "--threads": min(threads)})
    places = {model: place(model) for model in dict.fromkeys(models)}
    real = tuple(texts)
    specs = [
        Spec(model, str(folder), backend, count, batch, length, real)
        for count in dict.fromkeys(threads)
        for model, folder in places.items()
        for backend in _backends(model, folder, backends)
    ]
    return measure(specs, _references(specs, baselines, models[0]), seconds)


def _check(numbers: dict[str, float]) -> None:
    for name, number in numbers.items():
        if not 0 < number < float("inf"):
            raise UserError(f"{name} {number:g}: must be over 0 and finite")


def place(model: str) -> Path:
    """The folder of a saved model: a run folder stands for its student, a hub id is fetched."""
    folder = Path(model)
    if not (folder / "config.json").is_file() and (folder / "student" / "config.json").is_file():
        return folder / "student"
    if not folder.is_dir():
        from alembert.models.loading import load_config  # says what is wrong with a name

        load_config(model)
        from huggingface_hub import snapshot_download

        kept = ["*.json", "*.safetensors"]
        here = not hub.reachable()
        return Path(snapshot_download(model, allow_patterns=kept, local_files_only=here))
    if not (folder / "config.json").is_file():
        raise UserError(f"{model}: a folder without config.json is not a saved model")
    return folder


def _backends(model: str, folder: Path, asked: Sequence[str]) -> list[str]:
    """What of a model is timed, in the order of BACKENDS."""
    for name in asked:
        if name not in BACKENDS:
            raise UserError(f"--backends {name}: choose among {', '.join(BACKENDS)}")
    there = []
    if (folder / deployed.FILE).is_file():
        there = [variant.backend for variant in deployed.read_manifest(folder).variants]
        there = [name for name in there if name in asked or name != "attentions"]
    for name in asked:
        if name != "torch" and name not in there:
            option = f" --{name.partition('-')[0]}" if name != "onnx" else ""
            raise UserError(
                f"{model}: not exported for {name}: 'alembert export {model}{option}' does it"
            )
    torch = importlib.util.find_spec("torch") is not None
    if "torch" in asked and not torch:
        raise UserError("--backends torch: torch is not installed: pip install 'alembert[train]'")
    chosen = asked or [*(["torch"] if torch else []), *there]
    if not chosen:
        raise UserError(f"{model}: not exported: 'alembert export {model}' does it")
    return [name for name in BACKENDS if name in chosen]


def _references(specs: Sequence[Spec], baselines: Sequence[str], first: str) -> list[str]:
    """The names of the rows that all rows are compared with."""
    there = list(dict.fromkeys(spec.name for spec in specs))
    for name in baselines:
        if name not in there:
            raise UserError(f"--baseline {name}: no such row; there are {', '.join(there)}")
    usual = [name for name in (f"{first}:torch", f"{first}:onnx") if name in there]
    return list(baselines) or usual or there[:1]


def texts_of(file: str, text: str | None, text_pair: str | None) -> list[Text]:
    """At most MOST_TEXTS rows of a file, drawn from all over it; empty ones are left out.

    Raises UserError for a file without a text.
    """
    try:
        from alembert.data.labels import find_columns, is_list
        from alembert.data.sources import read
    except ModuleNotFoundError as error:
        raise UserError(f"--data needs {error.name}: pip install 'alembert[train]'") from error
    rows = read(file, "test")
    columns = find_columns(rows, file, text, text_pair, labelled=False)
    order = np.random.default_rng(0).permutation(len(rows))[:MOST_TEXTS]
    chosen = rows.select(order.tolist())
    words = is_list(rows, columns.text)

    def column(name: str) -> list[str]:
        cells = ["" if each is None else each for each in chosen[name]]
        return [" ".join(each) if words else str(each).strip() for each in cells]

    texts = column(columns.text)
    found: list[Text] = [text for text in texts if text]
    if columns.text_pair:
        pairs = zip(texts, column(columns.text_pair), strict=True)
        found = [pair for pair in pairs if all(pair)]
    if not found:
        raise UserError(f"{file}: no row with a text: nothing to time")
    return found


def quick(
    models: "dict[str, tuple[PreTrainedModel, Path]]",
    data: "Encoded | dict[str, Encoded]",
    texts: int = 200,
    seconds: float = 10.0,
) -> list[Row]:
    """Rows of loaded models in this process: torch eager, one thread, one text a batch, fp32.

    Keys are the names in the rows, in whose order they come; the first is what the others are
    compared with. The folders are those they were saved in (for the size). Each of the first
    `texts` rows of the data (of each model's own, where they read differently) goes through every
    model before the next one does; it ends early after `seconds`. Peak memory is not told, being
    the whole process's.
    """
    import torch

    from alembert.models.heads import kind_of

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run = {name: eager(each, kind_of(each.config, name)) for name, (each, _) in models.items()}
    rounds: dict[str, list[Round]] = {name: [] for name in models}
    began = time.monotonic()
    try:
        for i in [*range(5), *range(texts)]:  # the first five warm up
            for name in models:
                rows = data[name] if isinstance(data, dict) else data
                ids = ids_of(np.array([rows[i % len(rows)]["input_ids"]]))
                start, used = time.perf_counter(), time.process_time()
                run[name](ids)
                used, wall = time.process_time() - used, time.perf_counter() - start
                rounds[name].append(Round([wall], [used], [], 1, ids["input_ids"].size))
            if time.monotonic() - began > seconds and len(rounds[name]) > 5 + FEWEST:
                break
    finally:
        torch.set_num_threads(before)
    first = next(iter(models))
    found = []
    for name, (model, folder) in models.items():
        size = weights_mb(folder)
        parameters = sum(each.numel() for each in model.parameters())
        others = [(f"{first}:torch", rounds[first][5:])] if name != first else []
        found.append(row(Subject(name, "torch", 1, size, parameters), 1, rounds[name][5:], others))
    return found
