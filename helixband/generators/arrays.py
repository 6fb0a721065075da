"""Arrays and tensors, nested or not, as generators yield them: checked, joined, and as NumPy arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helixband.errors import DataError, in_one_line
from helixband.nested import is_nested, items, like, map_leaves, zip_leaves
from helixband.sequence.alphabet import Alphabet, Codes
from helixband.sequence.targets import (
    LARGEST,
    NUMBER_CLASSES,
    are_surely_finite,
    check_type,
    is_finite,
    is_finite_or_nan,
)

Admits = Callable[[NDArray[Any]], NDArray[np.bool_]]

LAYOUTS = ("NL", "NCL", "NC1L", "NLC")

# By allow_nan: which values pass, or None where all do.
OF_X: dict[bool, Admits | None] = {False: is_finite, True: None}
OF_Y: dict[bool, Admits | None] = {False: is_finite, True: is_finite_or_nan}

CHECKED_BYTES = 8 << 20
"""Values are checked so many bytes at a time: the mask of a whole set would take a quarter of its memory."""


_EIGHT_BITS = [getattr(torch, name) for name in dir(torch) if name.startswith("float8_")]
_WIDER = dict.fromkeys([torch.bfloat16, *_EIGHT_BITS], torch.float32) | {torch.complex32: torch.complex64}


def to_numpy(nested: Any) -> Any:
    """Tensors and arrays, nested or not, as NumPy arrays; of a type that NumPy lacks, as a wider one.

    bfloat16 and floats of eight bits become float32, complex32 becomes complex64.
    """
    if is_nested(nested):
        return map_leaves(to_numpy, nested)
    if not isinstance(nested, Tensor):
        return nested
    wider = _WIDER.get(nested.dtype)
    return (nested if wider is None else nested.to(wider)).numpy(force=True)


def weights_of_examples(given: Any, n_examples: int, where: str) -> NDArray[np.float64]:
    """Weights of examples as an array, (N,); raises `DataError` for what is none.

    They are one finite number from 0 for each example.
    """
    try:
        weights = np.asarray(to_numpy(given), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the weights of {where} are {in_one_line(given)}; they have to be a number for each example, "
            "(N,)"
        ) from error
    if weights.shape != (n_examples,):
        raise DataError(
            f"the weights of {where} have the shape {weights.shape}; there are {n_examples:,} examples, so "
            f"it has to be ({n_examples},)"
        )
    strange = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(strange):
        raise DataError(
            f"in {where}, the weight of example {strange[0]} is {weights[strange[0]]}; weights are finite, "
            "and 0 or more"
        )
    return weights


def concatenate(parts: list[Any]) -> Any:
    """Arrays or tensors, nested alike or not, one after another along the first dimension."""
    return zip_leaves(
        lambda places: torch.cat(places) if isinstance(places[0], Tensor) else np.concatenate(places), parts
    )


def filled_up(parts: list[Any], missing: float | None = None) -> Any:
    """As `concatenate`, of NumPy arrays (N, …) whose other axes may differ, as of sequences of other lengths.

    Each is filled up at the ends to the longest with `missing`, by default as labels are that are missing:
    with NaN, of integers with −100. So unsigned integers become signed, and for NaN floating-point.

    >>> filled_up([np.array([[1.0, 2.0]]), np.array([[3.0]])]).tolist()
    [[1.0, 2.0], [3.0, nan]]
    >>> filled_up([np.array([[1]], np.uint8), np.array([[2, 3]], np.uint8)]).tolist()
    [[1, -100], [2, 3]]
    >>> filled_up([np.array([[1]]), np.array([[2, 3]])], missing=np.nan).tolist()
    [[1.0, nan], [2.0, 3.0]]
    """
    return zip_leaves(lambda arrays: _filled_up(arrays, missing), parts)


def _filled_up(arrays: list[NDArray[Any]], missing: float | None) -> NDArray[Any]:
    if len({array.shape[1:] for array in arrays}) == 1 or len({array.ndim for array in arrays}) > 1:
        return np.concatenate(arrays)
    shape = np.max([array.shape for array in arrays], axis=0)
    dtype = np.result_type(*arrays)
    if missing is None:
        missing = -100 if dtype.kind in "biu" else np.nan
    if dtype.kind in "biu":
        dtype = np.promote_types(dtype, np.float32 if np.isnan(missing) else np.int8)
    found = np.full((sum(map(len, arrays)), *shape[1:]), missing, dtype)
    first = 0
    for array in arrays:
        found[(slice(first, first + len(array)), *map(slice, array.shape[1:]))] = array
        first += len(array)
    return found


def as_arrays(nested: Any, name: str, admits: Admits | None, first_row: int = 0) -> Any:
    """Arrays and tensors as they are, anything else (lists of numbers) as arrays; checked."""
    if is_nested(nested) and not isinstance(nested, list):
        parts = items(nested)
        return like(nested, [as_arrays(part, f"{name}[{key!r}]", admits, first_row) for key, part in parts])
    array = nested if isinstance(nested, np.ndarray | Tensor) else _array(nested, name)
    values = _values(array, name)
    if values.ndim == 0 or values.dtype.kind not in "biuf":
        is_text = values.dtype.kind in "USTO" and (name.startswith("Y") or name.endswith(": label"))
        remedy = f"; {NUMBER_CLASSES}, for example by np.unique(…, return_inverse=True)" if is_text else ""
        raise DataError(
            f"{name} has the type {values.dtype} and shape {values.shape}; "
            f"it has to be an array of numbers, examples along its first dimension{remedy}"
        )
    check_type(values, name)
    if values.dtype.kind == "f" and admits is not None:
        _check_values(values, name, admits, first_row)
    return array


def _values(array: NDArray[Any] | Tensor, name: str) -> NDArray[Any]:
    try:
        values: NDArray[Any] = to_numpy(array)
    except (TypeError, RuntimeError, NotImplementedError) as error:  # sparse, quantized
        raise DataError(f"{name} is a tensor that makes no NumPy array ({error}); make it dense") from error
    return values


def _array(values: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array ({error}); several inputs go in a tuple or a dict"
        ) from error


def is_admitted(values: NDArray[Any] | None, admits: Admits | None) -> bool:
    """Whether all values of an array of numbers, or of none, may be there."""
    if values is None or values.dtype.kind != "f" or admits is None:
        return True
    return are_surely_finite(values) or bool(admits(values).all())


def _check_values(values: NDArray[Any], name: str, admits: Admits, first_row: int) -> None:
    rows = max(1, CHECKED_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        if not is_admitted(part, admits):
            place = np.argwhere(~admits(part))[0]
            place[0] += start
            value = values[tuple(place)]
            place[0] += first_row
            where = ", ".join(str(index) for index in place)
            remedy = "remove or impute such values"
            past = ""
            if np.isfinite(value):
                past = f", past {LARGEST:.2g} and so infinite in single precision"
            elif admits is is_finite:
                remedy += ", or pass allow_nan=True where the model handles them"
            raise DataError(f"{name}[{where}] is {value}{past} (indexes from 0); {remedy}")


def shapes_of(nested: Any, first: int = 0) -> Any:
    """The dimensions from `first` on."""
    return map_leaves(lambda leaf: tuple(leaf.shape[first:]), nested)


def laid_out(codes: Codes, layout: str, alphabet: Alphabet) -> NDArray[Any]:
    """Indexes, uint8 (N, L), in one of `LAYOUTS`: as they are, or one-hot float32, (N, C, L) for "NCL"."""
    if layout == "NL":
        return codes
    if layout == "NLC":
        vectors = np.eye(len(alphabet), alphabet.n_tokens, dtype=np.float32)
        rows: NDArray[Any] = vectors.take(codes, axis=0)
        return rows
    tokens = np.arange(alphabet.n_tokens, dtype=np.uint8)[:, None]
    hot: NDArray[Any] = (codes[:, None] == tokens).astype(np.float32)
    return hot[:, :, None] if layout == "NC1L" else hot
