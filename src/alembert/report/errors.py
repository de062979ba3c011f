"""The parts of the page about what the models say: errors, classes, disagreements."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr

from alembert.evaluation.predictions import Predictions
from alembert.report import analysis, plots

MATRIX = 20  # classes that a confusion matrix can show; of more, the worst pairs
ROWS = 20  # classes in a plot; of more, half as many from either end
CUT = 400  # characters of a text in a table


@dataclass(frozen=True)
class Section:
    """figures: groups of SVGs that belong together, with a caption. head, rows: a table.

    quote: the example that is looked at. points: a list. verbatim: a command.
    """

    key: str
    title: str
    lead: str
    figures: tuple[tuple[tuple[str, ...], str], ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    quote: str = ""
    points: tuple[str, ...] = ()
    verbatim: str = ""


def errors(found: Predictions) -> Section | None:
    """Confusion matrices; of many classes the worst pairs; of scores a scatter."""
    if found.kind == "regression":
        return _scores(found)
    if found.kind != "classification":
        return None
    if len(found.labels) <= MATRIX:
        drawn = tuple(
            plots.confusion(analysis.confusion(found, who), found.labels, who)
            for who in found.logits
        )
        lead = f"{len(found):,} texts: a row is what is true, a column what the model says."
        return Section("errors", "Confusion", lead + _part(found), ((drawn, ""),))
    pairs = analysis.mixed_up(found)
    models = list(found.logits)
    lead = (
        f"{len(found.labels)} classes are too many for a matrix: the pairs that the student takes "
        f"for one another most often, among {len(found):,} texts."
    )
    rows = tuple(
        (pair.true, pair.said, *(f"{pair.counts[who]} of {pair.of}" for who in models))
        for pair in pairs
    )
    head = ("true", "taken for", *(f"by the {who}" for who in models))
    return Section(
        "errors", "Confusion: the worst pairs", lead + _part(found), head=head, rows=rows
    )


def _scores(found: Predictions) -> Section:
    truth, drawn = found.known().astype(np.float64), []
    for who in found.logits:
        scores = analysis.said(found, who).astype(np.float64)
        told = "constant"
        if np.ptp(scores) and np.ptp(truth):
            told = f"Pearson {pearsonr(truth, scores).statistic:.3f}"
        drawn.append(plots.scatter(truth, scores, who, told))
    lead = f"{len(found):,} texts: on the dotted line a model says the truth."
    return Section("errors", "Scores against the truth", lead + _part(found), ((tuple(drawn), ""),))


def _part(found: Predictions) -> str:
    if len(found) == found.total:
        return ""
    return f" They are an even part of the {found.total:,} that were judged."


def by_class(found: Predictions) -> Section | None:
    """F1 of each label, and what the student kept of it."""
    if found.kind == "regression":
        return None
    rows = analysis.classes(found)
    if not rows:
        return None
    what = "kind of span" if found.kind == "tokens" and "O" in found.labels else "label"
    of_two = "teacher" in found.logits
    lead = f"F1 of each {what}, with how often it is true in brackets"
    lead += "; where the student lost most first." if of_two else ", the worst first."
    if of_two:
        kept = np.array(
            [row.f1["student"] / row.f1["teacher"] for row in rows if row.f1["teacher"]]
        )
        if len(kept):
            lead += (
                f" The student keeps {np.median(kept):.1%} of the teacher's F1 at the median, and "
                f"all of it or more for {int((kept >= 1).sum())} of {len(kept)}."
            )
    parts = [rows] if len(rows) <= ROWS else [rows[: ROWS // 2], rows[-ROWS // 2 :]]
    if len(rows) > ROWS:
        lead += f" The {ROWS // 2} at either end, of {len(rows)}."
    drawn = (tuple(plots.by_class(part) for part in parts), "")
    title = "What was kept, class by class" if of_two else "Class by class"
    return Section("classes", title, lead, (drawn,))


def disagreements(found: Predictions) -> Section | None:
    """The texts that the two see most differently; of one model, its worst mistakes."""
    rows = analysis.apart(found)
    if not rows:
        return None
    models = list(found.logits)

    def marked(row: analysis.Apart, who: str) -> str:
        right = row.right[who]
        return row.answers[who] if right is None else f"{'✓' if right else '✗'} {row.answers[who]}"

    table = tuple(
        (
            row.text if len(row.text) <= CUT else row.text[:CUT] + " …",
            row.truth,
            *(marked(row, who) for who in models),
        )
        for row in rows
    )
    if len(models) == 2:
        first, second = (analysis.said(found, who) for who in models)
        told = "By the Jensen-Shannon divergence of what the two say. "
        if found.kind == "regression":
            told = f"By the difference of their scores; mean {np.abs(first - second).mean():.2f}. "
        else:
            same = (first == second).reshape(len(first), -1).all(1).mean()
            unit = "words" if found.kind == "tokens" else "texts"
            told += f"They give the same answer for {same:.1%} of the {unit}."
        title = "Where student and teacher disagree most"
    else:
        title, told = "Where it is furthest from the truth", ""
    return Section("apart", title, told, head=("text", "true", *models), rows=table)
