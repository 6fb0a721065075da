"""What a pass adds up: losses, the metrics of batches, and the outputs of a whole set.

Nothing here waits for the device. Tensors stay there until a pass is over, or until there are many of them.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband.errors import DataError, DefinitionError, HelixbandWarning, in_one_line
from helixband.generators.arrays import concatenate, filled_up, to_numpy
from helixband.losses.base import is_number
from helixband.nested import leaves, length, nbytes
from helixband.training.waiting import Apart, alike, stacked

WAITING_BYTES = 1 << 26
"""Outputs wait on the device until they have this many bytes, then move to the host together."""

WHOLE_SET_BYTES = 1 << 30
"""So many bytes of outputs and labels are kept for a criterion that has to see the whole set."""

LOT_BYTES = 1 << 20
"""Labels are given to a check when they have this many bytes."""

LOOK_EVERY = 64
"""After so many steps there is a look at whether the loss of the last is finite."""

Metrics = Callable[[Any, Any], dict[str, float]]
MetricsOfBatches = Callable[[Any, Any], dict[str, list[float]]]
"""Of y_true and y_pred of B batches, (B, N, …): the value of each batch by name."""


class Loss(NamedTuple):
    """The loss of some examples: a mean with its weight among others, or, of weight None, a sum.

    A mean of weight 0, as of labels that are all missing, counts for nothing, even where it is NaN. A loss
    that is a sum of named ones has these as its `parts`.
    """

    value: Tensor
    weight: float | Tensor | None
    parts: Mapping[str, "Loss"] | None = None


def mean_of(given: tuple[Any, ...]) -> Loss:
    """(sum, weight) as a mean with its weight; where the weight is 0, the sum itself."""
    if len(given) != 2:
        raise DefinitionError(f"compute_loss returned {len(given)} values; it has to return (sum, weight)")
    total, weight = given
    is_scalar = isinstance(total, Tensor) and not total.ndim
    fits = not weight.ndim if isinstance(weight, Tensor) else is_number(weight) and weight >= 0
    if not is_scalar or not fits:
        wrong = f"the weight {in_one_line(weight)}" if is_scalar else f"the sum {in_one_line(total)}"
        right = "a number from 0, or a scalar tensor" if is_scalar else "a scalar tensor"
        raise DefinitionError(f"compute_loss returned {wrong}; it has to be {right}")
    weight = torch.as_tensor(weight, device=total.device).detach()
    return Loss(total / torch.where(weight == 0, 1, weight), weight)


class LossMeter:
    """The loss of a set, put together from those of its batches.

    One that `looks` sees now and then, without waiting for the device, whether a loss is not finite; one that
    `waits` does so at the same step in each process. One that `skips` leaves out batches whose loss is not
    finite, if there are others.
    """

    def __init__(self, looks: bool = False, skips: bool = False, waits: bool = False) -> None:
        self._losses: list[Loss] = []
        self._parts: dict[str, LossMeter] = {}
        self._next_look = LOOK_EVERY if looks else 0
        self._flag: _Flag | None = None
        self._skips, self._waits = skips, waits
        self.is_lost = False
        """Whether it has seen a loss that counts and is not finite."""

    def add(self, loss: Loss) -> None:
        """Take the loss of the next batch."""
        self._losses.append(loss)
        if loss.parts is not None:
            for name, part in loss.parts.items():
                self._parts.setdefault(name, LossMeter()).add(part)
        if len(self._losses) == self._next_look:
            self._look(loss)

    def _look(self, loss: Loss) -> None:
        self._next_look += LOOK_EVERY
        if self._flag is not None and self._waits:
            self._flag.wait()
        if self._flag is None or self._flag.has_come():
            self.is_lost = self._flag is not None and bool(self._flag.value)
            self._flag = _Flag(loss)

    def __len__(self) -> int:
        """How many were added."""
        return len(self._losses)

    def parts(self) -> dict[str, float]:
        """The named losses of which it is the sum, if it is one."""
        counts = self._counting()
        return {name: meter._total(counts) for name, meter in self._parts.items()}

    def total(self) -> float:
        """The mean of the means by their weights, in double precision; of sums the sum."""
        if not self._parts:
            return self._total(self._counting())
        counted = [meter.counts for meter in self._parts.values()]
        values = [value for value, counts in zip(self.parts().values(), counted, strict=True) if counts]
        return sum(values) if values else math.nan

    @property
    def counts(self) -> bool:
        """Whether any loss has a weight."""
        if self._parts:
            return any(part.counts for part in self._parts.values())
        weights = self._weights()
        return weights is None or bool(weights.any())

    def _counting(self) -> NDArray[np.bool_] | None:
        """Which batches count; None of all of them."""
        if not self._skips:
            return None
        finite = np.isfinite(self._values())
        return finite if finite.any() else None

    def _total(self, counts: NDArray[np.bool_] | None) -> float:
        values, weights = self._values(), self._weights()
        if counts is not None and len(counts) == len(values):  # a part may be missing in some batches
            values, weights = values[counts], weights if weights is None else weights[counts]
        if weights is None:
            return float(values.sum())
        sums = values * weights if weights.all() else np.where(weights == 0, 0.0, values * weights)
        return float(sums.sum() / weights.sum()) if weights.any() else math.nan

    def first_not_finite(self) -> tuple[int, float] | None:
        """The first batch, from 0, whose loss counts and is not finite, with that loss, or None."""
        values, weights = self._values(), self._weights()
        counts = np.ones(len(values), bool) if weights is None else weights != 0
        found = np.flatnonzero(~np.isfinite(values) & counts)
        return (int(found[0]), float(values[found[0]])) if len(found) else None

    def _values(self) -> NDArray[np.float64]:
        return _to_host([loss.value for loss in self._losses])

    def _weights(self) -> NDArray[np.float64] | None:
        weights = [loss.weight for loss in self._losses]
        kinds = set(map(type, weights))
        if type(None) in kinds:
            return None
        if any(issubclass(kind, Tensor) for kind in kinds):
            device = self._losses[0].value.device
            return _to_host([torch.as_tensor(weight, device=device) for weight in weights])
        return np.array(weights, np.float64)


class _Flag:
    """Whether a loss counts and is not finite, on its way from the device."""

    def __init__(self, loss: Loss) -> None:
        self.value: Tensor | bool
        if not loss.value.is_cuda:
            self._event = None
            self.value = not math.isfinite(loss.value) and bool(loss.weight != 0)
            return
        is_lost = ~torch.isfinite(loss.value) & torch.as_tensor(loss.weight != 0)
        self.value = is_lost.to("cpu", non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def has_come(self) -> bool:
        """Whether it can be read."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Wait until it can be read."""
        if self._event is not None:
            self._event.synchronize()


