"""Which examples an epoch has: each once, classes equally often, or examples in proportion to weights.

All is drawn with the random numbers of the epoch, so it is a function of (seed, epoch).
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helixband.errors import DataError
from helixband.generators.arrays import weights_of_examples
from helixband.nested import is_nested

Indexes = NDArray[np.int64]
Sampling = Literal["balanced"] | ArrayLike | None
"""What a generator takes: "balanced", or a weight for each example, (N,)."""
Checked = Literal["balanced"] | NDArray[np.float64] | None

AS_IN = "as in sampling='balanced', or a weight for each example, (N,)"
NO_INDEXES = (
    "balance=True needs targets that are class indexes, one per example, as integers; sampling='balanced' "
    "takes whole numbers of any type, as the scores of a BED file, and one-hot columns, too"
)
REMEDY = "number classes from 0 without gaps, for example by np.unique(…, return_inverse=True)"


def checked(sampling: Sampling, shuffle: bool, labels: Any, n_examples: int, name: str) -> Checked:
    """How the generator of this name draws its examples, in one form.

    Raises `DataError` where it cannot: without shuffled epochs; weights that are no number for each example,
    negative or all 0; labels that are no classes, or of which one has no example.
    """
    if sampling is None:
        return None
    if not shuffle:
        raise DataError(f"{name}: sampling is for training, in epochs that are drawn: pass shuffle=True too")
    if isinstance(sampling, str | dict):
        if sampling != "balanced":
            raise DataError(f"{name}: sampling is {sampling!r}; it has to be {AS_IN}")
        if labels is None:
            raise DataError(f"{name}: sampling='balanced' needs labels; there are none")
        classes(labels, name)
        return "balanced"
    try:
        weights = weights_of_examples(sampling, n_examples, "sampling")
        if n_examples and not weights.any():
            raise DataError(
                "all weights of sampling are 0, so that no example counts: leave such examples out"
            )
        return weights
    except DataError as error:
        raise DataError(f"{name}: {error}") from error.__cause__


def classes(labels: Any, name: str) -> Indexes:
    """Class indexes, (N,), of labels (N,) or (N, 1), or one column a class (N, C).

    Raises `DataError` for other labels, and where one of the classes has no example.
    """
    y = np.asarray(labels) if not is_nested(labels) else np.zeros((0, 0, 0))
    if y.ndim == 2 and y.shape[1] > 1:
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
            raise _no_classes(name, f"of shape {y.shape}, whose rows are not one-hot")
        index, number = y.argmax(axis=1), y.shape[1]
    elif y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
        flat = y.reshape(-1)
        strange = flat[flat != np.rint(flat)] if flat.dtype.kind == "f" else flat[:0]
        if len(strange):
            raise _no_classes(name, f"of which one is {strange[0]:g}")
        index = flat.astype(np.int64)
        number = int(index.max()) + 1 if index.min() >= 0 else 0  # −1 and 1 are classes, too
    else:
        raise _no_classes(name, "of several parts" if is_nested(labels) else f"of shape {y.shape}")
    present = np.unique(index)
    if len(present) == 1:
        raise DataError(
            f"{name}: all {len(index):,} examples are of the class {present[0]}: there is nothing to balance"
        )
    if len(missing := np.setdiff1d(np.arange(number), present)):
        raise DataError(
            f"{name}: the class {missing[0]} has no example, of the classes 0 to {number - 1}, and cannot be "
            f"drawn: leave sampling out, or {REMEDY}"
        )
    found: Indexes = index
    return found


def _no_classes(name: str, what: str) -> DataError:
    return DataError(
        f"{name}: sampling='balanced' needs labels that are classes, one an example; it has labels {what}. "
        "Otherwise give a weight for each example, sampling=weights"
    )


def balanced(index: Indexes, rng: np.random.Generator) -> Indexes:
    """Places in `index`, (N,): as many of each class, to within one; those of rare ones more than once."""
    _, labels = np.unique(index, return_inverse=True)
    n_classes = int(labels.max()) + 1
    drawn = []
    for label, share in enumerate(np.diff(np.arange(n_classes + 1) * len(index) // n_classes).tolist()):
        members = np.flatnonzero(labels == label)
        rounds = math.ceil(share / len(members))
        drawn.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:share])
    return np.concatenate(drawn)


def weighted(weights: NDArray[np.float64], rng: np.random.Generator) -> Indexes:
    """Places in `weights`, (N,): each as often as its share of the weights times N says, rounded up or down.

    So of equal weights each comes once (systematic sampling, Madow 1949, in a random order).
    """
    if not weights.any():
        raise DataError("all examples of this part of the set have the weight 0, so none can be drawn")
    order = rng.permutation(np.flatnonzero(weights))
    ends = np.cumsum(weights[order] / weights.max())
    points = (np.arange(len(weights)) + rng.random()) * (ends[-1] / len(weights))
    drawn: Indexes = order[np.minimum(np.searchsorted(ends, points, side="right"), len(order) - 1)]
    return drawn


class Drawing:
    """How arrays of examples are drawn for an epoch; arguments and errors as those of `checked`."""

    def __init__(self, sampling: Sampling, shuffle: bool, labels: Any, n_examples: int, name: str) -> None:
        self.sampling = checked(sampling, shuffle, labels, n_examples, name)
        self._classes = classes(labels, name) if isinstance(self.sampling, str) else None
        self._n_examples = n_examples

    def order(self, rng: np.random.Generator | None) -> Indexes | None:
        """The numbers of the examples of an epoch in order, (N,); None for the stored order."""
        if rng is None:
            return None
        drawn = self._drawn(rng)
        return rng.permutation(self._n_examples if drawn is None else drawn)

    def times(self, rng: np.random.Generator) -> Indexes | None:
        """How often each example comes in an epoch, (N,); None where each comes once."""
        drawn = self._drawn(rng)
        return None if drawn is None else np.bincount(drawn, minlength=self._n_examples)

    def _drawn(self, rng: np.random.Generator) -> Indexes | None:
        if self._classes is not None:
            return balanced(self._classes, rng)
        return weighted(self.sampling, rng) if isinstance(self.sampling, np.ndarray) else None
