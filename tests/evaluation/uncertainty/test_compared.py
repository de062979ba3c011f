"""Models on the same texts: the differences, the gate, and the slices, worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from alembert.data.encoded import Encoded
from alembert.data.tasks import Task
from alembert.evaluation.uncertainty import slices
from alembert.evaluation.uncertainty.compared import Comparison, Judged, compare
from alembert.io.errors import UserError

BINARY = Task("classification", ("no", "yes"), "accuracy", pair=False)
EYE = np.eye(2, dtype=np.float32)


def encoded(labels: Any, lengths: list[int] | None = None) -> Encoded:
    lengths = lengths or [1] * len(labels)
    return Encoded(
        input_ids=np.ones(sum(lengths), np.int32), lengths=lengths, labels=np.array(labels)
    )


def judged(right: Any, columns: Any = None) -> Judged:
    """A model that is right where told, among texts whose label is 1."""
    return Judged(
        task=BINARY, logits=EYE[np.asarray(right).astype(int)], data=encoded([1] * len(right)),
        columns=columns or {},
    )  # fmt: skip


def pair(new: int, old: int, of: int = 1000) -> Comparison:
    """A new model that is right in the first so many texts, and an old one likewise."""
    numbers = np.arange(of)
    return compare({"new": judged(numbers < new), "old": judged(numbers < old)})


def test_each_model_is_compared_with_the_first() -> None:
    found = pair(800, 900)
    new, old = found.models
    assert (found.metric, found.n) == ("accuracy", 1000)
    assert (new.metrics["accuracy"], old.metrics["accuracy"]) == (0.8, 0.9)
    assert new.difference is None
    assert old.difference is not None
    # 100 texts of 1,000 differ, all for the old: a standard error of sqrt(.1 * .9 / 1000)
    reach = 1.96 * math.sqrt(0.1 * 0.9 / 1000)
    assert old.difference.bounds == pytest.approx([0.1 - reach, 0.1 + reach], abs=0.003)
    assert old.p == pytest.approx(2 / 2**100)
    head, first, second = found.table
    assert head == ("model", "accuracy", "accuracy, less that of new", "McNemar's p")
    assert (first[0], first[2], first[3]) == ("new", "-", "-")
    assert second[2].startswith("+0.1000 (+0.08")


@pytest.mark.parametrize(
    ("new", "old", "passed", "words"),
    [
        (900, 900, True, "passed: no worse by 0.01"),
        (905, 900, True, "passed"),
        (892, 900, False, "undecided"),
        (800, 900, False, "failed: worse by more than 0.01"),
    ],
)
def test_a_gate_passes_by_the_lower_bound_alone(
    new: int, old: int, passed: bool, words: str
) -> None:
    gate = pair(new, old).no_worse_by(0.01)
    assert gate.passed == passed
    assert words in str(gate)
    assert gate.difference.value == pytest.approx((new - old) / 1000)


def test_an_undecided_gate_says_how_many_texts_would_do() -> None:
    """Of 1,000 texts 20 were lost and 15 won: the bound of -.0166 is to be -.01."""
    numbers = np.arange(1000)
    old = numbers < 900
    new = (numbers >= 20) & (numbers < 915)
    gate = compare({"new": judged(new), "old": judged(old)}).no_worse_by(0.01)
    assert not gate.passed
    reach = 1.96 * math.sqrt(0.035 - 0.005**2) / math.sqrt(1000)
    assert gate.texts_needed == pytest.approx(1000 * (reach / 0.005) ** 2, rel=0.1)
    assert f"about {gate.texts_needed:,} texts would be needed" in str(gate)
    lost = pair(890, 900).no_worse_by(0.005)
    assert lost.texts_needed is None
    assert "no number of texts would show it" in str(lost)


def test_a_gate_is_for_two_models() -> None:
    three = compare({name: judged([1, 0]) for name in "abc"})
    with pytest.raises(UserError, match="compares two models, the new one and the old one"):
        three.no_worse_by(0.01)
    with pytest.raises(UserError, match="--no-worse-by -1: must be 0 or more"):
        pair(5, 5, 10).no_worse_by(-1)


def test_models_of_different_tasks_are_refused() -> None:
    scores = Task("regression", ("score",), "pearson", pair=False)
    other = Judged(task=scores, logits=np.ones((2, 1), np.float32), data=encoded([0.5, 1.0]))
    with pytest.raises(UserError, match="b: is for regression and a for classification"):
        compare({"a": judged([1, 0]), "b": other})


def test_a_comparison_shows_itself_in_a_notebook() -> None:
    found = compare({"a & b": judged([1, 0]), "c": judged([1, 1])})
    assert "<td>a &amp; b</td>" in found._repr_html_()


def test_slices_have_their_own_metric_and_say_when_they_are_small() -> None:
    source = ["mail"] * 60 + ["chat"] * 20
    right = np.arange(80) % 4 > 0  # 45 of 60 and 15 of 20
    worse = right & (np.arange(80) < 70)
    columns = {"source": source, slices.LENGTH: ["1"] * 80}
    found = compare({"a": judged(right, columns), "b": judged(worse)}).slices
    mail, chat = found["source"]["mail"], found["source"]["chat"]
    assert (mail["n"], mail["small"], mail["a"], mail["b"]) == (60, False, 0.75, 0.75)
    assert (chat["n"], chat["small"], chat["a"]) == (20, True, 0.75)
    assert chat["b"] == pytest.approx((right[60:70]).sum() / 20)
    assert mail["difference"] == [0, 0]
    low, high = chat["difference"]
    assert low < chat["b"] - chat["a"] < high < 0
    assert "source chat (n = 20, small): a 0.7500" in str(
        compare({"a": judged(right, columns), "b": judged(worse)})
    )


def test_lengths_are_cut_into_quarters() -> None:
    lengths = [*range(1, 9)] * 2
    found = slices.lengths_of(encoded([1] * 16, lengths))
    counts = {name: found.count(name) for name in dict.fromkeys(found)}
    assert counts == {"1 to 2": 4, "3 to 4": 4, "5 to 6": 4, "7 to 8": 4}
    assert slices.lengths_of(encoded([1] * 5, [3] * 5)) == ["3"] * 5


def test_a_missing_column_is_refused_with_near_names() -> None:
    columns = ["text", "label", "Source", "language"]
    assert slices.check(["source"], columns, "test.csv") == ["Source"]
    with pytest.raises(
        UserError, match=r"--slice sorce: test.csv has no such column; near are 'So"
    ):
        slices.check(["sorce"], columns, "test.csv")
    with pytest.raises(UserError, match=r"--slice zzz: .* it has 'text', 'label', 'Source'"):
        slices.check(["zzz"], columns, "test.csv")


def test_rare_values_of_a_column_are_one_slice() -> None:
    from datasets import Dataset

    values = [f"user {n}" for n in range(40) for _ in range(41 - n)]
    found = slices.values_of(Dataset.from_dict({"user": values}), ["user"], "x")["user"]
    assert len(set(found)) == slices.MOST + 1
    assert found[-1] == "20 rarer values"
    empty = slices.values_of(Dataset.from_dict({"user": ["a", None, " "]}), ["user"], "x")["user"]
    assert empty == ["a", "(empty)", "(empty)"]