def _to_host(scalars: list[Tensor]) -> NDArray[np.float64]:
    if len({scalar.dtype for scalar in scalars}) > 1:  # torch would bring counts to single precision
        scalars = [scalar.double() for scalar in scalars]
    host: NDArray[np.float64] = torch.stack(scalars).double().numpy(force=True)
    return host


class WholeSet:
    """The outputs and labels of a set on the device, for a criterion that has to see all of them at once."""

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._apart = Apart()
        self._first_loss: Tensor | None = None
        self._bytes = 0
        self._has_terms = False

    def add(self, y_pred_loss: Any, y: Any, loss: Tensor, *weight: Tensor) -> None:
        """Append those of one batch, which has this loss, unless they are too many already.

        `weight` is that of its examples, (N,), where they have some.
        """
        if self._first_loss is None:
            self._first_loss = loss
        self._bytes += nbytes(y_pred_loss) + nbytes(y)
        rows = length(y)
        self._has_terms |= any(leaf.ndim == 0 or 1 == len(leaf) != rows for leaf in leaves(y_pred_loss))
        if self._bytes <= WHOLE_SET_BYTES and not self._has_terms:
            self._parts.append((self._apart.kept(y_pred_loss), y, *weight))
        else:
            self._parts = []

    @property
    def empty(self) -> bool:
        """Whether there was no batch."""
        return self._first_loss is None

    def loss(self, criterion: Callable[..., Loss], name: str) -> Loss | None:
        """The loss of the whole set of that name, or None with a warning where it cannot be known."""
        if self._bytes > WHOLE_SET_BYTES:
            why = f"have more than {WHOLE_SET_BYTES:,} bytes, too many for the criterion to see at once"
        elif self._has_terms:
            why = "cannot be joined: part of y_pred_loss is of a batch, and not of its examples"
        elif not self._is_of_outputs_alone(criterion):
            why = (
                "do not tell the loss alone: it depends on something else that forward leaves or that changes"
            )
        elif not _are_alike(self._parts):
            why = "cannot be joined: their batches have examples of other shapes"
        else:
            return criterion(*concatenate(self._parts))
        warnings.warn(
            f"the outputs and labels of {name} {why}. Its loss is the mean over pieces of the set; it is "
            "exact if compute_loss returns (sum, weight)",
            HelixbandWarning,
            stacklevel=2,
        )
        return None

    def _is_of_outputs_alone(self, criterion: Callable[..., Loss]) -> bool:
        """Whether the first batch has the loss that it had before the others came."""
        assert self._first_loss is not None
        before, now = float(self._first_loss), float(criterion(*self._parts[0]).value)
        return before == now or math.isclose(before, now, rel_tol=1e-6) or (now != now and before != before)


