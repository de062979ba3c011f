"""Linear models: what each learns of rows whose best answer is known by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from alembert.evaluation.baselines.linear import NEVER, Features, constant, fit, only

ROWS = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], np.float32)


def as_given(rows: NDArray[np.float32], is_sparse: bool) -> Features:
    return sparse.csr_matrix(rows) if is_sparse else rows


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_classes_that_a_feature_tells_are_learnt(is_sparse: bool, classes: int) -> None:
    ids = np.array([0, 0, 1, 1, classes - 1])
    model = fit("classification", as_given(ROWS, is_sparse), ids, classes, 100.0)
    logits = model(as_given(ROWS, is_sparse))
    assert logits.shape == (5, classes)
    assert logits.dtype == np.float32
    assert logits.argmax(1)[:4].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_class_without_a_row_is_never_predicted(is_sparse: bool) -> None:
    model = fit("classification", as_given(ROWS[:4], is_sparse), np.array([0, 0, 2, 2]), 3, 10.0)
    logits = model(as_given(ROWS, is_sparse))
    assert (logits[:, 1] == NEVER).all()
    assert logits[:4].argmax(1).tolist() == [0, 0, 2, 2]


def test_one_class_alone_is_always_predicted() -> None:
    model = fit("classification", ROWS, np.array([1, 1, 1, 1, 1]), 3, 10.0)
    assert model(ROWS).argmax(1).tolist() == [1] * 5


@pytest.mark.parametrize("is_sparse", [True, False])
def test_each_of_several_labels_is_learnt_alone(is_sparse: bool) -> None:
    labels = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1], [1, 1, 1]], np.float32)
    model = fit("multilabel", as_given(ROWS, is_sparse), labels, 3, 100.0)
    assert ((model(as_given(ROWS, is_sparse)) > 0) == labels).all()  # the last is always there


@pytest.mark.parametrize("is_sparse", [True, False])
def test_scores_have_ridge_regression(is_sparse: bool) -> None:
    x = np.array([[-1.0], [0.0], [1.0]], np.float32)
    y = np.array([3.0, 5.0, 7.0])
    model = fit("regression", as_given(x, is_sparse), y, 1, 0.5)
    # mean 5; the slope minimises sum (y - 5 - wx)^2 + 2 w^2: w = 4 / (2 + 2) = 1
    assert model(as_given(x, is_sparse))[:, 0] == pytest.approx([4, 5, 6], abs=1e-3)


def test_a_line_over_one_column_is_that_of_least_squares() -> None:
    x = np.array([[9, 0], [9, 1], [9, 2]], np.float32)
    model = only(-1, x, np.array([1.0, 3.0, 5.0], np.float32))
    assert model(x)[:, 0] == pytest.approx([1, 3, 5], abs=1e-5)
    assert model.weight[0] == 0


def test_without_features_the_shares_of_the_labels_are_the_answer() -> None:
    nothing = np.zeros((2, 0), np.float32)
    classes = constant("classification", np.array([2, 2, 0]), 3)(nothing)
    assert classes.argmax(1).tolist() == [2, 2]
    shares = np.exp(classes[0]) / np.exp(classes[0]).sum()
    assert shares == pytest.approx([1.5 / 4.5, 0.5 / 4.5, 2.5 / 4.5])
    several = constant("multilabel", np.array([[1, 0], [1, 0], [0, 1]]), 2)(nothing)
    assert (several > 0).tolist() == [[True, False]] * 2
    assert constant("regression", np.array([1.0, 4.0]), 1)(nothing).tolist() == [[2.5], [2.5]]


def test_a_fit_is_the_same_every_time() -> None:
    rows = sparse.csr_matrix(np.random.default_rng(0).random((60, 30), np.float32))
    ids = np.arange(60) % 3
    first, second = (fit("classification", rows, ids, 3, 1.0) for _ in range(2))
    assert (first.weight == second.weight).all()
