"""What is done with a finished model: evaluate, bench, report, export, predict and clean."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alembert.api.given import plain
from alembert.api.options import labelled_files
from alembert.io.answers import QUESTIONS
from alembert.io.environment import LENGTH
from alembert.io.errors import UserError

if TYPE_CHECKING:
    from alembert.bench.rows import Row
    from alembert.data.sources import Given
    from alembert.inference import Session
    from alembert.inference.manifest import Manifest
    from alembert.runs.folder.cleaning import Cleaned

log = logging.getLogger(__name__)


class Answered(NamedTuple):
    """The number of rows that a file of answers has, and of those among them without a text."""

    rows: int
    empty: int


@plain
def evaluate(
    model: str | Path,
    data: "Given | None" = None,
    *,
    corpus: str | None = None,
    columns: Mapping[str, str] | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    skip_bad_rows: int = 0,
    fix_offsets: bool = False,
    windows: bool = False,
    slices: Sequence[str] = (),
    max_length: int | None = None,
    sequences: int = 2000,
    backend: str = "torch",
) -> dict[str, Any]:
    """Return the metrics of a model on labelled texts, or by MLM on a corpus.

    data is a path or rows in memory, and columns names its text, text_pair and label. With the
    names of columns in slices, "slices" has the metric by each of their values and by length.
    max_length is by default the one of the model's run, else 128 tokens. windows reads long texts
    in windows, as a model does that has learnt them so; others truncate them.
    Raises UserError, also where not exactly one of data and corpus is given.
    """
    from alembert.evaluation.uncertainty.resampling import Rows
    from alembert.evaluation.uncertainty.slices import slices_of
    from alembert.runs.evaluate import evaluate_mlm, judge

    if (data is None) == (corpus is None):
        raise UserError("give exactly one of --data and --corpus")
    if data is None:
        assert corpus is not None
        if slices:
            raise UserError(f"--slice {slices[0]}: is a column of labelled texts: it needs --data")
        return evaluate_mlm(str(model), corpus, max_length or LENGTH, sequences, backend)
    files = labelled_files(data, {
        "columns": columns, "text": text, "text_pair": text_pair, "label": label, "kind": kind,
        "skip_bad_rows": skip_bad_rows, "fix_offsets": fix_offsets,
        "windows": windows,
    })  # fmt: skip
    judged = judge(str(model), files, max_length, backend, sliced=slices)
    found: dict[str, Any] = dict(judged.metrics)
    if slices:
        model_alone = {"model": Rows.of(judged.task, judged.logits, judged.data)}
        found["slices"] = slices_of(model_alone, judged.columns)
    return found


@plain
def bench(
    models: Sequence[str],
    *,
    backends: Sequence[str] = (),
    threads: Sequence[int] = (),
    batch: int = 1,
    length: int = 128,
    data: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    baseline: Sequence[str] = (),
    seconds: float = 3.0,
    json: Path | None = None,
    chart: Path | None = None,
) -> "list[Row]":
    """Return size, speed and memory of models in backends, a row each, and write json and chart.

    threads: by default one, and all cores. data: the texts to time, by default random ones.
    seconds bounds the time of a row. Raises UserError.
    """
    from alembert.bench import bench as benchmark
    from alembert.bench import show

    if chart is not None:
        show.check_chart(chart)
    texts = benchmark.texts_of(data, text, text_pair) if data is not None else []
    counts = threads or [1, os.cpu_count() or 1]
    rows = benchmark.bench(
        models, backends, counts, batch, length, texts, seconds, baseline,
    )  # fmt: skip
    if json is not None:
        settings = {"batch": batch, "length": length, "data": data, "seconds": seconds}
        show.write(rows, settings, json)
    if chart is not None:
        show.chart(rows, chart)
    return rows


@plain
def report(runs: Sequence[Path], out: Path | None = None) -> list[Path]:
    """Write an HTML report of one run or several, and model cards; return the files' paths."""
    from alembert.report import model_card
    from alembert.report.page import make

    page = make(runs, out)
    folders = dict.fromkeys(runs)  # "run" and "run/" are one path
    cards = (model_card.write(run) for run in folders)
    return [page, *(card for card in cards if card is not None)]


