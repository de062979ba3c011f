"""The figures of a summary as lines for people."""

from collections.abc import Iterator

from alembert.data.labels import list_names
from alembert.data.summary.describe import describe_rows, describe_task
from alembert.data.summary.summary import EXAMPLES, Found, Lengths, Summary
from alembert.io.answers import QUESTIONS

CLASSES = 20  # that are listed with their counts, the largest first


def first_lines(summary: Summary) -> tuple[str, str]:
    """The two lines that a run of these files begins with, the second without its stages."""
    rows = describe_rows(
        summary.labelled, summary.held_out, summary.evaluated, unlabelled=summary.unlabelled
    )
    return describe_task(summary.source, summary.columns, summary.task), rows


def lines(summary: Summary) -> Iterator[str]:
    """A line for each kind of figure; one that found nothing says so."""
    yield from _classes(summary)
    yield _lengths(summary.lengths, summary.windows)
    yield f"duplicates: {_numbered(summary.duplicates, 'the text of an earlier row')}"
    yield _conflicts(summary)
    for name, both in summary.shared.items():
        yield f"{name}: {_numbered(both, 'a text that train has, too')}"
    for name, labels in summary.unknown.items():
        if labels:
            counts = list_names([f"{label!r} ({n:,})" for label, n in labels.items()])
            yield f"{name}: labels that train lacks, which every model gets wrong: {counts}"
    yield _bad(summary)


def _classes(summary: Summary) -> Iterator[str]:
    if summary.scores is not None:
        least, mean, most = summary.scores
        yield f"scores: from {least:g} to {most:g}, mean {mean:.4g}"
        return
    unit = {
        "tokens": "words of a tag", "multilabel": "texts with a label", QUESTIONS: "questions with",
    }  # fmt: skip
    ranked = sorted(summary.counts.items(), key=lambda item: -item[1])
    shown = list_names([f"{name} {count:,}" for name, count in ranked], CLASSES)
    yield f"{unit.get(summary.task.kind, 'rows of a class')}: {shown}"
    if summary.free is not None:
        each = "word" if summary.task.kind == "tokens" else "text"
        always = f"{ranked[0][0]!r} for every {each}"
        yield f"{always} has accuracy {summary.free:.1%}: a model has to beat that"
    lacking = [name for name, count in ranked if not count]
    if lacking and summary.task.kind != QUESTIONS:
        yield f"without a row: {list_names(lacking)}"


def _lengths(lengths: Lengths, windows: bool) -> str:
    unit, verb = lengths.unit, "reads several windows of" if windows else "cuts"
    line = (
        f"lengths: half the texts have at most {lengths.median:,} {unit}, 95 % at most "
        f"{lengths.high:,}, the longest {lengths.longest:,}; "
    )
    cut = f"{lengths.cut:.1%}" if lengths.cut else "none"
    line += f"--max-length {lengths.max_length} {verb} {cut}, "
    line += f"--max-length {lengths.fits} at most 1 %"
    why = " (in words, of which each is a token or more: --teacher counts tokens)"
    return line + why * (unit == "words")


def _numbered(found: Found, what: str) -> str:
    if not found.count:
        return f"no row has {what}"
    have = "row has" if found.count == 1 else "rows have"
    dots = ", ..." if found.count > len(found.rows) else ""
    return f"{found.count:,} {have} {what} ({', '.join(map(str, found.rows))}{dots})"


def _conflicts(summary: Summary) -> str:
    if not summary.conflicts:
        return "labels: no text has two different ones"
    first = summary.conflicts[0]
    rows = list_names(list(map(str, first.rows)), EXAMPLES)
    labels = list_names(list(map(repr, first.labels)), EXAMPLES)
    return (
        f"labels: {len(summary.conflicts):,} texts have different ones in different rows, as in "
        f"rows {rows}: {labels}"
    )


def _bad(summary: Summary) -> str:
    if not summary.bad:
        return "empty rows: none"
    first = summary.bad[0]
    rows = list_names([f"{row.file}, {row.row}" for row in summary.bad], EXAMPLES)
    return (
        f"left out here, for they are empty or cannot be read: {len(summary.bad):,} rows ({rows}); "
        f"{first.row}: {first.why}. Other row numbers are counted without these"
    )
