"""Confusion and curves of a set's classes or labels, as pictures for TensorBoard."""

from typing import Any

import numpy as np

from helixband.metrics.outcomes import (
    Column,
    Floats,
    Outcome,
    chosen_curves,
    confusion,
    outcomes,
    precision_recall,
    roc,
)
from helixband.nested import named_leaves
from helixband.results.pictures import MOST_CELLS, Picture

CELLS = 50
"""A curve is drawn in so many columns, and in as many rows."""
BELOW = 0.25
"""The shade of what lies under a curve."""
MOST_COUNTS = 20
"""Counts are written into the cells of up to so many classes."""

CONFUSION, ROC, PRECISION_RECALL = "confusion", "ROC curve", "precision and recall"


def of_outcomes(y_true: Any, y_pred: Any, names: tuple[str, ...], kind: str) -> dict[str, Picture]:
    """Of labels and predictions, arrays (N, …) or nested ones: confusion, and of each class both curves.

    `names` and `kind` as `outcomes` takes them. Numbers have no picture. Of more classes than 8 three have
    curves, as in the report.
    """
    found: dict[str, Picture] = {}
    for outcome in outcomes(dict(named_leaves(y_true)), dict(named_leaves(y_pred)), names, kind)[0]:
        title = f"{outcome.title}: " if outcome.title else ""
        if outcome.kind == "classes" and len(outcome.names) ** 2 <= MOST_CELLS:
            found[f"{title}{CONFUSION}"] = confusion_picture(outcome)
        if outcome.kind != "numbers":
            columns = outcome.columns_with_curves()
            for heading, curve, draw in (
                (ROC, roc, roc_picture),
                (PRECISION_RECALL, precision_recall, pr_picture),
            ):
                areas = [curve(true, score)[2] for _, true, score in columns]
                for k in chosen_curves(areas):
                    found[f"{title}{heading}/{columns[k][0]}"] = draw(columns[k])
    return found


def confusion_picture(outcome: Outcome) -> Picture:
    """Rows are true classes, columns predicted ones in the same order; the shade is the share of the row."""
    counts = confusion(outcome)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    texts = counts.astype(str) if len(counts) <= MOST_COUNTS else None
    return Picture(shares, texts, outcome.names, outcome.names)


def roc_picture(column: Column) -> Picture:
    """The true positive rate, upward, by the false positive rate, from 0 on the left to 1."""
    x, y, _area = roc(*column[1:])
    return _drawn(np.interp(np.linspace(0, 1, CELLS + 1), x, y))


def pr_picture(column: Column) -> Picture:
    """The precision, upward, by the recall, from 0 on the left to 1."""
    recall, precision, _area = precision_recall(*column[1:])
    # Up to a recall the precision is the one that this recall is reached with, as the area has it.
    place = np.searchsorted(recall, np.linspace(0, 1, CELLS + 1))
    return _drawn(precision[np.minimum(place, len(precision) - 1)])


def _drawn(heights: Floats) -> Picture:
    """A curve from edge to edge of CELLS columns, (CELLS + 1,), and what lies under it."""
    level = np.minimum((heights * CELLS).astype(int), CELLS - 1)
    low, high = np.minimum(level[:-1], level[1:]), np.maximum(level[:-1], level[1:])
    row = np.arange(CELLS)[::-1, None]
    return Picture(np.where(row > high, 0.0, np.where(row < low, BELOW, 1.0)))
