"""Multi-task regression: several numbers for each example, of which some may not be known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from base_model import PER_LABEL, Number, RegressionModel
from helixband import metrics
from helixband.errors import DataError
from helixband.losses import IgnoreMissing
from helixband.metrics.common import mean_of_defined, median_of_defined
from helixband.training import judge


class MultiTaskRegressionModel(RegressionModel):
    """Several tasks, a number of each for each example, NaN where it is not known; the reward is −val_loss.

    Labels are (N, T); a label that is missing is NaN, and needs `allow_nan=True` in the generator. It counts
    nowhere. The network gives (N, T). The loss is the mean squared error over all labels that are known:
    a task with more labels weighs more. For another loss give `IgnoreMissing(nn.HuberLoss())`.
    """

    default_criterion = IgnoreMissing(nn.MSELoss())
    label_names: Sequence[str] | None = None
    """The names of the tasks in metrics and report, by default label_0, label_1, …"""

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """`mse` over all labels; `pearson` and `pearson_median` over the tasks; both of up to 20 tasks."""
        tasks = range(y_true.shape[1])
        names = judge.names_of(self, y_pred) or [f"label_{task}" for task in tasks]

        def of_each(metric: Callable[[NDArray[Any], NDArray[Any]], float]) -> dict[str, float]:
            return {name: metric(y_true[:, k], y_pred[:, k]) for k, name in enumerate(names)}

        each = {"mse": of_each(metrics.mse), "pearson": of_each(metrics.pearson)}
        correlations = list(each["pearson"].values())
        found = {
            "mse": metrics.mse(y_true, y_pred),
            "pearson": mean_of_defined(correlations),
            "pearson_median": median_of_defined(correlations),
        }
        if len(tasks) <= PER_LABEL:
            found |= {f"{of}_{name}": value for of, values in each.items() for name, value in values.items()}
        return found

    def check_labels(self, y_true: Any) -> None:
        """Raise `DataError` for labels that are not numbers, (N, T), one a task."""
        if not isinstance(y_true, np.ndarray) or y_true.ndim != 2 or y_true.dtype.kind not in "biuf":
            is_array = isinstance(y_true, np.ndarray)
            told = f"an array {y_true.shape} of {y_true.dtype}" if is_array else f"a {type(y_true).__name__}"
            raise DataError(
                f"{type(self).__name__} is a MultiTaskRegressionModel, and the labels are {told}; they "
                "have to be numbers, one a task: (N, T), NaN where one is missing"
            )
        super().check_labels(y_true)