@plain
def export(
    model: str,
    *,
    int8: bool = False,
    openvino: bool = False,
    attentions: bool = False,
    auto: bool = False,
    data: str | None = None,
    keep: float | None = None,
    max_length: int = 128,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
) -> "Manifest":
    """Export a model to ONNX, int8 or OpenVINO, to run without torch; return its manifest.

    auto exports all variants and chooses one by `data`: the fastest that keeps this share of the
    metric (0.99). Raises UserError.
    """
    from alembert.data.splits import Files

    if not auto and (keep is not None or label is not None):
        name = "--label" if keep is None else "--keep"
        raise UserError(f"{name} is for choosing among variants: it needs --auto")
    files = Files(train=data, text=text, text_pair=text_pair, label=label) if data else None
    if auto:
        if files is None:
            raise UserError("--auto needs --data F: the texts that the variants are measured on")
        from alembert.export.choose import KEEP, choose

        return choose(model, files, KEEP if keep is None else keep, attentions, max_length)
    from alembert.export.export import backends_of
    from alembert.export.export import export as export_to

    backends = backends_of(int8, openvino, attentions, files is not None)
    return export_to(model, backends, files, max_length)


@plain
def open_session(
    model: str | Path,
    backend: str | None = None,
    threads: int | None = 1,
    long: str | None = None,
    max_length: int | None = None,
) -> "Session":
    """Open a model: by its export, or by torch where that is named or there is no export."""
    from alembert.inference import manifest
    from alembert.inference.session import Session

    if backend == "torch" or not (
        backend or (manifest.exported_folder(model) / manifest.FILE).is_file()
    ):
        from alembert.export.torch_session import torch_session

        if backend is None:
            log.info(f"{model} is not exported: torch runs it, which starts slowly")
        return torch_session(str(model), threads, long, max_length)
    return Session(model, backend, threads, long, max_length)


def predictor(session: "Session", top: int = 5) -> Callable[..., Any]:
    """Return the method of a session that answers: labels, vectors, tags, spans or words."""
    methods: dict[str, Callable[..., Any]] = {
        "encoder": session.embed,
        "tokens": session.tag,
        QUESTIONS: session.answer,
        "words": partial(session.fill_mask, top=top),
    }
    return methods.get(session.kind, session.predict)


@plain
def predict(model: str | Path, texts: Any, *, top: int = 5, **opening: Any) -> Any:
    """Return the labels, scores, tags, answers, masked words or vectors of texts.

    opening: backend, threads, long and max_length of `open_session`. Raises UserError.
    """
    return predictor(open_session(model, **opening), top)(texts)


@plain
def predict_file(
    model: str | Path,
    data: str,
    out: str | Path,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    scores: bool = False,
    top: int = 5,
    **opening: Any,
) -> Answered:
    """Write the rows of a file with the model's answers beside them, and return their number.

    out ends in .csv, .jsonl or .parquet. A row without a text has no answer. With scores each label
    of a class has a column of its probability. The rows are read, answered and written a thousand
    at a time. opening: as in `predict`. Raises UserError.
    """
    from alembert.data.rowwise import answering, reading, writing
    from alembert.io.environment import recorded_files
    from alembert.io.progress import BYTES, Work

    out = Path(out)
    writing.check_out(out)
    record = recorded_files(model)
    blocks = reading.blocks(data, text, text_pair, [record.get("text"), record.get("text_pair")])
    first = next(blocks)  # what is wrong with the file is told before the model is opened
    session = open_session(model, **opening)
    columns = answering.Columns.of(session.kind, session.labels, scores)
    columns.check(first.columns, data)
    answer, rows, empty = predictor(session, top), 0, 0
    with (
        writing.writer(out) as write,
        Work("predicting", first.size, BYTES, kept=True) as work,
    ):
        for block in chain([first], blocks):
            filled = [each for each in block.texts if each is not None]
            answers = iter(answer(filled, first=rows))
            told = [None if each is None else next(answers) for each in block.texts]
            write(block.columns | columns.cells(told))
            rows += len(told)
            empty += len(told) - len(filled)
            work.n = block.position
            work.tell(texts=f"{rows:,}")
        work.n = first.size
    return Answered(rows, empty)


@plain
def clean(folder: str | Path) -> "Cleaned":
    """Remove from the finished runs in a folder what only resuming needs; return the bytes.

    Results, logs, metrics and reports stay, and the runs are still finished. Raises UserError.
    """
    from alembert.runs.folder.cleaning import clean

    return clean(Path(folder))
