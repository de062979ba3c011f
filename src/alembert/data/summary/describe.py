"""Says in a line each which task was read from the files, and how many rows there are."""

from alembert.data.labels import Columns, list_names
from alembert.data.splits import Splits
from alembert.data.tasks import Task
from alembert.io.answers import QUESTIONS

NAMES = 3  # labels that are named
NOUNS = {"tokens": ("words", "tags"), QUESTIONS: ("question and context", "answers")}


def describe_task(source: str, columns: Columns, task: Task) -> str:
    """A line with the columns, the kind of task, its labels and its metric."""
    text, label = NOUNS.get(task.kind, ("texts" if task.pair else "text", "label"))
    names = " and ".join(map(repr, columns.texts))
    read = f"{text} {names}, {label} {columns.label!r}"
    return f"{source}: {read}: {_kind(task)}, metric {task.metric}"


def _kind(task: Task) -> str:
    if task.kind in ("regression", QUESTIONS):
        return task.kind
    count, names = f"{len(task.labels):,}", list_names(task.labels, NAMES)
    if task.kind == "classification":
        return f"classification of {count} classes ({names})"
    if task.kind == "multilabel":
        return f"multilabel, any of {count} labels a text ({names})"
    return f"tokens, {count} tags ({names})"


def describe_rows(
    labelled: int, held_out: int, evaluated: int | None, unlabelled: int = 0, varied: int = 0
) -> str:
    """A phrase with the rows to learn from, to validate on and to evaluate on."""
    more = [f"{unlabelled:,} unlabelled"] * (unlabelled > 0) + [f"{varied:,} augmented"] * (
        varied > 0
    )
    among = f" ({', '.join(more)})" if more else ""
    tested = "none" if evaluated is None else f"{evaluated:,}"
    learnt = labelled + unlabelled + varied
    return f"{learnt:,} rows to learn from{among}, {held_out:,} held out, {tested} to evaluate on"


def describe_splits(splits: Splits) -> str:
    """The phrase on the rows of these splits."""
    labelled, learnt = len(splits.rows), splits.train.count
    varied = len(splits.variants.of) if splits.variants is not None else 0
    told = describe_rows(
        labelled,
        splits.valid.count,
        None if splits.test is None else splits.test.count,
        learnt - labelled - varied + (0 if splits.unlabelled is None else splits.unlabelled.count),
        varied,
    )
    windows = len(splits.train)
    return told if windows == learnt else f"{told}; those to learn from are {windows:,} windows"


def describe_shared(splits: Splits) -> str | None:
    """A line on texts to evaluate on that are learnt from, too; None where there is none."""
    if splits.raw_test is None:
        return None
    seen = set(map(repr, splits.raw_train.texts))
    texts = splits.raw_test.texts
    count = sum(repr(text) in seen for text in texts)
    if not count:
        return None
    return (
        f"{count:,} of the {len(texts):,} texts to evaluate on are learnt from, too, which makes "
        "figures too high: alembert check names them"
    )
