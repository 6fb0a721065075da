"""The metrics in training of our own models, of many batches at a time: on the host or on the device.

The functions for a device take labels on the host, (B, N, …), and predictions there, (B, N, …). They give the
values of B batches in double precision, (B,), NaN where one is not defined: those of `helixband.metrics` to
rounding. Labels that are wrong raise as there. Nothing waits. They give None for what they do not know.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband import metrics
from helixband.metrics.classes import ROUNDING, labels_and_probabilities, labels_and_scores
from helixband.training.feed import pinned_to
from helixband.training.meters import MetricMeter, Metrics, MetricsOfBatches
from helixband.training.waiting import alike, stacked

Labels = NDArray[Any]
OnDevice = Callable[[Any, Any], dict[str, Tensor] | None]
"""Of y_true and y_pred of B batches, (B, N, …): values (B,) by name; None of what it does not know."""


class OfBatches(NamedTuple):
    """A metric of several batches at a time, by its name."""

    name: str
    host: Callable[[Any, Any], list[float]] | None
    """Of arrays (B, N, …), as the metric of each batch, bit for bit."""
    device: Callable[[Labels, Tensor], Tensor | None]

    def meter(self, metrics: Metrics, is_on_gpu: bool) -> MetricMeter:
        """What computes it in a training, given what computes it of one batch on the host."""
        of_batches = None if self.host is None else self._on_host
        if not is_on_gpu:
            return MetricMeter(metrics, of_batches)
        return DeviceMeter(metrics, of_batches, self.on_device)

    def _on_host(self, y_true: Any, y_pred: Any) -> dict[str, list[float]]:
        assert self.host is not None
        return {self.name: self.host(y_true, y_pred)}

    def on_device(self, y_true: Any, y_pred: Any) -> dict[str, Tensor] | None:
        """The values by the metric's name, on the device; None where they have to be computed on the host."""
        is_known = y_true.dtype.kind in "biuf" and y_true.size > 0
        if not is_known or not y_pred.is_floating_point() or y_pred.shape[:2] != y_true.shape[:2]:
            return None
        values = self.device(y_true, y_pred)
        return None if values is None else {self.name: values}


class DeviceMeter(MetricMeter):
    """A meter that has the device of the predictions compute what it knows, for which nothing waits."""

    def __init__(self, metrics: Metrics, of_batches: MetricsOfBatches | None, on_device: OnDevice) -> None:
        super().__init__(metrics, of_batches)
        self._on_device = on_device
        self._first: list[tuple[Any, Any]] = []
        """The first batch alone, which is computed on the host at the end: what is wrong is told of it."""
        self._there: list[tuple[int, dict[str, Tensor]]] = []
        """Values of batches of so many rows."""

    def means(self) -> dict[str, float]:
        self._put_first_aside()
        for batch in self._first:
            self._take_one(*batch)
        self._compute()
        for rows, values in self._there:
            self._take(rows, {name: of_batches.tolist() for name, of_batches in values.items()})
        self._there = []
        return super().means()

    def _put_first_aside(self) -> None:
        if not self._first:
            self._first, self._waiting = self._waiting[:1], self._waiting[1:]

    def _compute(self) -> None:
        self._put_first_aside()
        left: list[tuple[Any, Any]] = []
        arrays = [isinstance(true, np.ndarray) and isinstance(pred, Tensor) for true, pred in self._waiting]
        if not all(arrays):
            left, self._waiting = self._waiting, []
        for batches in alike(self._waiting):
            values = self._on_device(*stacked(batches))
            if values is None:
                left += batches
            else:
                self._there.append((len(batches[0][0]), values))
        self._waiting = left
        super()._compute()


def mse_on_device(y_true: Labels, y_pred: Tensor) -> Tensor | None:
    """`metrics.mse` of each batch."""
    if _sizes(y_true.shape) != _sizes(y_pred.shape):
        return None
    true = _by_batch(_sent(y_true.astype(np.float64), y_pred.device))
    known = ~true.isnan()
    errors = torch.where(known, true - _by_batch(y_pred.double()), 0)
    return errors.square().sum(1) / _or_nan(known.sum(1))


def accuracy_on_device(y_true: Labels, y_pred: Tensor) -> Tensor | None:
    """`metrics.accuracy` of each batch, of labels (B, N), (B, N, 1) or (B, N, C), one class an example."""
    examples, device = y_true.reshape(-1, *y_true.shape[2:]), y_pred.device
    if max(y_true.ndim, y_pred.ndim) > 3 or metrics.no_class_row(examples) is not None:
        return None
    scores = y_pred[..., 0] if y_pred.ndim == 3 and y_pred.shape[2] == 1 else y_pred
    made_up = np.broadcast_to(np.float32(0), (len(examples), *scores.shape[2:]))
    index = labels_and_scores(examples, made_up)[0].reshape(y_true.shape[:2])
    predicted = scores.argmax(2) if scores.ndim == 3 else (scores > 0.5).long()
    found = (predicted == _sent(index, device)).double().mean(1)
    if scores.ndim == 3 and y_true.shape == tuple(scores.shape):
        if y_true.min() < 0 or y_true.max() > 1:
            return None
        hits = _sent(np.rint(y_true) > 0, device) == (scores > 0.5)
        found = torch.where(_of_several_labels(scores), hits.double().mean((1, 2)), found)
    return torch.where(_by_batch(scores).isnan().any(1), torch.nan, found)


def _of_several_labels(scores: Tensor) -> Tensor:
    """Whether the predictions (B, N, C) of a batch are as in `metrics.several_labels`, (B,)."""
    are_probabilities = ((scores >= 0) & (scores <= 1 + ROUNDING)).flatten(1).all(1)
    sums = scores.sum(2, dtype=torch.float64)
    return are_probabilities & ((sums - 1).abs() > ROUNDING).any(1)


def label_accuracy_on_device(y_true: Labels, y_pred: Tensor) -> Tensor | None:
    """The mean over the labels of `metrics.over_labels(metrics.accuracy, …)` of each batch."""
    if _sizes(y_true.shape) != _sizes(y_pred.shape):
        return None
    examples = y_true.reshape(-1, *y_true.shape[2:])
    labels_and_probabilities(examples, np.zeros_like(examples))  # which raises for what is no label
    true = _sent(y_true.astype(np.float64), y_pred.device).reshape(*y_true.shape[:2], -1)
    pred = y_pred.double().reshape(true.shape)
    known = ~true.isnan()
    hits = known & (true.round() == (pred > 0.5).double())
    of_labels = hits.sum(1) / _or_nan(known.sum(1))
    found = of_labels.nan_to_num(0).sum(1) / _or_nan((~of_labels.isnan()).sum(1))
    return torch.where((known & pred.isnan()).flatten(1).any(1), torch.nan, found)


def _sent(array: NDArray[Any], device: torch.device) -> Tensor:
    return pinned_to(torch.from_numpy(np.ascontiguousarray(array)), device)


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    """The sizes of batches of examples, but for dimensions of size 1 of an example."""
    return (*shape[:2], *(size for size in shape[2:] if size != 1))


def _by_batch(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def _or_nan(counts: Tensor) -> Tensor:
    """Counts to divide by, NaN in the place of 0."""
    return torch.where(counts == 0, torch.nan, counts.double())


MSE = OfBatches("mse", metrics.mse_of_batches, mse_on_device)
ACCURACY = OfBatches("accuracy", metrics.accuracy_of_batches, accuracy_on_device)
LABEL_ACCURACY = OfBatches("accuracy", None, label_accuracy_on_device)