class MetricMeter:
    """The metrics of single training batches, computed when enough of them wait, and at the end.

    `of_batches(y_true, y_pred)` gives those of several batches of one shape at once, lists by name.
    """

    def __init__(self, metrics: Metrics, of_batches: MetricsOfBatches | None = None) -> None:
        self._metrics, self._of_batches = metrics, of_batches
        self._waiting: list[tuple[Any, Any]] = []
        self._apart = Apart()
        self._bytes = 0
        self._sums: dict[str, float] = {}
        self._weights: dict[str, int] = {}

    def add(self, y_true: Any, y_pred: Any) -> None:
        """Take a batch: the labels on the host, and the predictions on the device."""
        self._waiting.append((y_true, self._apart.kept(y_pred)))
        self._bytes += y_pred.nbytes if isinstance(y_pred, Tensor) else nbytes(y_pred)
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
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if self._of_batches is not None and waiting:
            # The first is given alone, so that what is wrong is told of one batch.
            self._take_one(*waiting[0])
            for batches in alike(waiting[1:]):
                self._compute_alike(batches)
            return
        for batch in waiting:
            self._take_one(*batch)

    def _take_one(self, y_true: Any, y_pred: Any) -> None:
        values = self._metrics(to_numpy(y_true), to_numpy(y_pred))
        self._take(length(y_true), {name: [value] for name, value in values.items()})

    def _compute_alike(self, batches: list[tuple[Any, Any]]) -> None:
        true, pred = map(to_numpy, stacked(batches))
        assert self._of_batches is not None
        self._take(true.shape[1], self._of_batches(true, pred))

    def _take(self, rows: int, values: dict[str, list[float]]) -> None:
        """Add the values of batches of so many rows."""
        for name, of_batches in values.items():
            total, weight = self._sums.get(name, 0.0), self._weights.get(name, 0)
            for value in of_batches:
                if not math.isnan(value):
                    total, weight = total + value * rows, weight + rows
            self._sums[name], self._weights[name] = total, weight


class LabelCheck:
    """Gives all labels of an epoch to a check, which raises `DataError`.

    The first batch is checked at once, and others in lots. So the check costs a step next to nothing.
    """

    def __init__(self, check: Callable[[Any], None]) -> None:
        self._check = check
        self._lot: list[Any] = []
        self._bytes = self._batches = 0

    def add(self, y: Any) -> None:
        """Take the labels of a batch, a copy that nobody changes."""
        self._lot.append(y)
        self._bytes += nbytes(y)
        if not self._batches or self._bytes > LOT_BYTES:
            self.finish()

    def finish(self) -> None:
        """Give the check what it has not had yet, batches of one shape together."""
        for _, lot in itertools.groupby(self._lot, lambda y: [leaf.shape[1:] for leaf in leaves(y)]):
            batches = list(lot)
            try:
                self._check(to_numpy(concatenate(batches)))
            except DataError as error:
                if not self._batches:
                    raise
                where = f"rows are counted from batch {self._batches} of the epoch, the first being 0"
                raise DataError(f"{error} ({where})") from None
            self._batches += len(batches)
        self._lot, self._bytes = [], 0


class Outputs:
    """What each batch of a set gave, joined (`filled_up`) at the end. Few tensors stay on the device."""

    def __init__(self, missing: float | None = None) -> None:
        self._host: list[Any] = []
        self._waiting: list[Any] = []
        self._bytes, self._missing = 0, missing
        self._apart = Apart()

    def add(self, nested: Any) -> None:
        """Append what one batch gave, with its examples along the first dimension."""
        self._waiting.append(self._apart.kept(nested))
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
        return self._host[0] if len(self._host) == 1 else filled_up(self._host, self._missing)

    def _to_host(self) -> None:
        if self._waiting:
            # Joined even where it is one: a copy, so that no metric can change the generator's own data.
            if _are_alike(self._waiting):
                self._host.append(to_numpy(concatenate(self._waiting)))
            else:
                self._host.append(filled_up([to_numpy(each) for each in self._waiting], self._missing))
            self._waiting, self._bytes = [], 0


def _are_alike(parts: Iterable[Any]) -> bool:
    """Whether the examples of several batches have the same shapes."""
    return len({tuple(leaf.shape[1:] for leaf in leaves(part)) for part in parts}) == 1
