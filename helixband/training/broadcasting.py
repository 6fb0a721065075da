"""Shapes that PyTorch and NumPy would broadcast against each other, found before they give a wrong number.

The difference of predictions (N, 1) and labels (N,) is (N, N): each prediction beside each label. Nothing
fails, and the number looks like a loss. So what is computed of a batch is first computed of a few of its
rows, and looked at in three ways.

- A guard sees each elementwise operation. Where the rows of its operands belong together they are one
  dimension of the result; where they were broadcast they are two.
- Not all operations can be seen: TorchScript and code in C hide them. But what is computed of each with each
  is the same whichever label belongs to which prediction. If that is so of a number, and no longer with the
  labels in the shape of the predictions, the shapes made it so.
- Labels (N,) are taken for one row of predictions (N, C) where N is C. So what fails on a few rows, and not
  on N, has to be possible for twice as many.
"""

import contextlib
import copy
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband import randomness
from helixband.errors import DefinitionError
from helixband.generators.arrays import to_numpy
from helixband.nested import leaves, length, map_leaves
from helixband.training.guard import (
    ROWS,
    SIZE_WARNING,
    Broadcast,
    Guard,
    Shape,
    refusal,
    says_sizes_differ,
    watched,
    written,
)

CANDIDATES, COLUMNS = 1000, 64
"""Rows of different labels are looked for among so many, by so many of their values."""

Compute = Callable[[Any, Any], Any]
"""Of (y_true, y_pred) a loss, (sum, weight), or metrics by name."""
Apart = Callable[[], contextlib.AbstractContextManager[None]]

_SIZE_ERROR = re.compile("must match the size of tensor|broadcast")
"""What torch and NumPy say of shapes."""


def signature(*parts: Any) -> tuple[Any, ...]:
    """What a finding holds for: the shapes of the parts but for their rows."""
    return tuple(tuple(leaf.shape[1:]) for part in parts for leaf in leaves(part))


def check_loss(compute: Callable[[Any, Any], Any], y_pred_loss: Any, y: Any, apart: Apart) -> None:
    """Raise `DefinitionError` where `compute(y_pred_loss, y)` broadcasts predictions against labels.

    It is computed several times, each within `apart()`, which puts back what that changes.
    """
    _check("the loss", _Trial(lambda y_true, y_pred: compute(y_pred, y_true), apart), y, y_pred_loss)


def check_metrics(compute: Compute, y_true: Any, y_pred: Any, name: str, apart: Apart) -> None:
    """Raise `DefinitionError` where `compute(y_true, y_pred)` broadcasts one array against the other.

    It is computed several times, each within `apart()`, which puts back what that changes.
    """
    _check(name, _Trial(compute, apart), y_true, y_pred)


@dataclass(frozen=True)
class _Trial:
    """A computation that is tried out, quietly and without a trace."""

    compute: Compute
    apart: Apart

    def __call__(self, y_true: Any, y_pred: Any, guard: Any = None) -> Any:
        with self.apart(), _quiet(), guard or contextlib.nullcontext():
            return self.compute(y_true, y_pred)


def _check(name: str, compute: _Trial, y_true: Any, y_pred: Any) -> None:
    if not length(y_true):
        return
    others = {size for part in (y_true, y_pred) for leaf in leaves(part) for size in leaf.shape[1:]}
    rows = next((rows for rows in ROWS if rows not in others), max(others, default=0) + 1)
    true, pred = _rows(_varied_rows(y_true, rows), length(y_true), y_true, y_pred)
    guard = Guard(rows, others)
    try:
        compute(watched(true, guard), watched(pred, guard), guard)
    except Broadcast as found:
        raise refusal(name, found.shapes, guard.sizes) from None
    except Exception as error:  # what else is wrong is raised by the computation itself, on the whole batch
        if says_sizes_differ(error):
            raise refusal(name, _shapes(true, pred), {rows}) from None
        if length(y_true) == 1 or length(y_true) in others:
            _check_more_rows(name, compute, y_true, y_pred)
    if (wrong := _unpaired(compute, true, pred)) is not None:
        raise refusal(f"{name}[{wrong!r}]" if wrong else name, _shapes(true, pred), {rows})


# The pairs.


def _unpaired(compute: Compute, y_true: Any, y_pred: Any) -> str | None:
    """The name of a number that does without the pairs of labels and predictions because of their shapes.

    "" stands for a number without a name. None if there is none, or if the shapes are alike.
    """
    alike = _in_shape_of(y_pred, y_true)
    if alike is None:
        return None
    given = [y_true, alike, y_pred]
    for true, true_alike, pred in (given, [map_leaves(_spread, part) for part in given]):
        paired = _takes_pairs(compute, true_alike, pred)
        for name, takes_pairs in _takes_pairs(compute, true, pred).items():
            if not takes_pairs and paired.get(name, False):
                return name
    return None


