"""The sections of the page on predictions: errors, classes, slices, disagreements."""

import base64
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import pearsonr

from alembert.evaluation.predictions import Predictions
from alembert.evaluation.spans.listed import Answered
from alembert.evaluation.uncertainty import phrases
from alembert.evaluation.uncertainty.intervals import Interval
from alembert.evaluation.uncertainty.slices import SMALL
from alembert.report import analysis, plots
from alembert.runs.record import RunRecord

MATRIX = 20  # the most classes that a matrix shows; of more, the worst pairs are listed
ONE = 10  # the most classes in one plot; more of them are in two
ROWS = 20  # the most classes in a plot; of more, half of them come from either end
CUT = 400  # the most characters of a text in a table
LISTED, SAVED = 200, 2000  # the most texts in the table of outcomes, and in its file
NONE = "(no answer)"
CHOICES = 40  # the most classes to choose texts by


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page.

    figures: groups of SVGs, each group with a caption. head, rows: a table. quote: the example's
    text. points: a list. verbatim: a command. filters: columns of the table by which its rows are
    chosen, with their values; numbers: columns with a least number. download: a file as a link.
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
    filters: tuple[tuple[int, tuple[str, ...]], ...] = ()
    numbers: tuple[int, ...] = ()
    download: str = ""


def errors(predictions: Predictions) -> Section | None:
    """Return confusion matrices, the worst pairs of many classes, or a scatter plot of scores."""
    if predictions.kind == "regression":
        return _scores(predictions)
    if predictions.kind != "classification":
        return None
    if len(predictions.labels) <= MATRIX:
        drawn = tuple(
            plots.confusion(analysis.confusion(predictions, role), predictions.labels, role)
            for role in predictions.logits
        )
        lead = f"{len(predictions):,} texts: rows are true classes, columns predicted ones."
        return Section(
            key="errors",
            title="Confusion",
            lead=lead + _sampled(predictions),
            figures=((drawn, ""),),
        )
    pairs = analysis.confused_pairs(predictions)
    models = list(predictions.logits)
    lead = (
        f"{len(predictions.labels)} classes are too many for a matrix: the pairs that the student "
        f"confuses most often, among {len(predictions):,} texts."
    )
    rows = tuple(
        (pair.true, pair.predicted, *(f"{pair.counts[role]} of {pair.support}" for role in models))
        for pair in pairs
    )
    head = ("true", "taken for", *(f"by the {role}" for role in models))
    return Section(
        key="errors",
        title="Confusion: the worst pairs",
        lead=lead + _sampled(predictions),
        head=head,
        rows=rows,
    )


def _scores(predictions: Predictions) -> Section:
    truth, drawn = predictions.known().astype(np.float64), []
    for role in predictions.logits:
        scores = analysis.predicted(predictions, role).astype(np.float64)
        correlation = "constant"
        if np.ptp(scores) and np.ptp(truth):
            correlation = f"Pearson {pearsonr(truth, scores).statistic:.3f}"
        drawn.append(plots.scatter(truth, scores, role, correlation))
    lead = f"{len(predictions):,} texts: on the dotted line a prediction is exact."
    return Section(
        key="errors",
        title="Scores against the truth",
        lead=lead + _sampled(predictions),
        figures=((tuple(drawn), ""),),
    )


def _sampled(predictions: Predictions) -> str:
    """Return a sentence for predictions that are a sample of the evaluated texts."""
    if len(predictions) == predictions.total:
        return ""
    return f" They are evenly sampled from the {predictions.total:,} that were evaluated."


