"""Metrics of numbers, counts, profiles and distributions: `metric(y_true, y_pred) -> float`.

A label that is NaN is missing. It is left out with its prediction.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.metrics.common import UNDEFINED, columns, late_import, mean_of_defined, paired

Values = NDArray[np.float64]
ValuesMetric = Callable[[Values, Values], float]


def mse(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean squared error over all values that are known.

    >>> mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    true, pred = paired(y_true, y_pred)
    error = (true - pred)[~np.isnan(true)]
    return float(error @ error) / error.size if error.size else UNDEFINED


def mse_of_batches(y_true: ArrayLike, y_pred: ArrayLike) -> list[float]:
    """`mse` of each of several batches, (B, N, …).

    >>> mse_of_batches([[1.0, 2.0], [0.0, 0.0]], [[1.0, 4.0], [1.0, 1.0]])
    [2.0, 1.0]
    """
    true, pred = paired(y_true, y_pred)
    if np.isnan(true).any():
        return [mse(*batch) for batch in zip(true, pred, strict=True)]
    errors = columns(true - pred)
    return [float(error @ error) / error.size if error.size else UNDEFINED for error in errors]


def pearson(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Pearson's correlation; of several columns, the mean over those where it is defined.

    >>> round(pearson([1, 2, 3], [2, 4, 6.5]), 4)
    0.9979
    """
    return _over_columns(_correlation, y_true, y_pred)


def spearman(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; several columns as in `pearson`.

    >>> round(spearman([1, 2, 3], [1, 10, 100]), 4)
    1.0
    """
    rankdata = late_import("scipy.stats").rankdata
    return _over_columns(lambda t, p: _correlation(rankdata(t), rankdata(p)), y_true, y_pred)


def cosine(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The cosine of the angle between labels and predictions, (N, …, D), along the last dimension; the mean.

    >>> round(cosine([[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]]), 4)
    0.8536
    """
    return _over_rows(_cosine, y_true, y_pred)


def profile_pearson(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Pearson's correlation along each profile, (N, …, L); the mean over those where it is defined.

    >>> round(profile_pearson([[1, 2, 3], [1, 2, 3]], [[2, 4, 6], [3, 2, 2]]), 4)
    0.067
    """
    return _over_rows(_correlation, y_true, y_pred)


def jensen_shannon(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The Jensen-Shannon distance between each profile, (N, …, L), and its prediction; the mean.

    It is the square root of the divergence (Lin 1991) in nats. Counts and shares are the same to it: both
    sides are divided by their sums. A profile without counts is left out.

    >>> round(jensen_shannon([[4, 0]], [[0.5, 0.5]]), 4)
    0.4645
    """
    distance = late_import("scipy.spatial.distance").jensenshannon

    def of_shares(true: Values, pred: Values) -> float:
        defined = min(true.min(), pred.min()) >= 0 and true.sum() > 0 and pred.sum() > 0
        return float(distance(true, pred)) if defined else UNDEFINED

    return _over_rows(of_shares, y_true, y_pred)


def kl_divergence(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The Kullback-Leibler divergence of predicted from true distributions, (N, …, C), in nats; the mean.

    A distribution of which a part is missing is left out.

    >>> round(kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """
    true, _ = paired(y_true, y_pred)
    parts = late_import("scipy.special").rel_entr
    whole = ~np.isnan(true).any(axis=-1, keepdims=True) if true.ndim else True
    return _over_rows(lambda t, p: float(parts(t, p).sum()), np.where(whole, true, np.nan), y_pred)


def poisson_deviance(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The mean Poisson deviance of counts and predicted rates, 2 (y log(y / λ) − y + λ), over all values.

    Infinite where a rate is 0 and the count is not.

    >>> round(poisson_deviance([0, 2], [1.0, 1.0]), 4)
    1.3863
    """
    true, pred = paired(y_true, y_pred)
    known = ~np.isnan(true)
    true, pred = true[known], pred[known]
    if not len(true) or np.isnan(pred).any() or min(true.min(), pred.min()) < 0:
        return UNDEFINED
    return float(2 * late_import("scipy.special").kl_div(true, pred).mean())


def _over_columns(metric: ValuesMetric, y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The mean of a metric over the columns, each over the examples of which the label is known."""
    true, pred = paired(y_true, y_pred)
    return _over_pairs(metric, columns(true).T, columns(pred).T)


def _over_rows(metric: ValuesMetric, y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The mean of a metric along the last dimension, over the positions of which the label is known."""
    true, pred = paired(y_true, y_pred)
    if true.size == 0:
        return UNDEFINED
    length = true.shape[-1]
    return _over_pairs(metric, true.reshape(-1, length), pred.reshape(-1, length))


def _over_pairs(metric: ValuesMetric, true: Values, pred: Values) -> float:
    known = ~np.isnan(true)
    if np.isnan(pred[known]).any():
        return UNDEFINED
    if known.all():
        return mean_of_defined([metric(*pair) for pair in zip(true, pred, strict=True)])
    triples = zip(true, pred, known, strict=True)
    return mean_of_defined([metric(t[k], p[k]) for t, p, k in triples if k.any()])


def _correlation(x: Values, y: Values) -> float:
    if not (_varies(x) and _varies(y)):
        return UNDEFINED
    return min(max(float(_direction(x) @ _direction(y)), -1.0), 1.0)  # NaN stays NaN in this order


def _varies(x: Values) -> bool:
    if not len(x):
        return False
    least, most = float(x.min()), float(x.max())  # not finite where any value is not
    return math.isfinite(least) and math.isfinite(most) and least < most


def _direction(x: Values) -> Values:
    """Centred and of norm 1; scaled first, so that no square leaves the range of floats."""
    x = x - x.mean()
    x = x / np.abs(x).max()
    return np.asarray(x / math.sqrt(x @ x))


def _cosine(x: Values, y: Values) -> float:
    if not (_points(x) and _points(y)):
        return UNDEFINED
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))


def _points(x: Values) -> bool:
    return bool(np.isfinite(x).all() and x.any())
