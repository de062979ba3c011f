"""The plots of the page, each with one axes and a description in words."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alembert.report.analysis import ClassScore
from alembert.report.svg import DEPLOYED, INK, LINES, MUTED, PAPER, STUDENT, TEACHER, drawn

if TYPE_CHECKING:  # see svg
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = {
    "teacher": TEACHER, "student": STUDENT, "model": STUDENT, "deployed": DEPLOYED,
    "baseline": MUTED,
}  # fmt: skip
# shapes differ too, for print
MARKS = {"teacher": "s", "student": "o", "model": "o", "deployed": "D", "baseline": "^"}
# the colours of images, which fit a dark and a light page
SOLID = {"teacher": (62, 108, 224), "student": (208, 106, 36), "model": (208, 106, 36)}
Floats = NDArray[np.floating]


def short(text: str, most: int = 26) -> str:
    """Return the text cut to `most` characters, to fit beside an axis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def apart(texts: Sequence[str], most: int = 26) -> list[str]:
    """Return the texts cut to `most` characters; of those that would be equal, both ends stay."""
    cut = [short(text, most) for text in texts]
    half = (most - 1) // 2
    ends = [
        f"{text[: most - 1 - half]}…{text[-half:]}"
        if cut.count(each) > 1 and each != text
        else each
        for text, each in zip(texts, cut, strict=True)
    ]
    alike = {each for each in ends if ends.count(each) > 1}
    return [f"{each} ({n})" if each in alike else each for n, each in enumerate(ends, start=1)]


def losses(name: str, series: dict[str, list[tuple[float, float]]]) -> str:
    """Plot a stage's loss and its terms over the steps, on a log scale where no value is 0."""
    ends = ", ".join(f"{term} {row[0][1]:.3g} to {row[-1][1]:.3g}" for term, row in series.items())
    with drawn(f"Losses of stage {name} by step: {ends}") as (axes, plot):
        for (term, row), colour in zip(series.items(), LINES, strict=False):
            steps, values = _thinned(row)
            mark = "o" if len(steps) == 1 else ""  # a line of one point is invisible
            width = 2.4 if term == "loss" else 1.4
            label = " " * term.startswith("_") + term  # else it is left out of the legend
            axes.plot(steps, values, color=colour, label=label, lw=width, marker=mark)
        if all(value > 0 for row in series.values() for _, value in row):
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        axes.set(xlabel=f"step of stage {name}")
        axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return plot.svg


def _plain_ticks(axis: "Axis") -> None:
    """Set ticks at 1, 2, 5, 10 ...: matplotlib's defaults are TeX, which STYLE does not parse."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _thinned(row: list[tuple[float, float]], most: int = 50) -> tuple[list[float], list[float]]:
    """Return steps and values, averaged in neighbourhoods to at most `most` points."""
    parts = np.array_split(np.array(row), min(most, len(row)))
    means = [part.mean(0) for part in parts]
    return [float(mean[0]) for mean in means], [float(mean[1]) for mean in means]


def validations(name: str, metric: str, row: list[tuple[float, float]]) -> str:
    """Plot the metric on held-out texts over a stage's steps."""
    best = (min if metric == "loss" else max)(value for _, value in row)
    with drawn(f"{metric} on held-out texts during stage {name}: best {best:.4f}") as (axes, plot):
        axes.plot(*zip(*row, strict=True), color=STUDENT, marker="o", markersize=4)
        axes.set(title=f"{metric} on held-out texts", xlabel=f"step of stage {name}")
        axes.margins(y=0.2)
    return plot.svg


def against_latency(
    points: Sequence[tuple[str, str, float, float]], front: set[int], metric: str, unit: str
) -> str:
    """Plot points of (name, role of an entry, cost in `unit`, metric); `front` has indices."""
    summary = "; ".join(f"{name} {cost:.3g}, {value:.4f}" for name, _, cost, value in points)
    best = ", ".join(points[i][0] for i in sorted(front))
    alt = f"{metric} against {unit}: {summary}. Pareto front: {best}"
    with drawn(alt, 4.6, 3.0) as (axes, plot):
        costs = [cost for _, _, cost, _ in points]
        line = sorted((points[i][2], points[i][3]) for i in front)
        if line:
            axes.plot(*zip(*line, strict=True), color=MUTED, linestyle=":", label="Pareto front")
            axes.legend(loc="lower right")
        for i, (name, role, cost, value) in enumerate(points):
            filled = COLOURS[role] if i in front else PAPER
            (mark,) = axes.plot(
                cost, value, MARKS[role], color=filled, markeredgecolor=COLOURS[role], markersize=8
            )
            plot.tip(mark, f"{name}: {metric} {value:.4f}, {cost:.3g} {unit}")
        if max(costs) > 4 * min(costs):
            axes.set_xscale("log")
            _plain_ticks(axes.xaxis)
        else:
            axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(0.1, 0.25)
        axes.set(xlabel=f"{unit} (lower is better)", ylabel=metric)
        first = sorted(range(len(points)), key=lambda i: i not in front)
        plot.settle()
        names = [short(name.removesuffix(", deployed"), 34) for name, *_ in points]  # by its mark
        _label_apart(axes, [(names[i], *points[i][2:]) for i in first])
    return plot.svg


def _label_apart(axes: "Axes", points: Sequence[tuple[str, float, float]]) -> None:
    """Label points (name, x, y), the first ones first; one without a free place has no label."""
    from matplotlib.transforms import Bbox

    places = axes.transData.transform([point[1:] for point in points])
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent())
    for name, x, y in points:
        for side, up in itertools.product(("left", "right"), (-9, 9, 0, -18, 18)):
            shift = (7 if up == 0 else 5) * (1 if side == "left" else -1)
            label = axes.annotate(
                name, (x, y), (shift, up), ha=side, va="center", textcoords="offset points",
                fontsize=8,
            )  # fmt: skip
            box = label.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()


