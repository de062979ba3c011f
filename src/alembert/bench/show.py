"""Shows the rows of a benchmark as a table, as JSON or as a chart."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from alembert.bench.rows import Ratio, Row
from alembert.io import checksums
from alembert.io.environment import missing, processor, versions
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep_json, write_json

PACKAGES = ("python", "alembert", "torch", "transformers", "onnxruntime", "openvino", "tokenizers")


def tables(rows: Sequence[Row]) -> list[Table]:
    """A table of times for each number of threads, then one of sizes."""
    label, result = _labels(rows), []
    for threads in dict.fromkeys(row.threads for row in rows):
        result.append(_times([row for row in rows if row.threads == threads], label))
    sizes = _table("", "model", "backend", "parameters", "MB on disk", "MB of memory")
    for row in rows:
        if row.threads == rows[0].threads:
            memory = "" if row.peak_rss_mb is None else f"{row.peak_rss_mb:.0f}"
            parameters = f"{row.parameters / 1e6:.1f} M"
            sizes.add_row(label[row.model], row.backend, parameters, _figure(row.size_mb), memory)
    return [*result, sizes]


def _times(rows: Sequence[Row], label: dict[str, str]) -> Table:
    """The table of times, with a column of ratios for each reference."""
    references = [ratio.to for ratio in max((row.ratios for row in rows), key=len)]
    names = [f"x {_label(name, label)}" for name in references]
    head = ("model", "backend", "ms", "CPU ms", "texts/s")
    table = _table(_threads(rows[0].threads), *head, *names)
    for row in rows:
        ratios = {ratio.to: shown(ratio) for ratio in row.ratios}
        table.add_row(
            label[row.model], row.backend, _figure(row.latency_ms["median"]),
            _figure(row.cpu_ms["median"]), _figure(row.throughput),
            *(ratios.get(name, "") for name in references),
        )  # fmt: skip
    return table


def _table(title: str, *names: str) -> Table:
    table = Table(
        *names, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True,
        title=title, title_justify="left",
    )  # fmt: skip
    table.columns[0].overflow, table.columns[0].min_width = "fold", 12
    for column in table.columns[1:]:
        column.justify = "right"
        column.min_width = 9 if str(column.header).startswith("x ") else len(str(column.header))
    table.columns[1].justify, table.columns[1].no_wrap = "left", True
    return table


def _labels(rows: Sequence[Row]) -> dict[str, str]:
    """{model: its name without the folders that all models share}."""
    homes = {Path(row.model).absolute().parent for row in rows}
    shared = Path(os.path.commonpath(homes))
    return {row.model: str(Path(row.model).absolute().relative_to(shared)) for row in rows}


def _label(reference: str, labels: dict[str, str]) -> str:
    model, _, backend = reference.rpartition(":")
    return f"{labels.get(model, model)} {backend}"


def _figure(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def shown(ratio: Ratio) -> str:
    """The ratio with half its interval, or "same" when no difference was shown."""
    if ratio.same:
        return "≈ same"
    half = 100 * (ratio.high - ratio.low) / 2 / ratio.value
    return f"{ratio.value:.3g} ±{half:.0f}%"


def legend(rows: Sequence[Row]) -> str:
    """The line that explains the columns and how the rows were timed."""
    first = rows[0]
    what = "made-up texts" if first.tokenize_ms is None else "real texts, tokenisation included"
    often = f"{min(row.rounds for row in rows)} rounds or more"
    return (
        f"{what}: {first.length} tokens, {first.batch} a batch, {often}; ms a batch, median. "
        "x: times as fast, by CPU time at one thread and by the clock at more, give or take ±; "
        "≈ same: inside the noise"
    )


def write(rows: Sequence[Row], settings: dict[str, Any], path: Path) -> None:
    """Writes the rows as JSON, with the settings, the hardware and the versions of packages.

    Where the folder keeps checksums, as that of a run, the file's own is among them.
    """
    content = {
        "rows": [row.content() for row in rows],
        "settings": settings,
        "hardware": {"machine": platform.machine(), "cpu": processor(), "cores": os.cpu_count()},
        "versions": versions(PACKAGES),
    }
    keeps = bool(checksums.recorded(path.parent))
    (keep_json if keeps else write_json)(path, content)


def chart(rows: Sequence[Row], path: Path) -> None:
    """Draws bars of the median latency to an SVG or PNG file (by the suffix)."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(missing("matplotlib", "report")) from error
    backends = list(dict.fromkeys(row.backend for row in rows))
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    label = _labels(rows)
    names = [f"{label[row.model]}  {row.backend}  {_threads(row.threads)}" for row in rows]
    times = [row.latency_ms["median"] for row in rows]
    colours = [f"C{backends.index(row.backend)}" for row in rows]
    bars = axes.barh(range(len(rows)), times, color=colours)
    axes.bar_label(bars, [f"{time:.3g} ms" for time in times], padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel(f"latency, ms a batch of {rows[0].batch} x {rows[0].length} tokens (median)")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)


def check_chart(path: Path) -> None:
    """Raises UserError for a chart that cannot be drawn, before anything is timed."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UserError(f"--chart {path}: name a file that ends in .svg or .png")


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
