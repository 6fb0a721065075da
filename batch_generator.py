"""Generators of batches: `(x, y)` for training and evaluation, `x` alone where there are no labels.

A generator is any object that iterates over batches, and starts again from the beginning each time. This
module has Helixband's own. x and y are arrays or tensors with the examples along the first dimension, or
dicts and tuples of these. They come out as the same kind that went in.

The order of a shuffled epoch depends only on (seed, epoch), which the run sets. So it is the same after an
interruption, and other random draws do not change it.
"""

import math
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from helixband.errors import DataError
from helixband.files import matching_files
from helixband.generators.arrays import concatenate, to_numpy
from helixband.generators.base import BatchGenerator
from helixband.generators.fasta import FastaBatchGenerator
from helixband.generators.hdf5 import H5Table, open_tables
from helixband.generators.intervals import IntervalBatchGenerator
from helixband.nested import leaves, like, map_leaves
from helixband.sequence.targets import LARGEST, NUMBER_CLASSES, check_type, is_finite, is_finite_or_nan

__all__ = [
    "BatchGenerator",
    "FastaBatchGenerator",
    "H5pyBatchGenerator",
    "IntervalBatchGenerator",
    "MatrixBatchGenerator",
]

Indexes = NDArray[np.int64]
ProcessXY = Callable[[Any, Any], tuple[Any, Any]]
Self = TypeVar("Self", bound="MatrixBatchGenerator")

MEMORY_LIMIT = 4 << 30
"""HDF5 files whose examples have more bytes than this together are streamed. It is a constant, and not the
memory that is free, because the order of a shuffled epoch depends on it."""

BLOCK_BYTES = 8 << 20
"""Streamed files are read in blocks of about this size."""

POOL_BLOCKS = 16
"""So many blocks, drawn from anywhere in the files, are shuffled together when streaming."""

GATHER_BYTES = 1 << 20
"""Shuffled examples are gathered in blocks of about this size: of small examples many batches at a time."""


Admits = Callable[[NDArray[Any]], NDArray[np.bool_]]


# By allow_nan: which values pass, or None where all do.
_OF_X: dict[bool, Admits | None] = {False: is_finite, True: None}
_OF_Y: dict[bool, Admits | None] = {False: is_finite, True: is_finite_or_nan}


class MatrixBatchGenerator(BatchGenerator):
    """Batches of arrays or tensors in memory.

    `X` and `Y`: (N, …), or dicts or tuples of these; a list becomes an array. `batch_size=None` gives the
    whole set in one batch; for evaluation, a model cuts it into pieces that fit the device. Floating-point
    values have to be finite. `allow_nan` admits NaN and infinity in X, and NaN in Y: a label that is missing,
    which the criterion masks. `drop_last` leaves a last batch of fewer than `batch_size` examples out: batch
    normalisation, for one, cannot train on a batch of one.

    >>> batches = MatrixBatchGenerator(np.arange(5), np.arange(5) * 10, batch_size=2)
    >>> [(x.tolist(), y.tolist()) for x, y in batches]
    [([0, 1], [0, 10]), ([2, 3], [20, 30]), ([4], [40])]

    Raises `DataError` if X and Y differ in length, are empty, are not numeric, or contain NaN or infinity.
    """

    def __init__(
        self,
        X: Any,
        Y: Any = None,
        batch_size: int | None = None,
        shuffle: bool = False,
        allow_nan: bool = False,
        drop_last: bool = False,
    ) -> None:
        self.X = _as_arrays(X, "X", _OF_X[allow_nan])
        self.Y = None if Y is None else _as_arrays(Y, "Y", _OF_Y[allow_nan])
        lengths = {len(leaf) for leaf in leaves([self.X] if Y is None else [self.X, self.Y])}
        if len(lengths) != 1:
            shapes = f"X {_shapes(self.X)}" + ("" if Y is None else f" and Y {_shapes(self.Y)}")
            raise DataError(f"all parts need the same number of examples (the first dimension), got {shapes}")
        super().__init__(lengths.pop(), batch_size, shuffle, Y is not None, drop_last)

    @classmethod
    def get_train_val_generator(
        cls: type[Self],
        X: Any,
        Y: Any,
        val_ratio: float,
        batch_size: int | None = None,
        seed: int = 0,
        allow_nan: bool = False,
        drop_last: bool = False,
    ) -> tuple[Self, Self]:
        """Two generators over a random split: training (shuffled) and validation (whole, in order).

        `val_ratio` is the share of the validation part, above 0 and below 1. The split depends only on the
        number of examples and on `seed`. `drop_last` is for the training part.
        """
        whole = cls(X, Y, allow_nan=allow_nan)
        n_examples = whole.n_examples
        n_val = round(n_examples * val_ratio) if 0 < val_ratio < 1 else 0
        if not 0 < n_val < n_examples:
            raise DataError(
                f"val_ratio {val_ratio!r} of {n_examples} examples leaves a part empty; "
                "it is the share of the validation part, above 0 and below 1"
            )
        order = np.random.default_rng(seed).permutation(n_examples)

        def part(chosen: Indexes, **options: Any) -> Self:
            chosen = np.sort(chosen)
            return cls(_take(whole.X, chosen), _take(whole.Y, chosen), allow_nan=allow_nan, **options)

        training = part(order[n_val:], batch_size=batch_size, shuffle=True, drop_last=drop_last)
        return training, part(order[:n_val])

    def get_X_shape(self) -> Any:
        """The shape of one example's x; of a dict or tuple, one for each part."""
        return _shapes(self.X, first=1)

    def get_Y(self) -> Any:
        """All labels, (N, …), or None."""
        return self.Y

    def _batches(self, rng: np.random.Generator | None) -> Iterator[tuple[Any, Any]]:
        yield from _cut(self.X, self.Y, self.n_examples, self.batch_size, rng)