def confusion(counts: NDArray[np.int64], labels: Sequence[str], role: str) -> str:
    """Plot the (C, C) counts: rows are true classes, columns predicted ones, shaded by row."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    right = counts.trace() / max(counts.sum(), 1)
    side = 1.5 + 0.32 * max(len(labels), 4)
    alt = f"Confusion of the {role}: {right:.1%} on the diagonal"
    with drawn(alt, side + 0.5, side) as (axes, plot):
        _image(axes, share * 0.75, role)
        for i, j in zip(*np.nonzero(counts), strict=True):
            small = 6 if counts.max() > 999 or len(labels) > 12 else 8
            axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=small, color=INK)
        _name_axes(axes, apart(labels, 18))
        axes.set(xlabel=f"predicted by the {role}", ylabel="true", title=role.capitalize())
    return plot.svg


def attention(weights: Floats, tokens: Sequence[str], role: str, layer: int) -> str:
    """Plot the (T, T) attention of tokens (rows) to tokens (columns), averaged over heads."""
    away = weights - np.eye(len(tokens))  # attention to itself says little about a token
    i, j = divmod(int(away.argmax()), len(tokens))
    summary = f"most from {tokens[i]!r} to {tokens[j]!r}, {weights[i, j]:.0%}"
    with drawn(f"Attention of the {role}, layer {layer}: {summary}", 2.9, 2.9) as (axes, plot):
        _image(axes, np.sqrt(weights / max(float(weights.max()), 1e-9)), role)
        _name_axes(axes, [short(token, 12) for token in tokens])
        axes.set_title(f"{role.capitalize()}, layer {layer}")
    return plot.svg


def _image(axes: "Axes", strength: Floats, role: str) -> None:
    """Draw a matrix in one colour of varying opacity, which fits any background."""
    cells = np.empty((*strength.shape, 4), np.uint8)
    cells[..., :3] = SOLID[role]
    cells[..., 3] = np.rint(255 * np.clip(strength, 0, 1))
    axes.imshow(cells, interpolation="none", aspect="auto")
    axes.grid(False)
    axes.tick_params(length=0)


def _name_axes(axes: "Axes", names: Sequence[str]) -> None:
    flat = len(names) * max(map(len, names)) < 30
    axes.set_xticks(range(len(names)), names, rotation=0 if flat else 90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)


def scatter(truth: Floats, scores: Floats, role: str, summary: str) -> str:
    """Plot scores over the truth, at most 800 evenly spaced points."""
    step = -(-len(truth) // 800)
    ends = [min(truth.min(), scores.min()), max(truth.max(), scores.max())]
    with drawn(f"Scores of the {role} against the truth: {summary}", 4.0, 3.6) as (axes, plot):
        axes.plot(ends, ends, color=MUTED, linewidth=0.8, linestyle=":")
        axes.plot(
            truth[::step], scores[::step], ".", color=COLOURS[role], alpha=0.4, markersize=5,
            markeredgewidth=0,
        )  # fmt: skip
        axes.set(
            xlabel="true score", ylabel=f"the {role}'s", title=f"{role.capitalize()}: {summary}"
        )
    return plot.svg


def by_class(rows: Sequence[ClassScore]) -> str:
    """Plot F1 of each label, with teacher and student on one line."""
    summary = "; ".join(
        f"{row.name} " + " and ".join(f"{role} {f1:.2f}" for role, f1 in row.f1.items())
        for row in rows
    )
    with drawn(f"F1 by label: {summary}", 4.4, 0.9 + 0.23 * len(rows)) as (axes, plot):
        for y, row in enumerate(rows):
            axes.plot([*row.f1.values()], [y] * len(row.f1), color=MUTED, linewidth=1)
        for role in rows[0].f1:
            axes.plot(
                [row.f1[role] for row in rows], range(len(rows)), MARKS[role], color=COLOURS[role],
                label=role, markersize=6, linestyle="none",
            )  # fmt: skip
        names = apart([row.name for row in rows])
        counted = [f"{name} ({row.support})" for name, row in zip(names, rows, strict=True)]
        axes.set_yticks(range(len(rows)), counted)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.05)
        axes.set(xlabel="F1")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return plot.svg


def soft(names: Sequence[str], shares: Mapping[str, Floats], temperature: float) -> str:
    """Plot the probabilities of a few labels at one temperature, a bar for each model."""
    summary = "; ".join(
        f"{role} "
        + ", ".join(f"{name} {share:.0%}" for name, share in zip(names, row, strict=True))
        for role, row in shares.items()
    )
    height = 0.75 + 0.34 * len(names)
    alt = f"Soft labels at temperature {temperature:g}: {summary}"
    with drawn(alt, 2.5, height) as (axes, plot):
        positions = np.arange(len(names))
        for k, (role, row) in enumerate(shares.items()):
            bars = axes.barh(positions + 0.36 * k - 0.18, row, 0.34, color=COLOURS[role])
            axes.bar_label(bars, [f"{share:.3g}%" for share in 100 * row], padding=2, fontsize=7)
        axes.set_yticks(positions, apart(names, 18))
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlim(0, 1.3 * max(float(row.max()) for row in shares.values()))
        axes.set_xticks([])
        axes.set_title(f"T = {temperature:g}")
    return plot.svg