def by_class(predictions: Predictions) -> Section | None:
    """Return F1 of each label by teacher and student; None where there are no classes."""
    if predictions.kind == "regression":
        return None
    rows = analysis.class_scores(predictions)
    if not rows:
        return None
    spans = predictions.kind == "tokens" and "O" in predictions.labels
    compared = "teacher" in predictions.logits
    lead = f"F1 of each {'kind of span' if spans else 'label'}, with its count in brackets"
    lead += "; the largest losses first." if compared else ", the worst first."
    if compared:
        retention = np.array(
            [row.f1["student"] / row.f1["teacher"] for row in rows if row.f1["teacher"]]
        )
        if len(retention):
            lead += (
                f" The student keeps {100 * np.median(retention):.0f} % of the teacher's F1 at the "
                f"median of {len(retention)}, and all of it or more for "
                f"{int((retention >= 1).sum())}; one of few texts says little alone."
            )
    half = min(-(-len(rows) // 2), ROWS // 2)
    parts = [rows[:half], rows[max(half, len(rows) - half) :]] if len(rows) > ONE else [rows]
    if len(rows) > ROWS:
        lead += f" The {ROWS // 2} at either end, of {len(rows)}."
    drawn = (tuple(plots.by_class(part) for part in parts), "")
    title = "Retention, class by class" if compared else "Class by class"
    return Section(key="classes", title=title, lead=lead, figures=(drawn,))


def by_slice(run: RunRecord) -> Section | None:
    """Return the metric of teacher and student in each slice; None for a run without slices."""
    slices = run.metrics.get("slices", {})
    parts = [(column, value, part) for column in slices for value, part in slices[column].items()]
    if not parts:
        return None
    roles = [role for role in ("teacher", "student") if all(role in part for _, _, part in parts)]
    metric = run.metrics["metric"]
    head = ["slice", "texts", *(f"{metric}, {role}" for role in roles)]
    compared = len(roles) == 2
    rows = []
    for column, value, part in parts:
        texts = f"{part['n']:,}{', small' * part['small']}"
        row = [f"{column}: {value}", texts, *(f"{part[role]:.3f}" for role in roles)]
        rows.append((*row, _apart(part)) if compared else tuple(row))
    lead = "Each part of the texts by itself."
    if compared:
        head.append("student - teacher")
        lead += " The difference has its 95 % interval."
    if any(part["small"] for _, _, part in parts):
        lead += f" A slice of fewer than {SMALL} texts is called small: it says little."
    return Section(
        key="slices", title="Quality by slice", lead=lead, head=tuple(head), rows=tuple(rows)
    )


def _apart(part: dict[str, Any]) -> str:
    value = part["student"] - part["teacher"]
    bounds = part.get("difference")
    return phrases.difference(Interval(value, *bounds), None) if bounds else f"{value:+.4f}"


def outcomes(predictions: Predictions) -> Section | None:
    """Return the texts that were lost, won, and wrong before and after; None without any."""
    found = analysis.outcomes(predictions)
    if not found:
        return None
    own = analysis.judged(predictions)
    lengths = _quarters([each.words for each in found])
    rows = tuple(
        (
            each.kind,
            _cut(each.shown.text),
            each.shown.truth,
            each.shown.answers["teacher"],
            each.shown.answers[own],
            f"{100 * each.sure:.0f} %",
            length,
            *each.slices,
        )
        for each, length in zip(found, lengths, strict=True)
    )
    head = ("outcome", "text", "true", "teacher", own, "sure", "words", *predictions.slices)
    told = [(*row[:1], each.shown.text, *row[2:]) for row, each in zip(rows, found, strict=True)]
    counts = counted(found)
    lead = (
        f"Of {len(predictions):,} texts the teacher alone answers {counts['lost']:,} rightly "
        f"(lost), the {own} alone {counts['won']:,} (won), and neither {counts['both wrong']:,}. "
        f"Lost texts come first, and of those the ones of which the {own} is surest."
    )
    if len(rows) > LISTED:
        lead += f" The table has the first {LISTED}, the file the first {SAVED:,}."
    shown = rows[:LISTED]
    columns = [0, 6, *range(7, len(head))]
    if len({row[2] for row in shown}) <= CHOICES:
        columns.insert(1, 2)
    return Section(
        key="outcomes",
        title="What was lost and won",
        lead=lead + _sampled(predictions),
        head=head,
        rows=shown,
        filters=tuple((n, _choices(row[n] for row in shown)) for n in columns),
        numbers=(5,),
        download=_as_link(head, told[:SAVED]),
    )


def of_questions(rows: Sequence[Answered]) -> Section | None:
    """Return the questions that are answered worse than by the teacher, better, or wrongly by both.

    Without a teacher they are those that are answered wrongly. None where there is none.
    """
    roles = list(rows[0].f1) if rows else []
    if not roles:
        return None
    own = "deployed" if "deployed" in roles else roles[-1]
    shown = [role for role in dict.fromkeys(("teacher", own)) if role in roles]
    found = [(_outcome(row, shown), row) for row in rows]
    wrong = [(kind, row) for kind, row in found if kind]
    if not wrong:
        return None
    order = ("lost", "won", "both wrong", "wrong")
    wrong.sort(
        key=lambda each: (
            order.index(each[0]), each[1].f1[own] - each[1].f1[shown[0]], each[1].f1[own]
        )
    )  # fmt: skip
    counts = Counter(kind for kind, _ in wrong)
    if len(shown) == 1:
        lead = (
            f"Of {len(rows):,} questions the {own} model's answer fits none of the right ones "
            f"wholly for {len(wrong):,}."
        )
    else:
        lead = (
            f"Of {len(rows):,} questions the {own}'s answer has a lower F1 than the teacher's for "
            f"{counts['lost']:,} (lost), a higher one for {counts['won']:,} (won), and both are as "
            f"wrong for {counts['both wrong']:,}. The greatest losses come first."
        )
    if len(wrong) > LISTED:
        lead += f" The table has the first {LISTED}, the file the first {SAVED:,}."
    head = ("outcome", "question", "right", *shown, *(f"F1, {role}" for role in shown))
    told = [
        (
            kind,
            row.question,
            " / ".join(dict.fromkeys(row.right)) or NONE,
            *(row.given[role] or NONE for role in shown),
            *(f"{100 * row.f1[role]:.0f} %" for role in shown),
        )
        for kind, row in wrong[:SAVED]
    ]
    table = tuple((row[0], *map(_cut, row[1:])) for row in told[:LISTED])
    return Section(
        key="outcomes",
        title="What was lost and won" if len(shown) == 2 else "Questions answered wrongly",
        lead=lead,
        head=head,
        rows=table,
        filters=((0, _choices(row[0] for row in table)),),
        numbers=(len(head) - 1,),
        download=_as_link(head, told),
    )


def _outcome(row: Answered, roles: Sequence[str]) -> str:
    """Return how the last of these models did beside the first; "" where it is wholly right."""
    first, own = row.f1[roles[0]], row.f1[roles[-1]]
    if len(roles) == 1:
        return "wrong" * (own < 1)
    return "lost" if own < first else "won" if own > first else "both wrong" * (own < 1)


def counted(found: Sequence[analysis.Outcome]) -> Counter[str]:
    """Return how many texts were lost, won, and both wrong."""
    return Counter(each.kind for each in found)


def _choices(values: Iterable[str]) -> tuple[str, ...]:
    """Return the values once each, in order; those that begin with a number by it."""
    first = re.compile(r"\d+")
    return tuple(sorted(set(values), key=lambda v: (int(m[0]) if (m := first.match(v)) else 0, v)))


def _cut(text: str) -> str:
    return text if len(text) <= CUT else text[:CUT] + " …"


def _quarters(words: Sequence[int]) -> list[str]:
    """Return for each text in which quarter of the lengths it is: "5 to 8"."""
    bounds = [int(each) for each in np.quantile(words, (0.25, 0.5, 0.75), method="lower")]
    ends = sorted({*bounds, max(words)})
    starts = [min(words), *(end + 1 for end in ends)]
    names = [f"{a} to {b}" if a < b else str(b) for a, b in zip(starts, ends, strict=False)]
    return [names[int(np.searchsorted(ends, each))] for each in words]


def _as_link(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as the link of a CSV file, which needs no server."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    content = base64.b64encode(text.getvalue().encode("utf-8", "replace")).decode()
    return f"data:text/csv;charset=utf-8;base64,{content}"


def disagreements(predictions: Predictions) -> Section | None:
    """Return the texts on which teacher and student, or one model and the truth, differ most."""
    rows = analysis.disagreements(predictions)
    if not rows:
        return None
    models, marks = list(predictions.logits), {True: "✓ ", False: "✗ ", None: ""}
    table = tuple(
        (
            _cut(row.text),
            row.truth,
            *(marks[row.right[role]] + row.answers[role] for role in models),
        )
        for row in rows
    )
    if len(models) == 2:
        first, second = (analysis.predicted(predictions, role) for role in models)
        lead = "By the Jensen-Shannon divergence of their predictions. "
        if predictions.kind == "regression":
            lead = f"By the difference of their scores; mean {np.abs(first - second).mean():.2f}. "
        else:
            same = (first == second).reshape(len(first), -1).all(1).mean()
            unit = "words" if predictions.kind == "tokens" else "texts"
            lead += f"They give the same answer for {same:.1%} of the {unit}."
        title = "Where student and teacher disagree most"
    else:
        title, lead = "Where it is furthest from the truth", ""
    return Section(key="apart", title=title, lead=lead, head=("text", "true", *models), rows=table)
