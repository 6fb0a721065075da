"""Metrics of labels at positions: `metric(y_true, y_pred) -> float`."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError
from helixband.metrics.common import UNDEFINED, array

MISSING = -100
"""The label of a position that has none, as torch's cross-entropy takes it."""


def is_known(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether class indexes (…) are there: neither −100 nor NaN.

    >>> is_known(np.array([1.0, -100.0, np.nan])).tolist()
    [True, False, False]
    """
    return np.asarray((labels != MISSING) & ~np.isnan(labels))


def at_known(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The labels (M,) and scores (M, C) of the positions that have a label, for metrics of classes.

    y_true: class indexes (N, S), −100 or NaN where there is none. y_pred: scores of classes, (N, C, S).

    >>> labels, scores = at_known([[1, -100, 0]], [[[0.2, 0.5, 0.9], [0.8, 0.5, 0.1]]])
    >>> labels.tolist(), scores.tolist()
    ([1, 0], [[0.2, 0.8], [0.9, 0.1]])

    Raises `DataError` where the shapes do not go together.
    """
    true, pred = array("y_true", y_true), array("y_pred", y_pred)
    if pred.ndim != 3 or true.shape != (pred.shape[0], pred.shape[2]):
        raise DataError(
            f"y_true has the shape {true.shape} and y_pred {pred.shape}; they have to be (N, S) and (N, C, S)"
        )
    known = is_known(true)
    return true[known].astype(np.int64), np.moveaxis(pred, 1, 2)[known]


def perplexity(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The exponential of the mean of −log p, where p is the probability of the true class.

    y_true: class indexes (N,). y_pred: probabilities (N, C). 1 is perfect, C is what equal ones have.

    >>> perplexity([0, 1], [[0.25, 0.75], [0.75, 0.25]])
    4.0
    """
    true, pred = array("y_true", y_true), array("y_pred", y_pred)
    if not len(true) or np.isnan(pred).any():
        return UNDEFINED
    p = pred[np.arange(len(true)), true].astype(np.float64)
    return math.exp(-float(np.log(np.maximum(p, np.finfo(np.float32).tiny)).mean()))
