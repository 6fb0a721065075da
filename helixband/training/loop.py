"""One pass over a set: `train_epoch` changes the model, `evaluate` and `predict` do not.

Nothing is copied from the device while a pass runs; losses and results are read at its end.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helixband.errors import DataError, DefinitionError, TrainingError
from helixband.nested import leaves, length
from helixband.training.batches import (
    WAITING_BYTES,
    Results,
    kept,
    labelled,
    pieces,
    to_device,
    to_numpy,
    unlabelled,
)

Step = Callable[[Any, Any], tuple[Tensor, Any]]
Metrics = Callable[[Any, Any], dict[str, float]]


def train_epoch(
    step: Step,
    generator: Iterable[Any],
    device: torch.device,
    metrics: Metrics | None,
    limit: int | None = None,
) -> dict[str, float]:
    """Train on each batch (the first `limit`); the mean loss and the means of the batches' metrics.

    `step(x, y) -> (loss, y_pred)` trains on one batch. Means are weighted by the sizes of the batches; a
    batch where a metric is undefined (NaN) does not count for it.

    Raises `TrainingError` where a loss is not finite, `DataError` where there is no batch.
    """
    losses = _Losses()
    batch_metrics = _BatchMetrics(metrics) if metrics else None
    for x, y in labelled(generator, limit):
        result = step(to_device(x, device), to_device(y, device))
        if not isinstance(result, tuple) or len(result) != 2:
            raise DefinitionError(
                f"train_step returned {type(result).__name__}; it has to return (loss, y_pred)"
            )
        loss, y_pred = result
        rows = length(y)
        losses.add(loss, rows)
        if batch_metrics:
            batch_metrics.add(kept(y), y_pred, rows)
    means = {"loss": losses.mean(generator)}
    if not np.isfinite(means["loss"]):
        raise TrainingError(losses.trouble() + _trouble_in_data(generator, limit))
    return means | (batch_metrics.means() if batch_metrics else {})


def evaluate(
    step: Step, generator: Iterable[Any], device: torch.device, training_rows: int, limit: int | None = None
) -> tuple[float, Any, Any]:
    """(mean loss, y_true, y_pred) over a whole set, the latter as NumPy arrays (N, …).

    `step(x, y) -> (loss, y_pred)` evaluates one batch. Batches of more than `training_rows` examples are
    cut into pieces, so that the device's memory is bounded whatever the generator yields.
    """
    losses, true, predicted = _Losses(), Results(), Results()
    for batch in labelled(generator, limit):
        for x, y in pieces(batch, training_rows, device):
            loss, y_pred = step(to_device(x, device), to_device(y, device))
            rows = length(y)
            _check_rows(y_pred, rows)
            losses.add(loss, rows)
            true.add(kept(y))
            predicted.add(y_pred)
    return losses.mean(generator), true.joined(), predicted.joined()


def predict(
    step: Callable[[Any], Any],
    generator: Iterable[Any],
    device: torch.device,
    training_rows: int,
    limit: int | None = None,
) -> Any:
    """y_pred over a whole set, as NumPy arrays (N, …); `step(x) -> y_pred`. Pieces as in `evaluate`."""
    predicted = Results()
    for batch in unlabelled(generator, limit):
        for (x,) in pieces((batch,), training_rows, device):
            y_pred = step(to_device(x, device))
            _check_rows(y_pred, length(x))
            predicted.add(y_pred)
    if predicted.empty:
        raise DataError(f"{type(generator).__name__} gave no batch; prediction needs one example at least")
    return predicted.joined()


class _Losses:
    """The losses of a pass, on the device until they are asked for."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._rows: list[int] = []

    def add(self, loss: Tensor, rows: int) -> None:
        self._losses.append(loss)
        self._rows.append(rows)

    def mean(self, generator: Iterable[Any]) -> float:
        """The mean over examples: the criterion's means, weighted by the sizes of the batches."""
        if not self._losses:
            raise DataError(
                f"{type(generator).__name__} gave no batch; a set needs one example at least, "
                "and its __iter__ has to start again each time"
            )
        return float(np.average(self._values(), weights=self._rows))

    def trouble(self) -> str:
        """Where the losses stopped being finite."""
        values = self._values()
        batch = int(np.argmax(~np.isfinite(values)))
        return f"the loss is {values[batch]} from batch {batch} of the epoch on (batches from 0)"

    def _values(self) -> Any:
        return torch.stack(self._losses).double().numpy(force=True)


class _BatchMetrics:
    """The metrics of single training batches, computed when enough results wait and at the end."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: list[tuple[Any, Any, int]] = []
        self._bytes = 0
        self._sums: dict[str, float] = {}
        self._weights: dict[str, int] = {}

    def add(self, y_true: Any, y_pred: Any, rows: int) -> None:
        self._waiting.append((y_true, y_pred, rows))
        self._bytes += sum(leaf.nbytes for leaf in leaves(y_pred))
        if self._bytes > WAITING_BYTES:
            self._compute()

    def means(self) -> dict[str, float]:
        self._compute()
        return {
            name: total / self._weights[name] if self._weights[name] else float("nan")
            for name, total in self._sums.items()
        }

    def _compute(self) -> None:
        for y_true, y_pred, rows in self._waiting:
            for name, value in self._metrics(to_numpy(y_true), to_numpy(y_pred)).items():
                defined = not math.isnan(value)
                self._sums[name] = self._sums.get(name, 0.0) + (value * rows if defined else 0.0)
                self._weights[name] = self._weights.get(name, 0) + (rows if defined else 0)
        self._waiting, self._bytes = [], 0


def _check_rows(y_pred: Any, rows: int) -> None:
    for leaf in leaves(y_pred):
        if leaf.ndim == 0 or len(leaf) != rows:
            raise DefinitionError(
                f"the network gave y_pred of shape {tuple(leaf.shape)} for a batch of {rows}; its first "
                "dimension has to be the batch (after squeeze() of a batch of one, use squeeze(-1))"
            )


def _trouble_in_data(generator: Iterable[Any], limit: int | None) -> str:
    """The usual causes; looked for in the data once the loss is lost, where it costs nobody time."""
    for number, (x, y) in enumerate(labelled(generator, limit)):
        for name, part in (("x", x), ("y", y)):
            for leaf in leaves(to_numpy(part)):
                values = np.asarray(leaf)
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    return f"; {name} of batch {number} holds NaN or infinity: mend the data"
    return "; the data are finite, so try a lower learning rate, or look for a log or division by 0"
