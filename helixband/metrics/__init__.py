"""Metrics over NumPy arrays: `metric(y_true, y_pred) -> float`.

A metric that is not defined on the given data is NaN, which tables show as "undefined". Examples are AUROC if
all labels are of one class, a correlation with a constant, any metric of no examples, and any metric of
predictions of which one is NaN. A number, count or part of a profile that is NaN in y_true is missing: it is
left out, as are missing labels of several an example.

All raise `DataError` if y_true and y_pred do not fit together: different lengths, labels of an unknown class.
"""

from helixband.metrics.classes import (
    OverLabels,
    accuracy,
    accuracy_of_batches,
    auprc,
    auroc,
    class_index,
    no_class_row,
    of_classes,
    over_labels,
    per_class,
    per_label,
    predicted_class,
    several_labels,
)
from helixband.metrics.common import UNDEFINED, Metric
from helixband.metrics.spans import span_scores, spans
from helixband.metrics.tokens import at_known, perplexity
from helixband.metrics.values import (
    cosine,
    jensen_shannon,
    kl_divergence,
    mse,
    mse_of_batches,
    pearson,
    poisson_deviance,
    profile_pearson,
    spearman,
)

__all__ = [
    "UNDEFINED",
    "Metric",
    "OverLabels",
    "accuracy",
    "accuracy_of_batches",
    "at_known",
    "auprc",
    "auroc",
    "class_index",
    "cosine",
    "jensen_shannon",
    "kl_divergence",
    "mse",
    "mse_of_batches",
    "no_class_row",
    "of_classes",
    "over_labels",
    "pearson",
    "per_class",
    "per_label",
    "perplexity",
    "poisson_deviance",
    "predicted_class",
    "profile_pearson",
    "several_labels",
    "span_scores",
    "spans",
    "spearman",
]
