"""What metrics have in common: shapes that go together, values that are not defined."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError, in_one_line

UNDEFINED = float("nan")
Metric = Callable[[ArrayLike, ArrayLike], float]


def array(name: str, given: ArrayLike) -> NDArray[Any]:
    """Labels or predictions as an array of numbers; raises `DataError` where they are none."""
    try:
        found = np.asarray(given)
        if found.dtype.kind not in "biufc":
            found = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise _no_numbers(name, given) from error
    if found.dtype.kind == "c":
        raise _no_numbers(name, given)
    return found


def _no_numbers(name: str, given: ArrayLike) -> DataError:
    return DataError(f"{name} is {in_one_line(given)}; it has to be an array of numbers")


def check_metric(metric: Any) -> None:
    """Raise `DataError` for what is no metric."""
    if not callable(metric):
        raise DataError(
            f"metric is {in_one_line(metric)}; it has to be a function metric(y_true, y_pred), such as auroc"
        )


def paired(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in one shape, (N, …) float64; as given they may differ in dimensions of size 1 alone."""
    true = array("y_true", y_true).astype(np.float64, copy=False)
    pred = array("y_pred", y_pred).astype(np.float64, copy=False)
    if true.shape == pred.shape:
        return true, pred
    if sizes(true) != sizes(pred):
        raise disagreement(true, pred)
    return true, pred.reshape(true.shape)


def sizes(y: NDArray[np.float64]) -> tuple[int, ...]:
    """The number of examples, and the sizes of the other dimensions that are not 1."""
    return (*y.shape[:1], *(size for size in y.shape[1:] if size != 1))


def columns(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (N, …) with one column for each of an example, (N, C)."""
    return y.reshape(len(y), math.prod(y.shape[1:]))


def disagreement(y_true: ArrayLike, y_pred: ArrayLike) -> DataError:
    """The error of shapes that do not go together."""
    return DataError(
        f"y_true has the shape {np.shape(y_true)} and y_pred {np.shape(y_pred)}; they have to agree"
    )


def mean_of_defined(values: list[float]) -> float:
    """The mean of the values that are not NaN; NaN where there is none."""
    defined = [value for value in values if not math.isnan(value)]
    if len(defined) == 1:  # the mean of NumPy takes long to say so
        return float(defined[0])
    return float(np.mean(defined)) if defined else UNDEFINED


def median_of_defined(values: list[float]) -> float:
    """The median of the values that are not NaN; NaN where there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.median(defined)) if defined else UNDEFINED


def late_import(name: str) -> Any:
    """A module by name."""
    # Imported here because it takes torch, and the report has metrics without torch.
    from helixband import randomness

    return randomness.late_import(name)
