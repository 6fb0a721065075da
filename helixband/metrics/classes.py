"""Metrics of classes and of several labels an example: `metric(y_true, y_pred) -> float`."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError, in_one_line
from helixband.metrics.common import (
    UNDEFINED,
    Metric,
    array,
    check_metric,
    columns,
    disagreement,
    late_import,
    mean_of_defined,
    median_of_defined,
    paired,
    sizes,
)

MOST_CLASSES = 20
"""The accuracies of single classes are reported where there are at most so many."""
SUM_TOLERANCE = 1e-3
"""So much may the labels of an example's classes differ from 1 together."""
ROUNDING = 2**-8
"""So much may predicted probabilities of classes, of 16 bits too, differ from 1 together."""


def no_class_row(y: ArrayLike) -> int | None:
    """The first row of labels (N, C) that is no one-hot or soft label of one class, for it does not sum to 1.

    None where there is none, and for labels of another form. Several labels an example have such rows.

    >>> no_class_row([[0, 1], [1, 0]]), no_class_row([[0, 1], [1, 1]])
    (None, 1)
    """
    y = array("y", y)
    if y.ndim != 2 or y.shape[1] < 2:
        return None
    strange = ~(np.abs(y.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE)
    return int(strange.argmax()) if strange.any() else None


def several_labels(y_true: ArrayLike, y_pred: ArrayLike) -> bool:
    """Whether y_true (N, C) has several labels an example, and not one class.

    It has if a row does not sum to 1. In a few examples of such labels each row may. Then the predictions
    tell: those of several labels are probabilities (N, C) whose rows do not sum to 1. So all batches of a set
    are read alike. Predictions that are no probabilities, as logits, tell nothing.

    >>> several_labels([[0, 1], [1, 0]], [[0.2, 0.8], [0.6, 0.4]])
    False
    >>> several_labels([[0, 1], [1, 0]], [[0.2, 0.7], [0.6, 0.6]])
    True
    """
    true, pred = array("y_true", y_true), array("y_pred", y_pred)
    if true.ndim != 2 or true.shape[1] < 2:
        return False
    if no_class_row(true) is not None:
        return True
    if not pred.size or sizes(true) != sizes(pred) or _no_probability(pred) is not None:
        return False
    sums = columns(pred).sum(axis=1, dtype=np.float64)
    return bool((np.abs(sums - 1) > ROUNDING).any())


def _no_probability(y_pred: NDArray[Any]) -> float | None:
    """The first value below 0 or above 1 in predictions of any shape, or None."""
    strange = y_pred[(y_pred < 0) | (y_pred > 1 + ROUNDING)]
    return float(strange[0]) if strange.size else None


def class_index(y: ArrayLike) -> NDArray[np.int64]:
    """Labels as class indexes, (N,) int64, from indexes (N,) or (N, 1), or one column per class (N, C).

    Soft labels count as the likeliest class: the largest column, or P(class 1) rounded.

    Raises `DataError` for several labels an example, rows of which do not sum to 1, and for other numbers
    that are not whole.
    """
    y = array("y", y)
    if (row := no_class_row(y)) is not None:
        raise DataError(
            f"row {row} of the labels is {y[row].tolist()}, which sums to {y[row].sum():g}: it is no class. "
            "Of several labels an example use per_label(metric, y_true, y_pred)"
        )
    if y.ndim == 2 and y.shape[1] > 1:
        return np.asarray(y.argmax(axis=1), dtype=np.int64)
    values = y.reshape(-1).astype(np.float64)
    index = np.rint(values)
    if not np.isfinite(index).all():
        raise DataError("the labels hold a NaN or infinity, which is no class")
    strange = values[(index != values) & ((values < 0) | (values > 1))]
    if len(strange):
        raise _no_index(strange[0])
    return index.astype(np.int64)


def _no_index(value: float) -> DataError:
    return DataError(
        f"the labels hold {value:g}, which is no class: classes are whole numbers, or of soft labels a "
        "column a class, (N, C), or, of two classes, P(class 1), (N,)"
    )


def predicted_class(y_pred: ArrayLike) -> NDArray[np.int64]:
    """The class predicted, (N,) int64: the likelier of two from P(class 1) (N,), the likeliest of (N, C)."""
    y_pred = array("y_pred", y_pred)
    if y_pred.ndim == 2 and y_pred.shape[1] > 1:
        return np.asarray(y_pred.argmax(axis=1), dtype=np.int64)
    return (y_pred.reshape(-1) > 0.5).astype(np.int64)


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """The share of examples whose predicted class is the true one.

    Of several labels an example (see `several_labels`), the mean over the labels.

    >>> accuracy([0, 1, 1, 0], [0.1, 0.9, 0.2, 0.3])
    0.75
    """
    if several_labels(y_true, y_pred):
        _check_probabilities(y_pred)
        return over_labels(accuracy, y_true, y_pred).mean
    labels, scores = labels_and_scores(y_true, y_pred)
    defined = len(labels) and not np.isnan(scores).any()
    return float(np.mean(labels == predicted_class(scores))) if defined else UNDEFINED


def accuracy_of_batches(y_true: ArrayLike, y_pred: ArrayLike) -> list[float]:
    """`accuracy` of each of several batches, y_true (B, N) or (B, N, C) and y_pred (B, N, …).

    >>> accuracy_of_batches([[0, 1], [1, 1]], [[0.2, 0.7], [0.4, 0.8]])
    [1.0, 0.5]
    """
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 2 or true.dtype.kind not in "iu" or np.isnan(pred).any():
        return [accuracy(*batch) for batch in zip(true, pred, strict=True)]
    labels, scores = labels_and_scores(true.reshape(-1), pred.reshape(true.size, *pred.shape[2:]))
    hits = (labels == predicted_class(scores)).reshape(true.shape)
    return [float(np.mean(of_batch)) if len(of_batch) else UNDEFINED for of_batch in hits]


def auroc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Area under the ROC curve; for over two classes, the mean over those present, each against the rest.

    Of two classes, y_pred is P(class 1), (N,), or has a column a class, (N, 2): the second of probabilities
    counts, and of two logits the difference.
    Of several labels an example (see `several_labels`), the mean over the labels.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    sklearn = late_import("sklearn.metrics")  # it takes a second
    return mean_of_defined(_each_class(sklearn.roc_auc_score, y_true, y_pred))


def of_classes(y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[str] | None = None) -> dict[str, float]:
    """`accuracy`, `auroc` and `auroc_median`, which is the median over the classes, each against the rest.

    Of up to 20 classes, the accuracy of each too, the share of its examples that are told to be of it:
    `accuracy_class_0` or by `names`. `y_true` is (N,) indexes or (N, C); `y_pred` is (N,) P(class 1) or
    (N, C).

    >>> found = of_classes([0, 0, 1, 1], [0.1, 0.6, 0.35, 0.8], ["helix", "sheet"])
    >>> found["accuracy_helix"], found["accuracy_sheet"], found["auroc_median"]
    (0.5, 0.5, 0.75)
    """
    found = {"accuracy": accuracy(y_true, y_pred)}
    areas = _each_class(late_import("sklearn.metrics").roc_auc_score, y_true, y_pred)
    found |= {"auroc": mean_of_defined(areas), "auroc_median": median_of_defined(areas)}
    if several_labels(y_true, y_pred):
        return found
    labels, scores = labels_and_scores(y_true, y_pred)
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    if classes > MOST_CLASSES:
        return found
    if names is None:
        names = [f"class_{k}" for k in range(classes)]
    for k, name in enumerate(_checked_names(names, classes, "classes")):
        found[f"accuracy_{name}"] = accuracy(labels[labels == k], scores[labels == k])
    return found


def auprc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Area under the precision-recall curve as average precision; several classes or labels as in `auroc`.

    >>> round(auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    sklearn = late_import("sklearn.metrics")
    return mean_of_defined(_each_class(sklearn.average_precision_score, y_true, y_pred))


def per_class(
    metric: Metric, y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[str] | None = None
) -> dict[str, float]:
    """A two-class metric for each class against the rest: `{"class_0": …, "class_1": …}`.

    With `names`, one a class, these are `<metric>_<name>`, so that several metrics fit in one dict.
    `y_true` is (N,) indexes or (N, C); `y_pred` is (N,) P(class 1) or (N, C).

    Raises `DataError` for several labels an example (see `several_labels`), of which there is `per_label`.

    >>> per_class(accuracy, [0, 1, 2], [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    {'class_0': 0.6666666666666666, 'class_1': 0.6666666666666666, 'class_2': 1.0}
    >>> per_class(accuracy, [0, 1], [[0.8, 0.2], [0.3, 0.7]], names=["helix", "sheet"])
    {'accuracy_helix': 1.0, 'accuracy_sheet': 1.0}
    """
    check_metric(metric)
    labels, scores = labels_and_scores(y_true, y_pred)
    if several_labels(y_true, y_pred):
        raise DataError(
            f"each row of the labels, {np.shape(y_true)}, is of one class, but those of y_pred do not sum to "
            "1, as of several labels an example: use per_label(metric, y_true, y_pred), or, if they are of "
            "classes, give y_true as indexes, (N,)"
        )
    if scores.ndim == 1:
        scores = np.column_stack([1 - scores, scores])
    classes = [f"class_{k}" for k in range(scores.shape[1])]
    if names is not None:
        names = _checked_names(names, len(classes), "classes")
        classes = [f"{_name_of(metric)}_{name}" for name in names]
    return {name: metric((labels == k).astype(np.int64), scores[:, k]) for k, name in enumerate(classes)}


def _checked_names(given: Iterable[str], number: int, what: str) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(
            f"names is {in_one_line(given)}; it has to be a list of names, one for each of {what}"
        )
    names = list(given)
    if strange := [each for each in names if not isinstance(each, str)]:
        raise DataError(f"names has {in_one_line(strange[0])}; the name of each of {what} has to be a text")
    if len(names) != number:
        raise DataError(f"there are {len(names)} names for {number} {what}")
    if len(set(names)) < number:
        raise DataError(f"the names of the {what} are {', '.join(names)}; each has to be another one")
    return names


def _name_of(metric: Metric) -> str:
    while isinstance(metric, functools.partial):
        metric = metric.func
    return str(getattr(metric, "__name__", type(metric).__name__))


def per_label(
    metric: Metric, y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[str] | None = None
) -> dict[str, float]:
    """A metric for each of several labels an example: `{"label_0": …, "label_1": …}`, or by `names`.

    `y_true` and `y_pred` are (N, L), labels and their probabilities. Missing labels, NaN, are left out.

    >>> per_label(accuracy, [[0, 1], [1, math.nan]], [[0.2, 0.4], [0.9, 0.1]])
    {'label_0': 1.0, 'label_1': 0.0}
    """
    check_metric(metric)
    true, pred = labels_and_probabilities(y_true, y_pred)
    names = [f"label_{k}" for k in range(true.shape[1])] if names is None else names
    names = _checked_names(names, true.shape[1], "labels")
    known = ~np.isnan(true)
    return {
        name: metric(true[known[:, k], k], pred[known[:, k], k]) if known[:, k].any() else UNDEFINED
        for k, name in enumerate(names)
    }


class OverLabels(NamedTuple):
    """A metric over several labels an example."""

    mean: float
    """Over the labels for which it is defined; NaN where there is none, or where a prediction is NaN."""
    median: float
    """Likewise."""
    each: dict[str, float]
    """By the names of the labels, as of `per_label`."""


def over_labels(
    metric: Metric, y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[str] | None = None
) -> OverLabels:
    """A metric over several labels an example: mean, median and each; arguments as those of `per_label`.

    >>> over_labels(accuracy, [[0, 1], [1, math.nan]], [[0.2, 0.4], [0.9, 0.1]]).mean
    0.5
    """
    each = per_label(metric, y_true, y_pred, names)
    defined = [value for value in each.values() if not math.isnan(value)]
    true, pred = labels_and_probabilities(y_true, y_pred)
    if not defined or np.isnan(pred[~np.isnan(true)]).any():
        return OverLabels(UNDEFINED, UNDEFINED, each)
    return OverLabels(float(np.mean(defined)), float(np.median(defined)), each)


def _each_class(metric: Metric, y_true: ArrayLike, y_pred: ArrayLike) -> list[float]:
    """The metric of each class or label, NaN where it is not defined; of two classes it is one alone."""

    def one(true: ArrayLike, pred: ArrayLike) -> float:
        true = array("y_true", true) > 0.5
        defined = len(np.unique(true)) == 2 and np.isfinite(pred).all()
        return float(metric(true, pred)) if defined else UNDEFINED

    if several_labels(y_true, y_pred):
        if np.shape(y_true)[1] == 2:  # the areas of two columns of logits would not be those of two classes
            _check_probabilities(y_pred)
        found = over_labels(one, y_true, y_pred)
        return [UNDEFINED] if math.isnan(found.mean) else list(found.each.values())
    labels, scores = labels_and_scores(y_true, y_pred)
    if scores.ndim == 1 or scores.shape[1] == 2:
        return [one(labels, _of_class_one(scores))]
    if np.isnan(scores).any():
        return [UNDEFINED]
    return list(per_class(one, labels, scores).values())


def labels_and_scores(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Class indexes (N,) and scores, (N,) of class 1 or (N, C)."""
    labels, scores = class_index(array("y_true", y_true)), array("y_pred", y_pred)
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores.reshape(-1)
    if scores.ndim not in (1, 2) or len(labels) != len(scores):
        raise disagreement(y_true, y_pred)
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    true = array("y_true", y_true)
    if classes > 2 and true.size == len(labels) and len(soft := true[labels.reshape(true.shape) != true]):
        raise _no_index(float(soft[0]))
    strange = labels[(labels < 0) | (labels >= classes)]
    if len(strange):
        raise DataError(
            f"y_true holds the class {strange[0]}, but y_pred, of shape {scores.shape}, "
            f"is of the classes 0 to {classes - 1}"
        )
    return labels, scores


def _check_probabilities(y_pred: ArrayLike) -> None:
    """Raise `DataError` where the predictions of several labels an example are no probabilities."""
    if (strange := _no_probability(array("y_pred", y_pred))) is not None:
        raise DataError(
            f"y_pred holds {strange:g}, and has to hold the probabilities of several labels an example: "
            "apply torch.sigmoid to logits; for other scores use over_labels(metric, y_true, y_pred)"
        )


def _of_class_one(scores: NDArray[Any]) -> NDArray[Any]:
    """Scores of class 1 of two, (N,); of two logits, which do not sum to 1, the difference ranks examples."""
    if scores.ndim == 1:
        return scores
    return scores[:, 1] if no_class_row(scores) is None else scores[:, 1] - scores[:, 0]


def labels_and_probabilities(
    y_true: ArrayLike, y_pred: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Several labels an example, NaN where missing, and their probabilities, both (N, L)."""
    true, pred = paired(y_true, y_pred)
    strange = true[~np.isnan(true) & ((true < 0) | (true > 1))]
    if strange.size:
        raise DataError(f"the labels hold {strange[0]:g}; each has to be 0 or 1, or NaN where it is missing")
    return columns(true), columns(pred)