def _takes_pairs(compute: Compute, y_true: Any, y_pred: Any) -> dict[str, bool]:
    """Of each number whether it changes where each label goes to the next prediction."""
    rows = length(y_true)
    before = _numbers(compute, y_true, y_pred)
    (rolled,) = _rows(np.arange(rows) - 1, rows, y_true)
    after = _numbers(compute, rolled, y_pred) if before else {}
    return {
        name: not math.isclose(before[name], after[name], rel_tol=1e-4, abs_tol=1e-6)
        for name in before.keys() & after.keys()
        if math.isfinite(before[name]) and math.isfinite(after[name])
    }


def _numbers(compute: Compute, y_true: Any, y_pred: Any) -> dict[str, float]:
    """What is computed, by name; nothing where that fails, as the computation on the whole batch tells."""
    rows = length(y_true)
    try:
        found = compute(*_rows(np.arange(rows), rows, y_true, y_pred))
        named = found if isinstance(found, Mapping) else {"": found[0] if isinstance(found, tuple) else found}
        return {name: np.asarray(to_numpy(value), np.float64).item() for name, value in named.items()}
    except Exception:
        return {}


def _in_shape_of(y_pred: Any, y_true: Any) -> Any | None:
    """The labels in the shape of the predictions, where they differ in dimensions of size 1; None if none do.

    Of a dict or tuple as many labels as predictions belong together by their places; else any of them may.
    """
    predicted = [tuple(leaf.shape) for leaf in leaves(y_pred)]
    places = iter(range(len(predicted)))
    one_each = len(list(leaves(y_true))) == len(predicted)
    changed = False

    def reshaped(leaf: Any) -> Any:
        nonlocal changed
        shapes = [predicted[next(places)]] if one_each else predicted
        alike = [shape for shape in shapes if _sizes(shape) == _sizes(leaf.shape)]
        if not alike or tuple(leaf.shape) in alike:
            return leaf
        changed = True
        return leaf.reshape(alike[0])

    found = map_leaves(reshaped, y_true)
    return found if changed else None


def _sizes(shape: Any) -> list[int]:
    return [size for size in shape if size != 1]


def _spread(leaf: Any) -> Any:
    """Every second row as another one: a network may begin with the same for all, and so may labels."""
    if isinstance(leaf, Tensor):
        return torch.as_tensor(_spread(to_numpy(leaf)), device=leaf.device)
    if leaf.dtype.kind not in "biuf":
        return leaf
    values = leaf.copy()
    odd = values[1::2]
    # Probabilities stay such, and a half becomes another number.
    values[1::2] = 1 - 0.9 * odd if leaf.dtype.kind == "f" else odd == 0
    return values


# More rows.


def _check_more_rows(name: str, compute: Compute, y_true: Any, y_pred: Any) -> None:
    """Raise `DefinitionError` where the shapes go together for the number of rows alone that there is."""
    rows = length(y_true)
    if not _numbers(compute, y_true, y_pred):
        return
    try:
        compute(*_rows(np.arange(2 * rows) % rows, rows, y_true, y_pred))
    except Exception as error:
        if says_sizes_differ(error) or _SIZE_ERROR.search(str(error)):
            shapes = [("N", *shape[1:]) for shape in _shapes(y_true, y_pred)]
            named = " and ".join(written(shape) for shape in dict.fromkeys(shapes))
            raise DefinitionError(
                f"{name} can be computed of {rows} examples and not of {2 * rows}: it takes arrays of the "
                f"shapes {named}, and where N is {rows} examples are taken for columns. Bring them to one "
                "shape, for example with a network of one output and y_pred.squeeze(1)"
            ) from None


# Rows and words.


def _rows(index: NDArray[np.int64], length: int, *parts: Any) -> list[Any]:
    """Copies of rows of the arrays and tensors of that length, and of others, such as a term of a loss."""

    def copied(leaf: Any) -> Any:
        leaf = leaf.detach() if isinstance(leaf, Tensor) else leaf
        return leaf[index] if np.ndim(leaf) and len(leaf) == length else copy.copy(leaf)

    return [map_leaves(copied, part) for part in parts]


def _varied_rows(y_true: Any, rows: int) -> NDArray[np.int64]:
    """So many rows, those of different labels first, over again where there are fewer."""
    label = next(leaves(y_true))[:CANDIDATES]
    label = to_numpy(label.reshape(len(label), -1)[:, :COLUMNS])
    first: dict[bytes, int] = {}
    for number, row in enumerate(label):
        first.setdefault(row.tobytes(), number)
        if len(first) == rows:
            break
    others = set(range(len(label))).difference(first.values())
    return np.resize([*first.values(), *sorted(others)[:rows]], rows)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without gradients, random numbers that move, and warnings; but torch's own word for it is an error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), torch.no_grad(), randomness.unmoved():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", SIZE_WARNING)
        yield


def _shapes(*parts: Any) -> list[Shape]:
    return [tuple(leaf.shape) for part in parts for leaf in leaves(part)]
