"""A metric of one's own: what it is given, what it may return, and how sure its value is."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task
from alembert.evaluation import own_metric
from alembert.evaluation.metrics import labelled_rows, metrics
from alembert.evaluation.own_metric import Labelled
from alembert.io.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT = """
import numpy as np
seen = []
def accuracy(logits, labels):
    return float(np.mean(logits.argmax(-1) == labels))
def spy(logits, labels):
    seen.append((logits, labels))
    return 1
def mean(logits, labels):
    return float(labels.mean())
def array(logits, labels):
    return labels * 1.0
def nothing(logits, labels):
    return float("nan")
a_number = 3
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules own (of examples/) and rated can be imported."""
    (tmp_path / "rated.py").write_text(TEXT)
    for folder in (EXAMPLES, tmp_path):
        monkeypatch.syspath_prepend(folder)
    yield
    for name in ("own", "rated"):
        sys.modules.pop(name, None)


def task(kind: str, metric: str, labels: tuple[str, ...] = ("a", "b")) -> Task:
    return Task(kind, labels, metric, pair=False)


def encoded(labels: Any, lengths: list[int] | None = None) -> Encoded:
    count = sum(lengths) if lengths else len(labels)
    return Encoded(
        input_ids=np.ones(count, np.int32),
        lengths=lengths or [1] * len(labels),
        labels=np.array(labels),
        per_token=lengths is not None,
    )


def test_it_comes_first_and_the_usual_ones_stay() -> None:
    logits = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    found = metrics(task("classification", "own:worst_recall"), logits, encoded([0, 1, 1, 1]))
    assert list(found)[:2] == ["own:worst_recall", "accuracy"]
    assert found["own:worst_recall"] == pytest.approx(2 / 3)  # of b; of a 1
    assert found["accuracy"] == 0.75


@pytest.mark.parametrize(
    ("kind", "logits", "data", "shapes"),
    [
        ("classification", np.eye(3, dtype=np.float32), ([0, -100, 1], None), ((2, 3), (2,))),
        ("regression", np.ones((3, 1), np.float32), ([0.5, np.nan, 2.0], None), ((2,), (2,))),
        ("multilabel", np.eye(2, dtype=np.float32), ([[0.0, 1.0], [1.0, 1.0]], None),
         ((2, 2), (2, 2))),
        ("tokens", [np.eye(3, dtype=np.float32), np.ones((2, 3), np.float32)],
         ([0, 1, -100, -100, 1], [3, 2]), ((3, 3), (3,))),
    ],
)  # fmt: skip
def test_it_is_given_the_labelled_rows_of_each_kind_of_task(
    kind: str, logits: Any, data: Any, shapes: Any
) -> None:
    import rated

    metrics(task(kind, "rated:spy", ("O", "B-x", "I-x")), logits, encoded(*data))
    ((given, labels),) = rated.seen
    assert (given.shape, labels.shape) == shapes
    given[:] = 9  # what it does to its arrays changes nothing
    assert np.asarray(logits[0]).max() == 1


def test_words_belong_to_their_texts() -> None:
    logits = [np.eye(2, dtype=np.float32), np.ones((3, 2), np.float32)]
    rows = labelled_rows(
        task("tokens", "rated:spy"), logits, encoded([1, -100, 0, 1, -100], [2, 3])
    )
    assert rows.texts.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rated:array", "returned array.*: let it return a finite number"),
        ("rated:nothing", "returned nan: let it return a finite number"),
    ],
)
def test_anything_but_a_finite_number_is_refused(name: str, says: str) -> None:
    with pytest.raises(UserError, match=f"metric {name}: {says}"):
        metrics(task("classification", name), np.eye(2, dtype=np.float32), encoded([0, 1]))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rated:acuracy", "rated has no acuracy: fix the name"),
        ("rated:a_number", "cannot be called: name a function"),
        ("nowhere:f", "nowhere cannot be imported"),
        ("rated:", "write it as module:name"),
    ],
)
def test_a_name_that_leads_to_no_function_is_refused(name: str, says: str) -> None:
    with pytest.raises(UserError, match=f"--metric {name}: .*{says}|--metric {name}: {says}"):
        own_metric.check(name, "--metric")


def test_the_standard_error_of_a_mean_is_the_one_of_the_textbooks() -> None:
    """s / sqrt(n) for groups of one text; near it for more texts than groups."""
    for count, near in ((20, 1e-9), (4000, 0.25)):
        labels = np.random.default_rng(3).normal(size=count)
        rows = Labelled(labels, labels, np.arange(count))
        expected = labels.std(ddof=1) / np.sqrt(count)
        assert own_metric.standard_error("rated:mean", rows) == pytest.approx(expected, rel=near)


def test_words_of_a_text_that_are_alike_count_as_one() -> None:
    labels = np.random.default_rng(3).normal(size=20)
    once = Labelled(labels, labels, np.arange(20))
    words = Labelled(*(np.repeat(each, 7) for each in (labels, labels, np.arange(20))))
    errors = [own_metric.standard_error("rated:mean", rows) for rows in (once, words)]
    assert errors[0] == pytest.approx(errors[1])
    assert own_metric.standard_error("rated:mean", Labelled(*(x[:1] for x in (labels, labels,
                                                          np.arange(1))))) == 0.0  # fmt: skip
