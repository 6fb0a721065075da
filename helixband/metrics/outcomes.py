"""What a model made of a set, as it is drawn: pairs of labels and predictions, and their curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.metrics.classes import class_index, predicted_class, several_labels

MOST_LINES = 8
"""Of more classes or labels, three have curves."""
MOST_OUTPUTS = 12
"""Numbers in more columns than these are drawn together."""
BINS = 10
"""Of predicted probabilities, in a reliability diagram."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]
Column = tuple[str, Bools, Floats]
"""The name of a class or label, which examples have it, and their scores."""


@dataclass(frozen=True)
class Outcome:
    """Labels and predictions of N examples that go together, by their `kind`.

    "classes": `true` int64 (N,), `predicted` float64 (N, C). "labels", several an example, and "numbers":
    both float64 (N, C); the label is NaN where it is missing, and both are where the prediction is not
    finite. `names` are those of the C columns, `title` is that of the part of nested predictions; `note` says
    what is left out or taken together.
    """

    kind: str
    true: NDArray[Any]
    predicted: Floats
    names: tuple[str, ...]
    title: str = ""
    note: str = ""

    @property
    def are_probabilities(self) -> bool:
        """Whether predictions lie between 0 and 1, those of classes adding up to 1."""
        inside = not bool(((self.predicted < 0) | (self.predicted > 1)).any())
        sums = self.predicted.sum(axis=1)
        return inside and (self.kind != "classes" or bool(np.allclose(sums, 1, atol=1e-3)))

    def columns(self) -> list[Column]:
        """Of each class but the first of two, and of each label: its name, which examples have it, scores."""
        found = []
        for k, name in enumerate(self.names):
            if self.kind == "classes":
                found.append((name, self.true == k, self.predicted[:, k]))
            else:
                known = ~np.isnan(self.true[:, k])
                found.append((name, self.true[known, k] > 0.5, self.predicted[known, k]))
        return found[1:] if self.kind == "classes" and len(found) == 2 else found

    def columns_with_curves(self) -> list[Column]:
        """The columns that have examples of both kinds; the others have no curve."""
        return [column for column in self.columns() if 0 < column[1].sum() < len(column[1])]


def outcomes(
    labels: Arrays, predictions: Arrays, names: tuple[str, ...] = (), kind: str = ""
) -> tuple[list[Outcome], list[str]]:
    """What can be drawn of labels and predictions, and of other parts why not.

    Of both there is an array (N, …) by the name of each part, such as ".profile", or one by the name "". To
    that one belong the `names` of its columns, and the `kind` of labels; without it their values decide.
    """
    found, reasons = [], []
    for key, predicted in predictions.items():
        title = key.removeprefix(".")
        true = labels.get(key, labels.get(""))
        if true is None:
            parts = ", ".join(name.removeprefix(".") for name in labels)
            one = f"the labels have the parts {parts}, and the predictions are one array"
            reasons.append(f"{title}: the labels have no part of this name" if title else one)
            continue
        try:
            found.append(_outcome(true, predicted, "" if key else kind, () if key else names, title))
        except DataError as error:
            reasons.append(f"{title}: {error}" if title else str(error))
    return found, reasons


def roc(true: Bools, score: Floats) -> tuple[Floats, Floats, float]:
    """False and true positive rates from (0, 0) to (1, 1), and the area under them.

    >>> roc(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]))[2]
    0.75
    """
    hits, alarms = _counts(true, score)
    x, y = np.append(0, alarms / max(1, alarms[-1])), np.append(0, hits / max(1, hits[-1]))
    return x, y, float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())


def precision_recall(true: Bools, score: Floats) -> tuple[Floats, Floats, float]:
    """Recalls, ascending, and precisions, and the average precision.

    >>> round(precision_recall(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]))[2], 4)
    0.8333
    """
    hits, alarms = _counts(true, score)
    recall, precision = hits / max(1, hits[-1]), hits / (hits + alarms)
    return recall, precision, float((np.diff(recall, prepend=0) * precision).sum())


