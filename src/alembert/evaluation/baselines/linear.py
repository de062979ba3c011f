"""Linear models of scikit-learn as one matrix each, fitted at one strength of regularisation."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from alembert.data.tasks import Kind

Features: TypeAlias = NDArray[np.float32] | sparse.csr_matrix  # (N, F)
NEVER = -1e4  # the logit of a label that no training row has: its probability is 0 in float64
STEPS = 5000  # of a solver, which needs a few dozen on texts
SPARSE = (0.01, 0.05, 0.2, 1.0, 5.0)  # weights of the errors beside the penalty: C, or 1 / alpha
DENSE = (0.3, 2.0, 10.0, 50.0, 300.0)  # of classes


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear model of F features and C outputs."""

    weight: NDArray[np.float32]  # (F, C)
    bias: NDArray[np.float32]  # (C,)

    def __call__(self, features: Features) -> NDArray[np.float32]:
        """Return the logits (N, C) of features (N, F)."""
        return np.asarray(features @ self.weight + self.bias, np.float32)


def strengths(kind: Kind, features: Features) -> tuple[float, ...]:
    """Return the strengths to choose among, the strongest regularisation first."""
    return SPARSE if sparse.issparse(features) or kind == "regression" else DENSE


def name_of(kind: Kind, features: Features) -> str:
    """Return the name of the model that `fit` fits."""
    if kind == "regression":
        return "ridge regression"
    return "linear SVM" if sparse.issparse(features) else "logistic regression"


def fit(kind: Kind, features: Features, labels: Any, outputs: int, strength: float) -> Linear:
    """Return a linear model of these labels: ids (N,), scores (N,), or 0/1 (N, C).

    Sparse features have a linear SVM, whose dual coordinate descent takes seconds where logistic
    regression takes minutes, and dense ones logistic regression; scores have ridge regression. A
    fit is the same every time.
    """
    if kind == "regression":
        solver = "sparse_cg" if sparse.issparse(features) else "cholesky"
        ridge = Ridge(alpha=1 / strength, solver=solver).fit(features, labels.astype(np.float32))
        return _linear(ridge.coef_[:, None], ridge.intercept_)
    if kind != "multilabel":
        return _classes(features, labels, outputs, strength)
    each = [_classes(features, labels[:, c].astype(int), 2, strength) for c in range(outputs)]
    # the logit of a label is how much more there it is than not
    weight = np.stack([one.weight[:, 1] - one.weight[:, 0] for one in each], axis=1)
    return _linear(weight, np.array([one.bias[1] - one.bias[0] for one in each]))


def constant(kind: Kind, labels: Any, outputs: int) -> Linear:
    """Return the model without features: the shares of the labels as logits, or the mean score."""
    if kind == "regression":
        return _linear(np.zeros((0, 1)), labels.mean())
    if kind == "multilabel":
        there = labels.sum(0) + 0.5
        return _linear(np.zeros((0, outputs)), np.log(there / (len(labels) + 1 - there)))
    counts = np.bincount(labels, minlength=outputs) + 0.5
    return _linear(np.zeros((0, outputs)), np.log(counts / counts.sum()))


def only(column: int, features: NDArray[np.float32], scores: NDArray[np.float32]) -> Linear:
    """Return the least-squares line through the scores (N,) over one column of the features."""
    weight = np.zeros((features.shape[1], 1))
    slope, bias = np.polyfit(features[:, column], scores, 1)
    weight[column] = slope
    return _linear(weight, bias)


def _classes(features: Features, ids: Any, outputs: int, strength: float) -> Linear:
    """Return a classifier of ids (N,), which may lack some of the classes."""
    there = np.unique(ids)
    weight, bias = np.zeros((features.shape[1], outputs)), np.full(outputs, NEVER)
    if len(there) == 1:
        bias[there] = 0
        return _linear(weight, bias)
    if sparse.issparse(features):
        model = LinearSVC(C=strength, dual=True, random_state=0, max_iter=STEPS)
    else:
        model = LogisticRegression(C=strength, max_iter=STEPS)
    model.fit(features, ids)
    slopes, intercepts = model.coef_, model.intercept_
    if len(there) == 2:  # one row, the second class's
        slopes, intercepts = (np.stack([-x[0] / 2, x[0] / 2]) for x in (slopes, intercepts))
    weight[:, there], bias[there] = slopes.T, intercepts
    return _linear(weight, bias)


def _linear(weight: Any, bias: Any) -> Linear:
    return Linear(np.asarray(weight, np.float32), np.asarray(bias, np.float32).reshape(-1))
