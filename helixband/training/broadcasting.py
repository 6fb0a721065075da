"""Shapes that PyTorch and NumPy would broadcast against each other, found before they give a wrong number.

The difference of predictions (N, 1) and labels (N,) is (N, N): each prediction beside each label. Nothing
fails, and the number looks like a loss. So what is computed of a batch is once computed of a few of its rows,
under a guard that looks at each elementwise operation. Where the rows belong together they are one dimension
of the result; where they were broadcast they are two.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helixband import randomness
from helixband.errors import DefinitionError
from helixband.nested import leaves, length, map_leaves

ROWS = (7, 11, 13)
"""So many rows are looked at: the first of these numbers that is no other dimension of the data."""

Shape = tuple[int, ...]


class Broadcast(Exception):
    """Two operands whose rows were combined, each with each."""

    def __init__(self, shapes: list[Shape], result: Shape) -> None:
        super().__init__(shapes, result)
        self.shapes, self.result = shapes, result


def signature(*parts: Any) -> tuple[Any, ...]:
    """What a finding holds for: the shapes of the parts but for their rows."""
    return tuple(tuple(leaf.shape[1:]) for part in parts for leaf in leaves(part))


def check_loss(compute: Callable[[Any, Any], Any], y_pred_loss: Any, y: Any) -> None:
    """Raise `DefinitionError` where `compute(y_pred_loss, y)` broadcasts predictions against labels."""
    if not length(y):
        return
    rows = _rows_for(y_pred_loss, y)
    few = [map_leaves(lambda leaf: _first(leaf.detach(), rows), part) for part in (y_pred_loss, y)]
    try:
        with warnings.catch_warnings(), torch.no_grad(), randomness.unmoved(), _Guard(rows):
            warnings.filterwarnings("error", "Using a target size")  # torch's own word for it
            compute(*few)
    except Broadcast as found:
        raise _refusal("the loss", found, few) from None
    except UserWarning as warning:
        if "Using a target size" in str(warning):
            raise _refusal("the loss", None, few) from None
    except Exception:
        return  # what else is wrong is raised by the computation itself, on the whole batch


def check_metrics(compute: Callable[[Any, Any], Any], y_true: Any, y_pred: Any, name: str) -> None:
    """Raise `DefinitionError` where `compute(y_true, y_pred)` broadcasts one array against the other."""
    if not length(y_true):
        return
    rows = _rows_for(y_true, y_pred)
    few = [map_leaves(lambda leaf: _guarded(_first(leaf, rows), rows), part) for part in (y_true, y_pred)]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), randomness.unmoved():
            warnings.simplefilter("ignore")
            compute(*few)
    except Broadcast as found:
        raise _refusal(name, found, few) from None
    except Exception:
        return  # undefined on a few rows, or wrong in a way that the whole set tells


class _Guard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at each elementwise operation of torch."""

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.pointwise in func.tags and isinstance(result, Tensor):
            operands = [tuple(leaf.shape) for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            _check_shapes(operands, tuple(result.shape), self._rows)
        return result


def _guarded(array: Any, rows: int) -> Any:
    """The array as one that looks at each elementwise operation of NumPy."""

    class Watched(np.ndarray[Any, Any]):
        def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:
            plain = [np.asarray(part) if isinstance(part, Watched) else part for part in inputs]
            if "out" in named:
                named["out"] = tuple(np.asarray(part) for part in named["out"])
            result = getattr(ufunc, method)(*plain, **named)
            if method == "__call__" and ufunc.signature is None:
                _check_shapes([np.shape(part) for part in plain], np.shape(result), rows)
            return result.view(Watched) if isinstance(result, np.ndarray) else result

    return np.asarray(array).view(Watched)


def _check_shapes(operands: list[Shape], result: Shape, rows: int) -> None:
    """Raise `Broadcast` where operands of unequal rank give something larger, each row with each."""
    shapes = [shape for shape in operands if shape]
    with_rows = [shape for shape in shapes if shape.count(rows) == 1]
    if (
        len({len(shape) for shape in shapes}) > 1
        and len(with_rows) == len(shapes)
        and result.count(rows) > 1
        and all(np.prod(result) > np.prod(shape) for shape in shapes)
    ):
        raise Broadcast(shapes, result)


def _rows_for(*parts: Any) -> int:
    others = {size for part in parts for leaf in leaves(part) for size in leaf.shape[1:]}
    return next((rows for rows in ROWS if rows not in others), max(others, default=0) + 1)


def _first(leaf: Any, rows: int) -> Any:
    """So many rows of an array or tensor, over again where it has fewer; a copy."""
    return leaf[np.arange(rows) % len(leaf)]


def _refusal(name: str, found: Broadcast | None, parts: list[Any]) -> DefinitionError:
    rows = length(parts[0])
    shapes = found.shapes if found else [tuple(leaf.shape) for part in parts for leaf in leaves(part)]
    named = " and ".join(_with_n(shape, rows) for shape in shapes)
    return DefinitionError(
        f"{name} combines arrays of the shapes {named}, each example with each other one. Bring them to one "
        "shape, for example with y_pred.squeeze(1) or y.unsqueeze(1)"
    )


def _with_n(shape: Shape, rows: int) -> str:
    """A shape with N for the rows.

    >>> _with_n((7, 4), 7), _with_n((7,), 7)
    ('(N, 4)', '(N,)')
    """
    sizes = ["N" if size == rows else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