class H5pyBatchGenerator(BatchGenerator):
    """Batches of HDF5 files with the datasets `data` (N, …) and `label` (N, …); prediction needs no labels.

    `glob_str`: a path or glob; files come in natural order of their names (batch2 before batch10). Files of
    up to `memory_limit` bytes in total are read into memory. Larger ones are streamed; to shuffle them,
    blocks are drawn from all files, and 16 blocks at a time are mixed. `batch_size=None` gives one batch, or
    for streamed files one per block or mixture. `process_x_y(x, y) -> (x, y)` is applied to each file or
    block when it is read, and must keep the number of examples; y is None without labels. `allow_nan` and
    `drop_last` are those of `MatrixBatchGenerator`.

    Raises `DataError`, with the file, if one is missing, damaged, without `data`, or of another shape.
    """

    def __init__(
        self,
        glob_str: str | os.PathLike[str],
        batch_size: int | None = None,
        shuffle: bool = False,
        process_x_y: ProcessXY | None = None,
        memory_limit: int = MEMORY_LIMIT,
        allow_nan: bool = False,
        drop_last: bool = False,
    ) -> None:
        self.paths = matching_files(os.fspath(glob_str))
        self.process_x_y = process_x_y or (lambda x, y: (x, y))
        self.allow_nan = allow_nan
        tables = open_tables(self.paths)
        self._tables = [table for table in tables if table.rows]
        self._matrix: tuple[Any, Any] | None = None
        n_examples = sum(table.rows for table in tables)
        super().__init__(n_examples, batch_size, shuffle, tables[0].labelled, drop_last)
        if sum(table.bytes for table in tables) <= memory_limit:
            self._matrix = _concatenate([self._read(table, 0, table.rows) for table in self._tables])
        x, y = self._matrix or self._read(self._tables[0], 0, 1)
        self.labelled = y is not None  # process_x_y may make labels, or drop them
        self._X_shape = _shapes(x, first=1)

    def __len__(self) -> int:
        if self._matrix or self.batch_size:
            return super().__len__()
        return math.ceil(len(self._blocks()) / self._pool_blocks)

    def get_X_shape(self) -> Any:
        """The shape of one example's x, after `process_x_y`."""
        return self._X_shape

    def get_Y(self) -> Any:
        """All labels, (N, …), after `process_x_y`, or None. Reads the files once where they are streamed."""
        if self._matrix:
            return self._matrix[1]
        return concatenate([self._read(*block)[1] for block in self._blocks()]) if self.labelled else None

    @property
    def in_memory(self) -> bool:
        """Whether the files were read into memory, and are not streamed."""
        return self._matrix is not None

    @property
    def _pool_blocks(self) -> int:
        return POOL_BLOCKS if self.shuffle else 1

    def _batches(self, rng: np.random.Generator | None) -> Iterator[tuple[Any, Any]]:
        if self._matrix:
            yield from _cut(*self._matrix, self.n_examples, self.batch_size, rng)
        else:
            yield from self._stream(rng)

    def _stream(self, rng: np.random.Generator | None) -> Iterator[tuple[Any, Any]]:
        """Batches of blocks read a pool at a time; what fills no batch goes on to the next pool."""
        blocks = self._blocks()
        if rng is not None:
            blocks = [blocks[index] for index in rng.permutation(len(blocks))]
        pool_blocks = self._pool_blocks
        rest: list[tuple[Any, Any]] = []
        for start in range(0, len(blocks), pool_blocks):
            pool = [self._read(*block) for block in blocks[start : start + pool_blocks]]
            x, y = _concatenate(rest + pool)
            rows = len(next(leaves(x)))
            batch_size = self.batch_size or rows
            last = start + pool_blocks >= len(blocks)
            full = rows if last else rows - rows % batch_size
            order = rng.permutation(rows) if rng is not None else np.arange(rows)
            rest = [(_take(x, order[full:]), _take(y, order[full:]))] if full < rows else []
            for first in range(0, full, batch_size):
                chosen = order[first : min(first + batch_size, full)]
                yield _take(x, chosen), _take(y, chosen)

    def _blocks(self) -> list[tuple[H5Table, int, int]]:
        """(file, first row, row after the last) of each block, in order."""
        blocks = []
        for table in self._tables:
            rows = max(1, BLOCK_BYTES * table.rows // max(1, table.bytes))
            blocks += [(table, row, min(row + rows, table.rows)) for row in range(0, table.rows, rows)]
        return blocks

    def _read(self, table: H5Table, start: int, stop: int) -> tuple[Any, Any]:
        """Rows of a file as (x, y), processed and checked."""
        data, label = table.read(start, stop)
        x, y = self.process_x_y(data, label)
        x = _as_arrays(x, f"{table.path}: data", _OF_X[self.allow_nan], start)
        y = None if y is None else _as_arrays(y, f"{table.path}: label", _OF_Y[self.allow_nan], start)
        lengths = {len(leaf) for leaf in leaves([x] if y is None else [x, y])}
        if lengths != {stop - start}:
            raise DataError(
                f"{table.path}: process_x_y made {sorted(lengths)} examples of {stop - start}; "
                "it has to keep their number"
            )
        return x, y


def _cut(
    x: Any, y: Any, n_examples: int, batch_size: int | None, rng: np.random.Generator | None
) -> Iterator[tuple[Any, Any]]:
    """Batches of data in memory: slices of it in the stored order, of gathered blocks in a drawn one."""
    step = batch_size or n_examples
    if rng is None:
        yield from _slices(x, y, n_examples, step)
        return
    order = rng.permutation(n_examples)
    row_bytes = sum(leaf[:1].nbytes for leaf in leaves(x))
    block = step * max(1, GATHER_BYTES // (step * max(1, row_bytes)))
    for start in range(0, n_examples, block):
        chosen = order[start : start + block]
        yield from _slices(_take(x, chosen), _take(y, chosen), len(chosen), step)


def _slices(x: Any, y: Any, rows: int, step: int) -> Iterator[tuple[Any, Any]]:
    for start in range(0, rows, step):
        chosen = slice(start, start + step)
        yield _take(x, chosen), _take(y, chosen)


def _take(nested: Any, chosen: slice | Indexes) -> Any:
    return None if nested is None else map_leaves(lambda leaf: leaf[chosen], nested)


def _concatenate(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Parts of (x, y) one after another; y stays None without labels."""
    if len(parts) == 1:
        return parts[0]
    x, y = zip(*parts, strict=True)
    return concatenate(list(x)), None if y[0] is None else concatenate(list(y))


def _as_arrays(nested: Any, name: str, admits: Admits | None, first_row: int = 0) -> Any:
    """Arrays and tensors as they are, anything else (lists of numbers) as arrays; checked."""
    if isinstance(nested, dict):
        return {
            key: _as_arrays(value, f"{name}[{key!r}]", admits, first_row) for key, value in nested.items()
        }
    if isinstance(nested, tuple):
        parts = enumerate(nested)
        return like(nested, [_as_arrays(part, f"{name}[{i}]", admits, first_row) for i, part in parts])
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
    except (TypeError, RuntimeError, NotImplementedError) as error:  # sparse, quantized, of eight bits
        raise DataError(f"{name} is a tensor that makes no NumPy array ({error}); make it dense") from error
    return values


def _array(values: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} cannot be made an array ({error}); several inputs go in a tuple or a dict"
        ) from error


def _check_values(values: NDArray[Any], name: str, admits: Admits, first_row: int) -> None:
    # Slice by slice: the mask of a whole set would take a quarter of its memory again.
    rows = max(1, BLOCK_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        passed = admits(values[start : start + rows])
        if not passed.all():
            place = np.argwhere(~passed)[0]
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


def _shapes(nested: Any, first: int = 0) -> Any:
    """The dimensions from `first` on."""
    return map_leaves(lambda leaf: tuple(leaf.shape[first:]), nested)