def chosen_curves(areas: Sequence[float]) -> list[int]:
    """Which curves are drawn, by the areas under them: all, or of more than MOST_LINES three.

    These are the lowest, the middle and the highest.

    >>> chosen_curves([0.5, 0.9, 0.7]), chosen_curves([0.5, 0.9, 0.7] * 3)
    ([0, 1, 2], [0, 5, 7])
    """
    if len(areas) <= MOST_LINES:
        return list(range(len(areas)))
    order = np.argsort(areas, kind="stable")
    return [int(order[0]), int(order[len(order) // 2]), int(order[-1])]


def reliability(outcome: Outcome) -> tuple[Floats, Floats, NDArray[np.int64], float]:
    """Of each of BINS equal ranges of probabilities that has examples: their mean, how many of these came
    true, how many there are; and the mean difference of the first two (expected calibration error).

    Of two classes the second counts, of more the likeliest, of labels all together.
    """
    if outcome.kind == "classes" and outcome.predicted.shape[1] > 2:
        best = outcome.predicted.argmax(axis=1)
        given, came = outcome.predicted.max(axis=1), best == outcome.true
    else:
        parts = outcome.columns()
        given = np.concatenate([score for _, _, score in parts])
        came = np.concatenate([true for _, true, _ in parts])
    place = np.minimum((given * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    there = counts > 0
    means = np.bincount(place, given, BINS)[there] / counts[there]
    shares = np.bincount(place, came, BINS)[there] / counts[there]
    error = float((np.abs(means - shares) * counts[there]).sum() / max(1, len(given)))
    return means, shares, counts[there], error


def confusion(outcome: Outcome) -> NDArray[np.int64]:
    """How many examples of each true class, by row, were taken for each class, (C, C)."""
    count = len(outcome.names)
    taken = predicted_class(outcome.predicted if count > 2 else outcome.predicted[:, 1])
    return np.bincount(outcome.true * count + taken, minlength=count**2).reshape(count, count)


def _counts(true: Bools, score: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and false positives above each distinct score, the highest first."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    hits = np.cumsum(true[order])[last]
    return hits, last + 1 - hits


def _outcome(
    true: NDArray[Any], predicted: NDArray[Any], kind: str, names: tuple[str, ...], title: str
) -> Outcome:
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if not len(true) or len(true) != len(predicted):
        raise _disagreement(true, predicted)
    kind = kind or _kind(true, predicted)
    make = {"classes": _classes, "labels": _labels, "numbers": _numbers}[kind]
    labels, predicted, default, note = make(true, predicted)
    names = names if len(names) == predicted.shape[1] else tuple(default)
    labels, predicted, left_out = _finite(kind, labels, predicted)
    return Outcome(kind, labels, predicted, names, title, "; ".join(filter(None, [note, left_out])))


def _finite(kind: str, labels: NDArray[Any], predicted: Floats) -> tuple[NDArray[Any], Floats, str]:
    """Labels and predictions without what is not finite, and what is said of that.

    Each label and number counts by itself, as others of its example may be missing; an example of classes
    counts as a whole.
    """
    known = np.isfinite(predicted)
    if kind == "classes":
        known = np.repeat(known.all(axis=1, keepdims=True), known.shape[1], axis=1)
    if not known.any():
        raise DataError("no prediction is finite")
    if kind == "numbers":
        known &= np.isfinite(labels)
        if not known.any():
            raise DataError("no label of a finite prediction is known")
    shown = known.any(axis=1)
    alone = int((~known[shown]).sum())
    notes = [
        f"{(~shown).sum():,} examples without finite values are left out" * (not shown.all()),
        f"{alone:,} more values are left out of their own output alone" * bool(alone),
    ]
    labels, predicted, known = labels[shown], predicted[shown], known[shown]
    if kind != "classes":
        labels, predicted = np.where(known, labels, np.nan), np.where(known, predicted, np.nan)
    return labels, predicted, "; ".join(filter(None, notes))


def _kind(true: Floats, predicted: Floats) -> str:
    """What labels are, by their values, where the model does not tell."""
    finite = true[np.isfinite(true)]
    whole = bool(finite.size) and bool((finite == np.rint(finite)).all())
    if whole and _class_axis(true, predicted) is not None:
        return "classes"
    likely = bool(((predicted >= 0) & (predicted <= 1)).all()) and bool(np.isin(finite, (0, 1)).all())
    if true.size != predicted.size or not likely or not finite.size:
        return "numbers"
    columns = true.size // len(true)
    alone = columns == 1 and finite.size == true.size
    return "classes" if alone or (true.ndim == 2 and not several_labels(true, predicted)) else "labels"


def _class_axis(true: Floats, predicted: Floats) -> int | None:
    """The axis of the classes in predictions that have one more than labels, class indexes."""
    if true.ndim == 2 and true.shape[1] == 1 and predicted.ndim == 2 and predicted.shape[1] > 1:
        true = true[:, 0]
    if predicted.ndim != true.ndim + 1:
        return None
    axes = [axis for axis in (1, -1) if np.delete(predicted.shape, axis).tolist() == list(true.shape)]
    fitting = [axis for axis in axes if predicted.shape[axis] > max(1, np.nanmax(true))]
    return fitting[0] if fitting else None


def _classes(true: Floats, predicted: Floats) -> tuple[NDArray[Any], Floats, list[str], str]:
    axis, note = _class_axis(true, predicted), ""
    if axis is not None:
        predicted = np.moveaxis(predicted, axis, -1).reshape(-1, predicted.shape[axis])
        note = "all positions together" if true.ndim > 1 and true.shape[1] > 1 else ""
        known = true.reshape(-1) >= 0  # others are as of `ignore_index`
        labels, predicted = class_index(true.reshape(-1)[known]), predicted[known]
        note += f"; {(~known).sum():,} positions without a label left out" * (not known.all())
    else:
        labels, predicted = class_index(true), predicted.reshape(len(predicted), -1)
    if predicted.shape[1] == 1:
        predicted = np.column_stack([1 - predicted, predicted])
    if len(labels) != len(predicted) or not len(labels) or labels.max() >= predicted.shape[1]:
        raise _disagreement(true, predicted)
    return labels, predicted, [f"class_{k}" for k in range(predicted.shape[1])], note


def _labels(true: Floats, predicted: Floats) -> tuple[Floats, Floats, list[str], str]:
    if true.size != predicted.size:
        raise _disagreement(true, predicted)
    missing = int(np.isnan(true).sum())
    note = f"{missing:,} missing labels are left out" if missing else ""
    if true.ndim > 2:
        note = "; ".join(filter(None, ["all positions and labels together", note]))
        return true.reshape(-1, 1), predicted.reshape(-1, 1), ["all"], note
    true, predicted = true.reshape(len(true), -1), predicted.reshape(len(predicted), -1)
    return true, predicted, [f"label_{k}" for k in range(true.shape[1])], note


def _numbers(true: Floats, predicted: Floats) -> tuple[Floats, Floats, list[str], str]:
    if true.size != predicted.size:
        raise _disagreement(true, predicted)
    columns = true.size // len(true)
    if true.ndim > 2 or columns > MOST_OUTPUTS:
        note = f"all {columns:,} values of each example together"
        return true.reshape(-1, 1), predicted.reshape(-1, 1), [""], note
    true, predicted = true.reshape(-1, columns), predicted.reshape(-1, columns)
    return true, predicted, [f"output_{k}" for k in range(columns)] if columns > 1 else [""], ""


def _disagreement(true: Floats, predicted: Floats) -> DataError:
    return DataError(f"there is no plot for y_true of shape {true.shape} and y_pred of {predicted.shape}")
