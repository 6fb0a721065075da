"""What a pass adds up: losses, the metrics of batches, and the outputs of a whole set.

Nothing here waits for the device. Tensors stay there until a pass is over, or until there are many of them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband.generators.arrays import concatenate, to_numpy
from helixband.nested import length, nbytes

WAITING_BYTES = 1 << 26
"""Outputs wait on the device until they have this many bytes, then move to the host together."""

Metrics = Callable[[Any, Any], dict[str, float]]


class Loss(NamedTuple):
    """The loss of some examples as a sum and a weight; the sum is `value` times `scale`.

    The mean over n examples is `Loss(mean, n, n)`; a sum of weight w is `Loss(sum, 1, w)`. The product is
    formed when a pass is over, in double precision, so that no step has to pay for it.
    """

    value: Tensor
    scale: float
    weight: float


class LossMeter:
    """The loss of a set: the sums of its batches over their weights."""

    def __init__(self) -> None:
        self._losses: list[Loss] = []

    def add(self, loss: Loss) -> None:
        """Take the loss of the next batch."""
        self._losses.append(loss)

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self._losses

    def mean(self) -> float:
        """The sum of the sums over the sum of the weights."""
        sums = self._values() * np.array([loss.scale for loss in self._losses])
        return float(sums.sum() / np.sum([loss.weight for loss in self._losses], dtype=np.float64))

    def first_not_finite(self) -> tuple[int, float]:
        """The number of the first batch, from 0, whose loss is not finite, and that loss."""
        values = self._values()
        batch = int(np.argmax(~np.isfinite(values)))
        return batch, float(values[batch])

    def _values(self) -> NDArray[np.float64]:
        values: NDArray[np.float64] = (
            torch.stack([loss.value for loss in self._losses]).double().numpy(force=True)
        )
        return values


class MetricMeter:
    """The metrics of single training batches, computed when enough of them wait, and at the end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: list[tuple[Any, Any]] = []
        self._bytes = 0
        self._sums: dict[str, float] = {}
        self._weights: dict[str, int] = {}

    def add(self, y_true: Any, y_pred: Any) -> None:
        """Take a batch: the labels on the host, and the predictions on the device."""
        self._waiting.append((y_true, y_pred))
        self._bytes += nbytes(y_pred)
        if self._bytes > WAITING_BYTES:
            self._compute()

    def means(self) -> dict[str, float]:
        """The mean of each metric, weighted by the sizes of the batches.

        A batch in which a metric is undefined (NaN) does not count for it.
        """
        self._compute()
        return {
            name: total / self._weights[name] if self._weights[name] else float("nan")
            for name, total in self._sums.items()
        }

    def _compute(self) -> None:
        for y_true, y_pred in self._waiting:
            rows = length(y_true)
            for name, value in self._metrics(to_numpy(y_true), to_numpy(y_pred)).items():
                defined = not math.isnan(value)
                self._sums[name] = self._sums.get(name, 0.0) + (value * rows if defined else 0.0)
                self._weights[name] = self._weights.get(name, 0) + (rows if defined else 0)
        self._waiting, self._bytes = [], 0


class Outputs:
    """What each batch of a set gave, joined at the end. Tensors stay on the device while they are few."""

    def __init__(self) -> None:
        self._host: list[Any] = []
        self._waiting: list[Any] = []
        self._bytes = 0

    def add(self, nested: Any) -> None:
        """Append what one batch gave, with its examples along the first dimension."""
        self._waiting.append(nested)
        self._bytes += nbytes(nested)
        if self._bytes > WAITING_BYTES:
            self._to_host()

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not (self._host or self._waiting)

    def joined(self) -> Any:
        """All of it as NumPy arrays, (N, …)."""
        self._to_host()
        return self._host[0] if len(self._host) == 1 else concatenate(self._host)

    def _to_host(self) -> None:
        if self._waiting:
            # Joined even where it is one: a copy, so that no metric can change the generator's own data.
            self._host.append(to_numpy(concatenate(self._waiting)))
            self._waiting, self._bytes = [], 0
